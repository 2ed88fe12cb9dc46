//! An OpenAI-compatible model provider that needs no account: its waiting times, lengths and failures are drawn from
//! distributions, and `/faults` makes it fail on purpose.
mod answer;
mod completion;
mod dice;
mod error;
mod faults;
mod models;
mod record;
mod request;
pub mod trace;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::settings;
use dice::Dice;
use error::ApiError;
use faults::Faults;
use models::MODELS;
use trace::Tracing;

/// The longest body that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Completions in progress at a time, hanging ones included; further ones get 503.
const MAX_IN_FLIGHT: usize = 4096;

/// What the handlers share.
struct Simulator {
    dice: Dice,
    tracing: Arc<Tracing>,
    in_flight: Arc<Semaphore>,
}

/// The provider's routes.
pub fn router(settings: &settings::Llm, tracing: Arc<Tracing>) -> Router {
    let simulator = Simulator {
        dice: Dice::new(settings.time_scale, settings.seed),
        tracing,
        in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
    };
    Router::new()
        .route("/v1/chat/completions", post(completion::create))
        .route("/v1/models", get(list_models))
        .route("/faults", get(get_faults).put(put_faults).delete(delete_faults))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(async |method: Method, uri: Uri| {
            ApiError::invalid(format!("Invalid URL ({method} {})", uri.path()))
                .with_status(StatusCode::NOT_FOUND)
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::invalid(format!("Not allowed to {method} on {}.", uri.path()))
                .with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(simulator))
}

async fn list_models() -> Response {
    let models = MODELS.iter().map(|model| {
        json!({"id": model.id, "object": "model", "created": models::CREATED, "owned_by": "simulators"})
    });
    Json(json!({"object": "list", "data": models.collect::<Vec<_>>()})).into_response()
}

async fn get_faults(State(simulator): State<Arc<Simulator>>) -> Json<Faults> {
    Json(simulator.dice.faults())
}

/// Replaces all faults and starts the sequence of outcomes anew.
async fn put_faults(
    State(simulator): State<Arc<Simulator>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Faults>, ApiError> {
    let faults = Faults::parse(&body?, simulator.dice.defaults())?;
    tracing::info!(?faults, "faults replaced");
    simulator.dice.set_faults(faults.clone());
    Ok(Json(faults))
}

async fn delete_faults(State(simulator): State<Arc<Simulator>>) -> Json<Faults> {
    let faults = simulator.dice.defaults();
    tracing::info!("faults reset");
    simulator.dice.set_faults(faults.clone());
    Json(faults)
}
