//! One request, from its head to its end: its span, its lines, its place in the metrics.
use std::{
    error::Error,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request as HttpRequest},
    http::{HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::Response,
};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::HeaderExtractor;
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{TENANTS, line, metrics, traces};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was answered.
    Success,
    /// It failed, and the fault is ours or the provider's.
    Error,
    /// The caller's fault; also one that hung up.
    Rejected,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Success, Self::Error, Self::Rejected];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Rejected => "rejected",
        }
    }
}

/// What is known of a request, and told of it when it ends: when it is dropped, so that it is also told when the caller hangs up.
pub struct Request {
    /// As in the header `x-request-id`.
    pub id: String,
    /// As in the header `x-trace-id`.
    pub trace_id: String,
    /// Of the span below.
    pub span_id: String,
    /// The route, or `other`.
    pub endpoint: String,
    /// `process_request`.
    pub span: Span,
    method: &'static str,
    tenant: OnceLock<(&'static str, &'static str)>,
    error: OnceLock<(&'static str, String)>,
    status: OnceLock<StatusCode>,
    cost_usd: Mutex<f64>,
    started: Instant,
}

impl Request {
    fn begin(request: &HttpRequest) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        let endpoint = route.map_or("other", MatchedPath::as_str).to_owned();
        let method = known(request.method());
        let span = info_span!("process_request", otel.kind = "server");
        let caller = opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.extract(&HeaderExtractor(request.headers()))
        });
        // Fails only where no tracer is installed.
        let _ = span.set_parent(caller);
        let context = span.context().span().span_context().clone();
        let id = uuid::Uuid::now_v7().to_string();
        span.set_attribute("request.id", id.clone());
        span.set_attribute("http.request.method", method);
        span.set_attribute("http.route", endpoint.clone());
        metrics::in_flight(1.0);
        Self {
            id,
            trace_id: context.trace_id().to_string(),
            span_id: context.span_id().to_string(),
            endpoint,
            span,
            method,
            tenant: OnceLock::new(),
            error: OnceLock::new(),
            status: OnceLock::new(),
            cost_usd: Mutex::new(0.0),
            started: Instant::now(),
        }
    }

    /// Says whose request it is; none where there is no such tenant.
    pub fn identify(&self, tenant: &str, text: &str) -> Option<&'static str> {
        let known = TENANTS.into_iter().find(|(id, _)| *id == tenant)?;
        let (id, tier) = *self.tenant.get_or_init(|| known);
        let length = text.chars().count();
        self.span.set_attribute("tenant.id", id);
        self.span.set_attribute("tenant.tier", tier);
        self.span.set_attribute("query.length", i64::try_from(length).unwrap_or(i64::MAX));
        let preview: String = text.chars().take(100).collect();
        line!(INFO, self, query_preview = preview, query_length = length, "request started");
        Some(id)
    }

    /// The tenant and its tier.
    pub fn tenant(&self) -> (&'static str, &'static str) {
        self.tenant.get().copied().unwrap_or(("other", "none"))
    }

    /// Says what a call of the model has cost.
    pub fn costs(&self, usd: f64) {
        *self.cost_usd.lock().unwrap_or_else(PoisonError::into_inner) += usd;
    }

    /// Says that it failed, and why.
    pub fn fails(&self, error_type: &'static str, error: &dyn Error, context: &str) {
        let message = error.to_string();
        let stack = error.source().map_or_else(|| message.clone(), |source| format!("{message}\n{source}"));
        line!(
            ERROR,
            self,
            error_type,
            error_message = message,
            error_stack = stack,
            context,
            "request failed"
        );
        traces::record_failure(&self.span, error_type, error);
        let _ = self.error.set((error_type, message));
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let (tenant, _) = self.tenant();
        let status = match self.status.get() {
            Some(status) if status.is_success() => Status::Success,
            Some(status) if status.is_server_error() => Status::Error,
            _ => Status::Rejected,
        };
        metrics::in_flight(-1.0);
        metrics::ended(self.method, &self.endpoint, status, tenant, took);
        if let Some(code) = self.status.get() {
            self.span.set_attribute("http.response.status_code", i64::from(code.as_u16()));
        }
        let cost_usd = *self.cost_usd.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (status_text, duration_seconds) = (status.as_str(), took.as_secs_f64());
        if status == Status::Error {
            let (error_type, error_message) =
                self.error.get().cloned().unwrap_or((metrics::INTERNAL, String::new()));
            metrics::failed(error_type, tenant);
            line!(
                WARN,
                self,
                status = status_text,
                duration_seconds,
                cached = false,
                cost_usd,
                error_type,
                error_message,
                "request completed"
            );
        } else {
            line!(
                INFO,
                self,
                status = status_text,
                duration_seconds,
                cached = false,
                cost_usd,
                "request completed"
            );
        }
    }
}

/// Around every request of the API.
pub async fn observe(mut http: HttpRequest, next: Next) -> Response {
    let request = Arc::new(Request::begin(&http));
    http.extensions_mut().insert(request.clone());
    let mut response = next.run(http).instrument(request.span.clone()).await;
    let _ = request.status.set(response.status());
    for (name, value) in [("x-request-id", &request.id), ("x-trace-id", &request.trace_id)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// A caller may make up methods; a label may not have them.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
