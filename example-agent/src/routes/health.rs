//! Probes. They ask nobody else: an agent whose collector is down still answers questions.
use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    App,
    error::{ApiError, ErrorType},
};

/// The process is alive.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The process wants requests: 503 from the moment it is told to end.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.lifecycle.is_ending() {
        let message = "The agent is shutting down: send requests to another one.";
        return Err(ApiError::new(ErrorType::ShuttingDown, message));
    }
    Ok(Json(json!({ "status": "ok" })))
}
