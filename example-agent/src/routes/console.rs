//! The console: one page and its files, built in. What it says about the agent it asks of the admin port.
use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::App;

const SCRIPT: &str = "/console/console.js";
const STYLE: &str = "/console/console.css";
const ICON: &str = "/console/icon.svg";
const SETTINGS: &str = "/console/settings.json";
/// The routes. Who looks at the console is no request to the agent: they are not counted.
pub(super) const PATHS: [&str; 5] = ["/", SCRIPT, STYLE, ICON, SETTINGS];

/// The routes of the API port.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page))
        .route(
            SCRIPT,
            get(async || file("text/javascript; charset=utf-8", include_str!("../console/console.js"))),
        )
        .route(STYLE, get(async || file("text/css; charset=utf-8", include_str!("../console/console.css"))))
        .route(ICON, get(async || file("image/svg+xml", include_str!("../console/icon.svg"))))
        .route(SETTINGS, get(settings))
}

async fn page(State(app): State<Arc<App>>) -> Response {
    let mut response = file("text/html; charset=utf-8", include_str!("../console/index.html"));
    let policy = HeaderValue::from_str(&app.console.security_policy());
    response.headers_mut().extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    response
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, content_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Small, and another version of the agent has others.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

async fn settings(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.console.to_json())
}

/// The tenants by name, for the page to choose from. On the admin side: who the customers are is not for callers.
pub(super) async fn tenants(State(app): State<Arc<App>>) -> Json<Value> {
    let named = app.tenants.all().iter().filter_map(|tenant| Some((tenant, tenant.tier?)));
    let tenants: Vec<_> =
        named.map(|(tenant, tier)| json!({ "id": &*tenant.id, "tier": tier.name() })).collect();
    Json(json!({ "tenants": tenants }))
}
