//! The routes.
use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    metrics::Metrics,
    model::Model,
    request::{Request, observe},
};

/// The one route.
pub const SUMMARIES: &str = "/v1/summaries";

#[derive(Deserialize)]
struct Text {
    tenant_id: String,
    text: String,
}

/// What callers reach.
pub fn api(model: Model) -> Router {
    Router::new()
        .route(SUMMARIES, post(summarise))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(from_fn(observe))
        .with_state(Arc::new(model))
}

/// What Prometheus and the health check reach, on a port of its own.
pub fn admin(metrics: Metrics) -> Router {
    let metrics = Arc::new(metrics);
    let text = move || {
        let text = metrics.text();
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    Router::new().route("/metrics", get(text)).route("/healthz", get(async || "ok"))
}

async fn summarise(
    State(model): State<Arc<Model>>,
    Extension(request): Extension<Arc<Request>>,
    Json(body): Json<Text>,
) -> Response {
    let Some(tenant) = request.identify(&body.tenant_id, &body.text) else {
        return refusal(StatusCode::FORBIDDEN, "unknown_tenant", &request);
    };
    match model.summarise(&request, tenant, &body.text).await {
        Ok(completion) => {
            let (usage, summary) = (completion.usage, completion.text());
            let tokens = usage.input_tokens + usage.output_tokens;
            let body = json!({
                "request_id": request.id, "summary": summary, "tokens": tokens, "cost_usd": usage.cost_usd(),
            });
            Json(body).into_response()
        }
        Err(error) => {
            request.fails(error.error_type(), &error, "call_llm");
            refusal(StatusCode::BAD_GATEWAY, error.error_type(), &request)
        }
    }
}

fn refusal(status: StatusCode, error_type: &str, request: &Request) -> Response {
    (status, Json(json!({ "error": { "type": error_type }, "request_id": request.id }))).into_response()
}
