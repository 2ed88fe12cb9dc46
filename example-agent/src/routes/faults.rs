//! `/faults` of the admin side: what goes wrong on purpose from now on.
use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    http::HeaderMap,
};
use serde_json::{Map, Value};

use super::{actor, body};
use crate::{
    App,
    error::{ApiError, ErrorType},
    faults::Injection,
    telemetry::events::FaultsChanged,
};

/// The faults in force.
pub(super) async fn get(State(app): State<Arc<App>>) -> Json<Map<String, Value>> {
    Json(app.faults.get(Instant::now()).to_json())
}

/// Puts other faults in force; those that the body leaves out end.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let (parts, body) = request.into_parts();
    let body =
        body::read(&parts.headers, body, app.body_timeout).await.map_err(|error| match error.kind {
            ErrorType::PayloadTooLarge => {
                ApiError::new(error.kind, "No list of faults is so long.").with_field("body")
            }
            _ => error,
        })?;
    let value = serde_json::from_slice(&body)
        .map_err(|e| ApiError::invalid("body", format!("The body is not valid JSON: {e}.")))?;
    let injection = Injection::parse(&value).map_err(|(field, message)| ApiError::invalid(field, message))?;
    Ok(Json(change(&app, injection, &parts.headers)))
}

/// Ends all faults.
pub(super) async fn delete(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Map<String, Value>> {
    Json(change(&app, Injection::default(), &headers))
}

fn change(app: &App, injection: Injection, headers: &HeaderMap) -> Map<String, Value> {
    let faults = injection.to_json();
    app.faults.set(injection, Instant::now());
    FaultsChanged { faults: faults.clone(), actor: actor(headers) }.emit(&app.telemetry.audit);
    faults
}
