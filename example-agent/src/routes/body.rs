//! Reading bodies within bounds of size and time.
use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
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

/// The body as a JSON object; `example` is one, for who sends something else.
pub(super) async fn read_object(
    headers: &HeaderMap,
    body: Body,
    timeout: Duration,
    example: &str,
) -> Result<Map<String, Value>, ApiError> {
    // Read first, refuse then: a caller that is still writing would see a reset in place of the answer.
    let body = read(headers, body, timeout).await?;
    if !is_json(headers) {
        let message = "The body must be JSON: send `content-type: application/json`.";
        return Err(ApiError::new(ErrorType::UnsupportedMediaType, message).with_field("content-type"));
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ApiError::invalid("body", format!("The body must be a JSON object: {example}."))),
        Err(e) => Err(ApiError::invalid("body", format!("The body is not valid JSON: {e}."))),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Takes a field that must be a string with something in it.
pub(super) fn text(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, ApiError> {
    let found = match fields.remove(field) {
        Some(Value::String(text)) if text.trim().is_empty() => {
            return Err(ApiError::invalid(field, format!("`{field}` must not be empty.")));
        }
        Some(Value::String(text)) => return Ok(text),
        None => return Err(ApiError::invalid(field, format!("`{field}` is missing."))),
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    Err(ApiError::invalid(field, format!("`{field}` must be a string; it is {found}.")))
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
