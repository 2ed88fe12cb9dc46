//! Spans, over OTLP to a collector that may be slow or not there: they wait in a bounded queue, and what is lost is
//! counted. The spans' own library counts neither.
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use command_line::http;
use opentelemetry::{Context, KeyValue, trace::Status};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter,
        SpanProcessor,
    },
};
use reqwest::Url;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::tail::{RecordAll, Waiting};
use crate::{error::ErrorType, settings::Settings};

/// Spans that may wait for the collector: at about 1 KiB each.
const QUEUE_SPANS: usize = 8192;
const BATCH_SPANS: usize = 512;
const BATCH_EVERY: Duration = Duration::from_secs(1);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The provider of tracers. Without a collector it still makes trace ids for logs and the next service.
pub fn provider(settings: &Settings, lost: Arc<AtomicU64>) -> Result<SdkTracerProvider, Box<dyn Error>> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.trace_ratio)));
    let mut builder = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler.clone());
    if let Some(endpoint) = &settings.otlp_endpoint {
        let exporter = OtlpExporter::builder()
            .with_http()
            .with_http_client(client(endpoint)?)
            .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        // Only with somewhere to send them is it worth it to record what the ratio leaves out.
        builder = builder.with_sampler(RecordAll(sampler));
        builder = builder.with_span_processor(BoundedProcessor::new(exporter, lost));
    }
    Ok(builder.build())
}

/// A client that blocks: the exporter runs on a plain thread.
fn client(endpoint: &Url) -> reqwest::Result<reqwest::blocking::Client> {
    http::blocking_client([endpoint]).timeout(EXPORT_TIMEOUT).build()
}

/// Marks a span as failed: its status, `error.type`, and the error with its sources as an exception event.
pub fn record_failure(span: &tracing::Span, kind: ErrorType, message: String, stack: String) {
    span.set_status(Status::error(message.clone()));
    span.set_attribute("error.type", kind.as_str());
    let exception = vec![
        KeyValue::new("exception.type", kind.as_str()),
        KeyValue::new("exception.message", message),
        KeyValue::new("exception.stacktrace", stack),
    ];
    span.add_event("exception", exception);
}

/// Picks the spans to export, bounds those on their way, and counts those it has to drop.
#[derive(Debug)]
struct BoundedProcessor {
    waiting: Waiting,
    batches: BatchSpanProcessor,
    in_flight: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

impl BoundedProcessor {
    fn new(exporter: impl SpanExporter + 'static, lost: Arc<AtomicU64>) -> Self {
        let in_flight = Arc::new(AtomicUsize::new(0));
        let exporter = CountingExporter { exporter, in_flight: in_flight.clone(), lost: lost.clone() };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS)
            .with_max_export_batch_size(BATCH_SPANS)
            .with_scheduled_delay(BATCH_EVERY)
            .build();
        Self {
            waiting: Waiting::new(lost.clone()),
            batches: BatchSpanProcessor::builder(exporter).with_batch_config(config).build(),
            in_flight,
            lost,
        }
    }
}

impl BoundedProcessor {
    fn export(&self, span: SpanData) {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= QUEUE_SPANS {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.batches.on_end(span);
    }
}

impl SpanProcessor for BoundedProcessor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.waiting.end(span, |span| self.export(span));
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts the spans of batches the collector did not take.
#[derive(Debug)]
struct CountingExporter<E> {
    exporter: E,
    in_flight: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.in_flight.fetch_sub(spans, Ordering::Relaxed);
        if result.is_err() {
            self.lost.fetch_add(spans as u64, Ordering::Relaxed);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
