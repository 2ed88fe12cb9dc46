//! `POST /v1/feedback`: what a caller thinks of an answer.
use std::sync::Arc;

use axum::{
    extract::{Extension, Request, State},
    http::StatusCode,
};
use serde_json::json;
use uuid::Uuid;

use super::{MAX_ECHOED_CHARS, body, observe::RequestScope};
use crate::{
    App,
    error::{ApiError, ErrorType},
    telemetry::events::{FeedbackGiven, Rating},
};

/// Counts a rating. The agent keeps no requests, so it cannot tell whether there was one of this id.
pub(super) async fn feedback(
    State(app): State<Arc<App>>,
    Extension(scope): Extension<Arc<RequestScope>>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (parts, body) = request.into_parts();
    let example = "{\"request_id\": \"…\", \"rating\": \"up\"}";
    let fields = body::read_object(&parts.headers, body, app.body_timeout, example).await;
    let mut fields = fields.map_err(|error| match error.kind {
        ErrorType::PayloadTooLarge => ApiError::new(error.kind, "No feedback is so long.").with_field("body"),
        _ => error,
    })?;
    let id = body::text(&mut fields, "request_id")?;
    let id = Uuid::try_parse(&id).map_err(|_| {
        let id: String = id.chars().take(MAX_ECHOED_CHARS).collect();
        let message = format!("`request_id` {id:?} is none: take it from the answer or its x-request-id.");
        ApiError::invalid("request_id", message)
    })?;
    let rating = body::text(&mut fields, "rating")?;
    let rating = Rating::ALL.into_iter().find(|known| known.as_str() == rating).ok_or_else(|| {
        let rating: String = rating.chars().take(MAX_ECHOED_CHARS).collect();
        ApiError::invalid("rating", format!("`rating` must be \"up\" or \"down\"; it is {rating:?}."))
    })?;
    let rated_request_id = id.to_string();
    scope.audit_context(json!({ "rated_request_id": rated_request_id, "rating": rating.as_str() }));
    FeedbackGiven { rated_request_id: &rated_request_id, rating }.emit(&app.metrics);
    Ok(StatusCode::NO_CONTENT)
}
