//! Errors in OpenAI's own shape: `{"error": {"message", "type", "param", "code"}}`.
use axum::{
    Json,
    extract::rejection::BytesRejection,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// An error answer.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) body: ErrorBody,
    retry_after_seconds: Option<u32>,
}

/// What stands under `error`.
#[derive(Debug, Serialize)]
pub(super) struct ErrorBody {
    pub(super) message: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) param: Option<String>,
    pub(super) code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: String) -> Self {
        let body = ErrorBody { message, kind, param: None, code: None };
        Self { status, body, retry_after_seconds: None }
    }

    /// A request that is not valid: 400.
    pub(super) fn invalid(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// Too many requests.
    pub(super) fn rate_limited(model: &str) -> Self {
        let message =
            format!("Rate limit reached for {model} on requests per minute. Please try again in 1s.");
        Self {
            retry_after_seconds: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", message).with_code("rate_limit_exceeded")
        }
    }

    /// The provider's own failure.
    pub(super) fn server() -> Self {
        let message = "The server had an error while processing your request. Sorry about that!";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message.to_owned())
    }

    /// More requests in progress than the provider holds.
    pub(super) fn overloaded() -> Self {
        let message = "The engine is currently overloaded, please try again later";
        Self {
            retry_after_seconds: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message.to_owned())
        }
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn with_param(mut self, param: impl Into<String>) -> Self {
        self.body.param = Some(param.into());
        self
    }

    pub(super) fn with_code(mut self, code: &'static str) -> Self {
        self.body.code = Some(code);
        self
    }
}

impl From<BytesRejection> for ApiError {
    /// The body is too long, or did not arrive whole.
    fn from(rejection: BytesRejection) -> Self {
        let message =
            format!("The body cannot be read: {}. It may have up to {} bytes.", rejection, super::MAX_BODY);
        Self::invalid(message).with_status(rejection.status())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(serde_json::json!({"error": self.body}))).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
