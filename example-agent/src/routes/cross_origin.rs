//! Who may use the admin side from a browser: the console, which another port has served, and no other page.
//! A page cannot leave out or forge the header `origin` where it matters, not even one that has rebound its own name
//! to our address. Requests without it come from no page, or only read.
use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::body;
use crate::{
    App,
    error::{ApiError, ErrorType},
};

/// The middleware.
pub(super) async fn console_only(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match &origin {
        Some(origin) if !origin.to_str().is_ok_and(|origin| app.console.allows(origin)) => {
            body::discard(request.into_body(), app.body_timeout).await;
            let message =
                "Pages of this origin may not use the admin port: AGENT_CONSOLE_ORIGINS has those that may.";
            return ApiError::new(ErrorType::ForbiddenOrigin, message).with_field("origin").into_response();
        }
        Some(_) if is_preflight(&request) => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = HeaderMap::from_iter([
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, PUT, DELETE")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type")),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ]);
    (StatusCode::NO_CONTENT, headers).into_response()
}
