//! Spans over OTLP, as docs/traces.md has them.
use std::error::Error;

use opentelemetry::{
    KeyValue, global,
    trace::{Status, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// Makes trace ids, and sends spans where there is a collector. Must not run on an async runtime: the exporter's client blocks.
pub fn provider(service_name: &str, endpoint: Option<&str>) -> Result<SdkTracerProvider, Box<dyn Error>> {
    // The caller's trace goes on here, and the provider's in ours.
    global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = Resource::builder()
        .with_service_name(service_name.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    // Where the caller has decided, as it has; otherwise all. In production a ratio: Sampler::TraceIdRatioBased(0.1).
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let mut provider = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
    if let Some(endpoint) = endpoint {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(reqwest::blocking::Client::new())
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()?;
        // Spans wait in a bounded queue of this exporter's thread; a collector that is away makes no request wait.
        provider = provider.with_batch_exporter(exporter);
    }
    Ok(provider.build())
}

/// The layer that makes spans of ours: without what it would add of its own, and without the libraries' spans.
pub fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let ours = filter_fn(|meta| meta.is_span() && meta.target().starts_with(env!("CARGO_CRATE_NAME")));
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(ours)
}

/// Marks a span as failed: its status, its `error.type`, and the exception.
pub fn record_failure(span: &Span, error_type: &'static str, error: &dyn Error) {
    let mut stack = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        stack = format!("{stack}\n{error}");
        source = error.source();
    }
    span.set_status(Status::error(error.to_string()));
    span.set_attribute("error.type", error_type);
    let exception = vec![
        KeyValue::new("exception.type", error_type),
        KeyValue::new("exception.message", error.to_string()),
        KeyValue::new("exception.stacktrace", stack),
    ];
    span.add_event("exception", exception);
}
