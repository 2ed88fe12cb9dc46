//! The two listeners' routes. All errors of all routes have the same JSON body.
mod body;
mod console;
mod cross_origin;
mod events;
mod faults;
mod feedback;
mod health;
mod log_policy;
mod metrics;
mod observe;
mod openapi;
mod query;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use uuid::Uuid;

use crate::{
    App,
    error::{ApiError, ErrorType, complete},
    telemetry::metrics::QUERY_ENDPOINT,
};

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
const OPENAPI: &str = "/openapi.json";
/// The `endpoint` label of what is no route.
const OTHER_ENDPOINT: &str = "other";
/// Routes that are no work.
const UNCOUNTED: [&str; 3] = [HEALTHZ, READYZ, OPENAPI];
/// Every route of the API that is work, as the values of the `endpoint` label.
const API_ENDPOINTS: [&str; 2] = [QUERY_ENDPOINT, FEEDBACK_ENDPOINT];
const FEEDBACK_ENDPOINT: &str = "/v1/feedback";

/// What of a caller's words is repeated where they are wrong.
const MAX_ECHOED_CHARS: usize = 80;
const X_USER_ID: &str = "x-user-id";
const MAX_ACTOR_LENGTH: usize = 64;
const ANONYMOUS: &str = "anonymous";

/// What callers see.
pub fn api(app: Arc<App>) -> Router {
    Router::new()
        .route(QUERY_ENDPOINT, post(query::query))
        .route(FEEDBACK_ENDPOINT, post(feedback::feedback))
        .route(HEALTHZ, get(health::healthz))
        .route(READYZ, get(health::readyz))
        .route(OPENAPI, get(openapi::openapi))
        .merge(console::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

/// What operators see. Not counted: it is not the agent's work.
pub fn admin(app: Arc<App>) -> Router {
    let for_the_console = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/faults", get(faults::get).put(faults::put).delete(faults::delete))
        .route("/tenants", get(console::tenants))
        // Before the layer: a browser's preflight has a method that no route knows.
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), cross_origin::console_only));
    Router::new()
        .merge(for_the_console)
        .route("/log-policy", get(log_policy::get).put(log_policy::put))
        .route(HEALTHZ, get(health::healthz))
        .route(READYZ, get(health::readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(json_errors))
        .with_state(app)
}

async fn not_found(State(app): State<Arc<App>>, request: Request) -> ApiError {
    body::discard(request.into_body(), app.body_timeout).await;
    ApiError::new(
        ErrorType::NotFound,
        format!("No such route: the API is POST {QUERY_ENDPOINT} and POST {FEEDBACK_ENDPOINT}."),
    )
}

async fn method_not_allowed(State(app): State<Arc<App>>, request: Request) -> ApiError {
    body::discard(request.into_body(), app.body_timeout).await;
    let message = "This route does not know the method: the `allow` header has those it knows.";
    ApiError::new(ErrorType::MethodNotAllowed, message)
}

async fn json_errors(request: Request, next: Next) -> Response {
    complete(next.run(request).await, &new_request_id()).0
}

/// Sortable by time, and never the caller's: two requests with one id would be one in the log.
fn new_request_id() -> String {
    Uuid::now_v7().to_string()
}

/// On whose behalf a request comes, as the gateway before the agent says: the agent itself knows tenants only.
fn actor(headers: &HeaderMap) -> String {
    let named = headers.get(X_USER_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain =
        !named.is_empty() && named.len() <= MAX_ACTOR_LENGTH && named.chars().all(|c| c.is_ascii_graphic());
    if plain { named.to_owned() } else { ANONYMOUS.to_owned() }
}

/// Tells the caller that the connection will not take another request.
fn close_when_ending(app: &App, response: &mut Response) {
    if app.lifecycle.is_ending() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
