//! The provider's own spans: one for each completion, under the caller's.
use std::time::Duration;

use axum::http::HeaderMap;
use opentelemetry::{
    KeyValue,
    propagation::TextMapPropagator as _,
    trace::{SpanKind, Tracer as _, TracerProvider as _},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span,
        TracerProviderBuilder,
    },
};
use reqwest::Url;

/// How long one export may take. A collector that hangs costs spans, never requests.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often spans are exported: soon enough for someone who looks for a trace just made.
const EXPORT_DELAY: Duration = Duration::from_secs(1);

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
            let exporter = SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&traces)
                .with_timeout(EXPORT_TIMEOUT)
                .build()
                .map_err(|e| format!("cannot export spans to {traces}: {e}"))?;
            let batch = BatchConfigBuilder::default().with_scheduled_delay(EXPORT_DELAY).build();
            builder = builder
                .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batch).build());
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
        let provider = builder.with_resource(resource).with_sampler(sampler).build();
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
