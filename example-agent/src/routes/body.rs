//! Reading bodies within bounds of size and time.
use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::error::{ApiError, ErrorType};

/// The longest body: the longest valid question, escaped, fits many times over.
const MAX_BYTES: usize = 64 << 10;
/// What is read of a body that is not wanted: a caller still writing sees the answer only if somebody reads.
const MAX_DISCARDED_BYTES: usize = 8 << 20;

/// The whole body.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    timeout: Duration,
) -> Result<Vec<u8>, ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if headers.contains_key(header::EXPECT) && declared.is_some_and(|length| length > MAX_BYTES as u64) {
        // The caller asked before sending: it need not.
        return Err(too_large());
    }
    let deadline = Instant::now() + timeout;
    let (mut bytes, mut received) = (Vec::new(), 0);
    while let Some(data) = next(&mut body, deadline, timeout).await? {
        received += data.len();
        if received <= MAX_BYTES {
            bytes.extend_from_slice(&data);
        } else if received > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if received > MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// Reads a body nobody wants, up to a bound.
pub(super) async fn discard(mut body: Body, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    let mut received = 0;
    while let Ok(Some(data)) = next(&mut body, deadline, timeout).await {
        received += data.len();
        if received > MAX_DISCARDED_BYTES {
            break;
        }
    }
}

async fn next(body: &mut Body, deadline: Instant, timeout: Duration) -> Result<Option<Bytes>, ApiError> {
    match timeout_at(deadline, body.frame()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
        Ok(Some(Err(error))) => {
            Err(ApiError::invalid("body", format!("The body could not be read: {error}.")))
        }
        Err(_) => {
            let message = format!("The body did not arrive within {timeout:?}: send it faster.");
            Err(ApiError::new(ErrorType::RequestTimeout, message).with_field("body"))
        }
    }
}

fn too_large() -> ApiError {
    let message = format!(
        "The body is longer than {MAX_BYTES} bytes, which only a question that is too long can make it: shorten `query`."
    );
    ApiError::new(ErrorType::PayloadTooLarge, message).with_field("query")
}
