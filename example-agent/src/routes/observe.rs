//! Around every request of the API: its span, its outcome in metrics and log, its answer in every case.
use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{self, Poll},
    time::Instant,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_http::HeaderExtractor;
use serde_json::Value;
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    API_ENDPOINTS, FEEDBACK_ENDPOINT, MAX_ECHOED_CHARS, OTHER_ENDPOINT, UNCOUNTED, actor, close_when_ending,
    console, new_request_id,
};

use crate::{
    App,
    error::{ApiError, ErrorType, complete},
    lifecycle::Phase,
    pipeline::cost::RequestCost,
    telemetry::{
        audit::{Action, AuditEvent, AuditedRequest, Outcome},
        events::{RequestCompleted, RequestFailed, preview},
        metrics::QUERY_ENDPOINT,
        request_lines::RequestLines,
        tail::{REASON, Reason},
        traces,
    },
    tenants::Tenant,
};

/// The rule by which a question is answered: its tenant is in the tenants file.
const TENANT_REGISTERED: &str = "tenant_registered";
/// The rule by which feedback is taken: whoever has an id may rate.
const OPEN_TO_ALL: &str = "open_to_all";

/// What is known of a request, as it becomes known. The handler fills it, and whoever reports the end reads it.
#[derive(Debug)]
pub(super) struct RequestScope {
    id: String,
    method: &'static str,
    endpoint: &'static str,
    span: Span,
    /// The same span as OpenTelemetry has it. Attributes go there at once: the way over `span` is longer each time.
    traced: Context,
    context: SpanContext,
    /// As headers and lines have them; none without a tracer.
    trace_and_span: Option<(String, String)>,
    actor: String,
    claimed_tenant: OnceLock<String>,
    tenant: OnceLock<Arc<Tenant>>,
    query_preview: OnceLock<String>,
    cost: RequestCost,
    cached: OnceLock<bool>,
    /// None until there is an answer, or a reason why not.
    outcome: OnceLock<Result<(), ApiError>>,
    audit_context: OnceLock<Value>,
}

impl RequestScope {
    fn new(app: &App, method: &Method, endpoint: &'static str, headers: &HeaderMap) -> Self {
        let id = new_request_id();
        let span = info_span!("process_request", otel.kind = "server");
        let caller = opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.extract(&HeaderExtractor(headers))
        });
        let caller_context = caller.span().span_context().clone();
        // Fails only where no tracer is installed, as in tests.
        let _ = span.set_parent(caller);
        let traced = span.context();
        let context = traced.span().span_context().clone();
        let trace_and_span =
            context.is_valid().then(|| (context.trace_id().to_string(), context.span_id().to_string()));
        if let Some((trace_id, span_id)) = &trace_and_span {
            let policy = app.telemetry.log_policy.get();
            let sampled = policy.keeps(&context, &caller_context);
            let fields =
                [("request_id", &*id), ("trace_id", trace_id), ("span_id", span_id), ("endpoint", endpoint)];
            let lines = RequestLines::new(sampled, policy.tier_levels, &fields);
            lines.of_tenant(&app.tenants.other()).attach(&span);
        }
        let method = known_method(method);
        if traced.span().is_recording() {
            traced.span().set_attributes([
                KeyValue::new("request.id", id.clone()),
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", endpoint),
            ]);
        }
        Self {
            id,
            method,
            endpoint,
            span,
            traced,
            context,
            trace_and_span,
            actor: actor(headers),
            claimed_tenant: OnceLock::new(),
            tenant: OnceLock::new(),
            query_preview: OnceLock::new(),
            cost: RequestCost::default(),
            cached: OnceLock::new(),
            outcome: OnceLock::new(),
            audit_context: OnceLock::new(),
        }
    }

    /// The request's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Says whose request it claims to be.
    pub(super) fn claim(&self, tenant_id: &str) {
        let _ = self.claimed_tenant.set(tenant_id.chars().take(MAX_ECHOED_CHARS).collect());
    }

    /// Says whose request it is, and its question with the length in characters.
    pub(super) fn identify(&self, tenant: Arc<Tenant>, query: &str, query_length: usize) {
        let _ = self.query_preview.set(preview(query).to_owned());
        RequestLines::identify(&self.span, &tenant);
        let traced = self.traced.span();
        if traced.is_recording() {
            traced.set_attributes([
                KeyValue::new("tenant.id", tenant.id.to_string()),
                KeyValue::new("tenant.tier", tenant.tier_name()),
                KeyValue::new("query.length", i64::try_from(query_length).unwrap_or(i64::MAX)),
            ]);
        }
        let _ = self.tenant.set(tenant);
    }

    /// The audit log's line about it.
    fn audited(&self, action: Action, tenant: Arc<Tenant>, error: Option<&ApiError>) -> AuditEvent {
        let claimed = self.claimed_tenant.get().filter(|_| self.tenant.get().is_none());
        AuditEvent {
            action,
            outcome: match error.map(|error| error.kind) {
                None => Outcome::Allowed,
                Some(kind) if kind.is_fault() || kind == ErrorType::ClientClosed => Outcome::Failed,
                Some(_) => Outcome::Denied,
            },
            rule: match error {
                None if action == Action::Feedback => OPEN_TO_ALL.into(),
                None => TENANT_REGISTERED.into(),
                Some(ApiError { rule: Some(rule), .. }) => format!("compliance:{rule}").into(),
                Some(error) => error.kind.as_str().into(),
            },
            actor: self.actor.clone(),
            request: Some(AuditedRequest {
                id: self.id.clone(),
                trace_and_span: self.trace_and_span.clone(),
                endpoint: self.endpoint,
                tenant,
                claimed_tenant_id: claimed.cloned(),
                query_preview: self.query_preview.get().cloned(),
            }),
            context: self.audit_context.get().cloned(),
        }
    }

    /// Says what else the audit log should have.
    pub(super) fn audit_context(&self, context: Value) {
        let _ = self.audit_context.set(context);
    }

    /// Where its cost is added.
    pub(super) fn cost(&self) -> &RequestCost {
        &self.cost
    }

    /// Its span, for what is done when its handler has returned.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Says how it was answered.
    pub(super) fn answered(&self, cached: bool) {
        let _ = self.cached.set(cached);
    }

    /// Says that it is over. Who hangs up from here on has had all there is.
    pub(super) fn end(&self, outcome: Result<(), ApiError>) {
        let _ = self.outcome.set(outcome);
    }
}

/// Marks a response that is over only with its body: whoever makes that calls [`RequestScope::end`].
#[derive(Clone, Copy)]
pub(super) struct Streamed;

/// Reports the request when dropped, which must be in its span: the server drops what it does when the caller goes away, and
/// code after an `await` never runs.
struct Report {
    app: Arc<App>,
    scope: Arc<RequestScope>,
    started: Instant,
}

impl Drop for Report {
    fn drop(&mut self) {
        let Self { app, scope, started } = self;
        let broken_off = || {
            // At the end the agent itself closes what is open.
            if app.lifecycle.has_reached(Phase::Closed) {
                return Err(ApiError::shutting_down());
            }
            Err(ApiError::new(ErrorType::ClientClosed, "The caller closed the connection."))
        };
        let outcome = scope.outcome.get().cloned().unwrap_or_else(broken_off);
        let error = outcome.as_ref().err();
        let tenant = scope.tenant.get().cloned().unwrap_or_else(|| app.tenants.other());
        let (cached, cost) = (scope.cached.get().copied().unwrap_or_default(), scope.cost.get());
        let duration = started.elapsed();
        let slow = duration >= app.slow_request;
        let failed = error.is_some_and(|error| error.kind.is_fault());
        let reason = if failed { Some(Reason::Error) } else { slow.then_some(Reason::Slow) };
        if let Some(reason) = reason {
            scope.traced.span().set_attribute(KeyValue::new(REASON, reason.as_str()));
        }
        let findable = scope.context.is_valid() && (scope.context.is_sampled() || reason.is_some());
        let trace = findable.then(|| scope.context.trace_id());
        if let Some(error) = error.filter(|error| error.kind.is_fault()) {
            traces::record_failure(&scope.span, error.kind, error.log_message(), error.stack());
            let context = format!("{} {}", scope.method, scope.endpoint);
            RequestFailed { tenant: &tenant, error, context: &context }.emit(&app.metrics);
        }
        RequestCompleted {
            method: scope.method,
            endpoint: scope.endpoint,
            tenant: &tenant,
            duration,
            error,
            cached,
            cost,
            slow,
            trace,
        }
        .emit(&app.metrics);
        let action = match scope.endpoint {
            QUERY_ENDPOINT => Action::Query,
            FEEDBACK_ENDPOINT => Action::Feedback,
            _ => return,
        };
        app.telemetry.audit.record_with(action, || scope.audited(action, tenant, error));
    }
}

/// A body that is made while it is sent, and the report of its request.
struct Reported {
    body: Body,
    report: Option<Report>,
}

impl Reported {
    fn end(&mut self) {
        if let Some(report) = self.report.take() {
            report.scope.span().in_scope(|| drop(report));
        }
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        // First what makes it, so that the report has all of it.
        self.body = Body::empty();
        self.end();
    }
}

impl HttpBody for Reported {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.end();
        }
        frame
    }
}

/// The middleware.
pub(super) async fn observe(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let path = path.as_ref().map_or(OTHER_ENDPOINT, MatchedPath::as_str);
    if UNCOUNTED.contains(&path) || console::PATHS.contains(&path) {
        // These are no work: counted, they would thin out error ratio and latency.
        let (mut response, _) = complete(next.run(request).await, &new_request_id());
        close_when_ending(&app, &mut response);
        return response;
    }
    let endpoint = API_ENDPOINTS.into_iter().find(|known| *known == path).unwrap_or(OTHER_ENDPOINT);
    let scope = Arc::new(RequestScope::new(&app, request.method(), endpoint, request.headers()));
    request.extensions_mut().insert(scope.clone());
    let span = scope.span.clone();
    let report = Report { app, scope, started };
    async move {
        let report = report;
        let response = tokio::select! {
            biased;
            response = AssertUnwindSafe(next.run(request)).catch_unwind() => response.unwrap_or_else(|panic| ApiError::panicked(&*panic).into_response()),
            () = report.app.lifecycle.reached(Phase::Cutting) => ApiError::shutting_down().into_response(),
        };
        let (mut response, error) = complete(response, report.scope.id());
        let scope = &report.scope;
        let status = i64::from(response.status().as_u16());
        scope.traced.span().set_attribute(KeyValue::new("http.response.status_code", status));
        let headers = response.headers_mut();
        headers.extend(HeaderValue::from_str(&scope.id).map(|id| (X_REQUEST_ID, id)));
        if let Some((trace_id, _)) = &scope.trace_and_span {
            headers.extend(HeaderValue::from_str(trace_id).map(|id| (X_TRACE_ID, id)));
        }
        close_when_ending(&report.app, &mut response);
        if response.extensions_mut().remove::<Streamed>().is_some() {
            return response.map(|body| Body::new(Reported { body, report: Some(report) }));
        }
        scope.end(error.map_or(Ok(()), Err));
        response
    }
    .instrument(span)
    .await
}

const X_REQUEST_ID: axum::http::HeaderName = axum::http::HeaderName::from_static("x-request-id");
const X_TRACE_ID: axum::http::HeaderName = axum::http::HeaderName::from_static("x-trace-id");

/// The `method` label: what HTTP does not define is the caller's invention.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::post};
    use clap::Parser as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        settings::Cli,
        telemetry::{Handles, exposition::Format},
    };

    async fn defect() -> &'static str {
        panic!("boom")
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_a_counted_error() {
        let settings = Cli::parse_from(["example-agent"]).settings;
        let app = Arc::new(App::new(&settings, Handles::new(&settings)).unwrap());
        let routes = Router::new()
            .route("/v1/query", post(defect))
            .layer(middleware::from_fn_with_state(app.clone(), observe))
            .with_state(app.clone());
        let response = routes.oneshot(Request::post("/v1/query").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 1 << 10).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["type"], "internal");
        assert!(!body.to_string().contains("boom"), "the caller sees no insides: {body}");
        let metrics = app.metrics.render(Format::Text);
        assert!(
            metrics.contains("agent_errors_total{error_type=\"internal\",tenant_id=\"other\"} 1\n"),
            "{metrics}"
        );
    }
}
