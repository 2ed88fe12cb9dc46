//! `/log-policy` of the admin side: which lines of requests are written from now on.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use serde_json::Value;

use super::{actor, body};
use crate::{
    App,
    error::{ApiError, ErrorType},
    telemetry::{events::LogPolicyChanged, log_policy::LogPolicy},
};

/// The policy in force.
pub(super) async fn get(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.telemetry.log_policy.get().to_json())
}

/// Puts another policy in force; what the body leaves out is as at the start of the process.
pub(super) async fn put(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let (parts, body) = request.into_parts();
    let body =
        body::read(&parts.headers, body, app.body_timeout).await.map_err(|error| match error.kind {
            ErrorType::PayloadTooLarge => {
                ApiError::new(error.kind, "No log policy is so long.").with_field("body")
            }
            _ => error,
        })?;
    let value = serde_json::from_slice(&body)
        .map_err(|e| ApiError::invalid("body", format!("The body is not valid JSON: {e}.")))?;
    let current = &app.telemetry.log_policy;
    let policy = LogPolicy::parse(&value, current.at_start())
        .map_err(|(field, message)| ApiError::invalid(field, message))?;
    current.set(policy);
    LogPolicyChanged { policy, actor: actor(&parts.headers) }.emit(&app.telemetry.audit);
    Ok(Json(policy.to_json()))
}
