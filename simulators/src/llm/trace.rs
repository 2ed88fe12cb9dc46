//! The provider's own spans: one for each completion, under the caller's.
use std::time::Duration;

use axum::http::HeaderMap;
use command_line::http;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{Link, SpanContext, SpanKind, TraceFlags, TraceId, Tracer as _, TracerProvider as _},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracer,
        SdkTracerProvider, ShouldSample, Span, SpanData, SpanProcessor, TracerProviderBuilder,
    },
};
use reqwest::Url;

/// How long one export may take. A collector that hangs costs spans, never requests.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often spans are exported: soon enough for someone who looks for a trace just made.
const EXPORT_DELAY: Duration = Duration::from_secs(1);

/// A completion that takes as long is exported though its caller has not sampled it. A little less than the 2 s from which on
/// the agent keeps the trace of a request: this is most of one.
const SLOW: Duration = Duration::from_millis(1800);

/// Exports what is sampled, and what failed or was slow besides: a caller that decides at the end of a request which traces
/// it keeps, as the agent does, cannot have told so before.
#[derive(Debug)]
pub struct KeepNotable<P>(pub P);

impl<P: SpanProcessor> SpanProcessor for KeepNotable<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        let failed = span.attributes.iter().any(|attribute| attribute.key.as_str() == "error.type");
        let slow = span.end_time.duration_since(span.start_time).is_ok_and(|took| took >= SLOW);
        if failed || slow {
            let context = &span.span_context;
            span.span_context = SpanContext::new(
                context.trace_id(),
                context.span_id(),
                context.trace_flags() | TraceFlags::SAMPLED,
                context.is_remote(),
                context.trace_state().clone(),
            );
        }
        // The next one leaves out what is not sampled.
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Decides as the caller has, but has the rest recorded too.
#[derive(Clone, Debug)]
struct RecordAll(Sampler);

impl ShouldSample for RecordAll {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace, name, kind, attributes, links);
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }
}

/// Makes spans.
pub struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Tracing {
    /// Spans for the collector at `endpoint`, or for nobody. Neither make nor drop this inside a runtime: the
    /// exporter's client is a blocking one. The error is one line.
    pub fn new(endpoint: Option<&Url>, service_name: &str) -> Result<Self, String> {
        let mut builder = SdkTracerProvider::builder();
        if let Some(endpoint) = endpoint {
            let traces = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
            let client = http::blocking_client([endpoint]).timeout(EXPORT_TIMEOUT).build();
            let exporter = SpanExporter::builder()
                .with_http()
                .with_http_client(client.map_err(|e| http::cannot_build(&e))?)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&traces)
                .with_timeout(EXPORT_TIMEOUT)
                .build()
                .map_err(|e| format!("cannot export spans to {traces}: {}", http::chain(&e)))?;
            let batch = BatchConfigBuilder::default().with_scheduled_delay(EXPORT_DELAY).build();
            let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
            builder = builder.with_span_processor(KeepNotable(batches));
        }
        Ok(Self::with_provider(builder, service_name))
    }

    /// Spans for the processors of `builder`.
    pub fn with_provider(builder: TracerProviderBuilder, service_name: &str) -> Self {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource =
            Resource::builder().with_service_name(service_name.to_owned()).with_attribute(version).build();
        // The caller decides whether a trace is recorded; one that starts here is.
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        let provider = builder.with_resource(resource).with_sampler(RecordAll(sampler)).build();
        let tracer = provider.tracer("simulators");
        Self { provider, tracer, propagator: TraceContextPropagator::new() }
    }

    /// The span of a completion, a child of the one that the headers name.
    pub(super) fn start(&self, headers: &HeaderMap) -> Span {
        let parent = self.propagator.extract(&HeaderExtractor(headers));
        self.tracer
            .span_builder("chat")
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("http.route", "/v1/chat/completions"),
                KeyValue::new("gen_ai.operation.name", "chat"),
                KeyValue::new("gen_ai.provider.name", "openai"),
            ])
            .start_with_context(&self.tracer, &parent)
    }

    /// Exports what is left, for `limit` at most.
    pub fn shutdown(&self, limit: Duration) {
        // An error says that the collector did not take the last spans: there is nobody left to tell.
        let _ = self.provider.shutdown_with_timeout(limit);
    }
}
