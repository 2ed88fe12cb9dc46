//! `GET /openapi.json`: the API in the words of `OpenAPI` 3.1. `tests/api/openapi.rs` keeps it true.
use axum::{
    http::{HeaderName, header},
    response::{IntoResponse as _, Response},
};

/// The document.
pub(super) async fn openapi() -> Response {
    // Tools that show the document in a browser come from elsewhere, and there is nothing secret in it.
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "application/json"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (headers, include_str!("../openapi.json")).into_response()
}
