//! What the agent answers when it cannot answer: one error type, its HTTP status, and the JSON body all routes share.
use std::{any::Any, error::Error, fmt::Write as _, sync::Arc};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::pipeline::{
    budget::Exceeded,
    compliance::{Stage, Violation},
    llm::LlmError,
};

/// Every kind of failure. The names are an API: callers see them in `error.type`, and those that are not the
/// caller's fault are the values of the `error_type` label of `agent_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// The body is not what the endpoint takes; `field` says which part of it.
    InvalidRequest,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The body is longer than any valid one.
    PayloadTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    /// No such tenant in the tenants file.
    UnknownTenant,
    /// A page of an origin that may not use the admin side.
    ForbiddenOrigin,
    /// The question, or the answer to it, breaks a rule of the compliance file.
    ComplianceViolation,
    /// The tenant has spent what it may spend in a day.
    BudgetExceeded,
    /// No such route.
    NotFound,
    /// The route does not know the method.
    MethodNotAllowed,
    /// The caller went away before there was an answer. Seen in logs only: nobody is left to read a body.
    ClientClosed,
    /// As many questions are worked on as may be.
    Overloaded,
    /// The provider could not be connected to.
    UpstreamUnavailable,
    /// The provider did not answer in time.
    UpstreamTimeout,
    /// The provider refused because of its rate limit.
    UpstreamRateLimited,
    /// The provider answered with another error.
    UpstreamError,
    /// The provider's answer could not be understood, or broke off.
    UpstreamInvalidResponse,
    /// The process is ending and the time for open requests is over.
    ShuttingDown,
    /// A defect of the agent.
    Internal,
}

impl ErrorType {
    /// Those that count as errors of the service, and so are values of the `error_type` label.
    pub const FAULTS: [Self; 8] = [
        Self::Overloaded,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
        Self::UpstreamRateLimited,
        Self::UpstreamError,
        Self::UpstreamInvalidResponse,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// The name in bodies, labels, logs and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::PayloadTooLarge => "payload_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::UnknownTenant => "unknown_tenant",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::ComplianceViolation => "compliance_violation",
            Self::BudgetExceeded => "budget_exceeded",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::ClientClosed => "client_closed",
            Self::Overloaded => "overloaded",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamRateLimited => "upstream_rate_limited",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamInvalidResponse => "upstream_invalid_response",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
        }
    }

    /// Whether the service or its provider is at fault, not the caller.
    pub fn is_fault(self) -> bool {
        Self::FAULTS.contains(&self)
    }

    fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest | Self::ClientClosed => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownTenant | Self::ForbiddenOrigin => StatusCode::FORBIDDEN,
            Self::ComplianceViolation => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BudgetExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UpstreamUnavailable | Self::UpstreamError | Self::UpstreamInvalidResponse => {
                StatusCode::BAD_GATEWAY
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded | Self::UpstreamRateLimited | Self::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error on its way to the caller. As a response it has only a status and itself as an extension: the
/// middleware that knows the request id writes the body, with [`complete`].
#[derive(Clone, Debug)]
pub struct ApiError {
    /// What kind of failure it is.
    pub kind: ErrorType,
    /// For the caller: what happened, with which value, what to do about it.
    pub message: String,
    /// The part of the request that is wrong, where it is one.
    pub field: Option<&'static str>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    /// The compliance rule that forbids it, where it is one: for the audit log.
    pub rule: Option<Arc<str>>,
    /// For the log: what lies beneath, never shown to the caller.
    pub cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// An error without field and cause.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, retry_after: None, rule: None, cause: None }
    }

    /// A 400 that names the field.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorType::InvalidRequest, message).with_field(field)
    }

    /// The answer to requests that are still open when the process has to end.
    pub fn shutting_down() -> Self {
        let message = "The agent is shutting down and did not finish this request: send it again.";
        Self { retry_after: Some(1), ..Self::new(ErrorType::ShuttingDown, message) }
    }

    /// The answer to requests beyond what the agent takes on at a time.
    pub fn overloaded() -> Self {
        let message = "The agent has as many questions as it can work on: send this one again later.";
        Self { retry_after: Some(1), ..Self::new(ErrorType::Overloaded, message) }
    }

    /// The answer to a request in whose work there was a panic.
    pub fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let message = "The agent failed: this is a defect. Report it with the request_id.";
        let cause: Box<dyn Error + Send + Sync> = format!("panic: {text}").into();
        Self { cause: Some(cause.into()), ..Self::new(ErrorType::Internal, message) }
    }

    /// What the caller is told.
    pub fn to_json(&self, request_id: &str) -> Value {
        json!({
            "error": { "type": self.kind.as_str(), "message": &self.message, "field": self.field },
            "request_id": request_id,
        })
    }

    /// Names the part of the request that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// What the log says: the cause where there is one, else what the caller is told.
    pub fn log_message(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.message.clone(), ToString::to_string)
    }

    /// The error and its sources, outermost first, one per line.
    pub fn stack(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.message.clone(), |cause| stack(&**cause))
    }
}

/// An error and its sources, outermost first, one per line.
pub fn stack(error: &dyn Error) -> String {
    let mut stack = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(stack, "\ncaused by: {error}");
        source = error.source();
    }
    stack
}

impl From<LlmError> for ApiError {
    fn from(error: LlmError) -> Self {
        let kind = error.error_type();
        let message = match kind {
            ErrorType::UpstreamUnavailable => "The model provider cannot be reached: try again later.",
            ErrorType::UpstreamTimeout => "The model provider did not answer in time: try again later.",
            ErrorType::UpstreamRateLimited => "The model provider is rate limiting: try again later.",
            ErrorType::UpstreamError => "The model provider answered with an error: try again later.",
            _ => "The model provider's answer could not be understood: try again later.",
        };
        let retry_after = error.retry_after_seconds();
        Self { retry_after, cause: Some(Arc::new(error)), ..Self::new(kind, message) }
    }
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        let budget = exceeded.budget.as_usd();
        let message = format!(
            "The tenant has spent its {budget} US dollars of the day: ask again after midnight UTC, or raise its budget."
        );
        let retry_after = Some(exceeded.seconds_left);
        Self { retry_after, ..Self::new(ErrorType::BudgetExceeded, message).with_field("tenant_id") }
    }
}

impl From<Violation> for ApiError {
    fn from(violation: Violation) -> Self {
        let id = &violation.rule.id;
        let (message, field) = match violation.stage {
            Stage::Question => (
                format!(
                    "The question breaks the compliance rule {id:?} and was not asked: put it in other words."
                ),
                Some("query"),
            ),
            Stage::Answer => {
                (format!("The model's answer breaks the compliance rule {id:?} and is withheld."), None)
            }
        };
        let rule = Some(id.clone());
        Self { field, rule, ..Self::new(ErrorType::ComplianceViolation, message) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind == ErrorType::RequestTimeout {
            // What the caller still sends belongs to no request any more.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the JSON body of an error response, and returns the error; other responses stay as they are.
pub fn complete(response: Response, request_id: &str) -> (Response, Option<ApiError>) {
    let (mut parts, body) = response.into_parts();
    let Some(error) = parts.extensions.remove::<ApiError>() else {
        return (Response::from_parts(parts, body), None);
    };
    let body = Json(error.to_json(request_id));
    // The response made for the bare status declares an empty body.
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut response = (parts.status, body).into_response();
    response.headers_mut().extend(parts.headers);
    (response, Some(error))
}
