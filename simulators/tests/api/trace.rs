use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, routing::post};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SimpleSpanProcessor, SpanData, SpanExporter},
};
use prost::Message as _;
use serde_json::json;
use simulators::llm::trace::{KeepNotable, Tracing};
use tokio::sync::mpsc;

use super::{client, llm, serve};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Keeps what is exported.
#[derive(Clone, Debug, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

async fn ask(base: &str, traceparent: &str, model: &str) -> u16 {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": true});
    let request = client().post(format!("{base}/v1/chat/completions")).header("traceparent", traceparent);
    let response = request.json(&body).send().await.unwrap();
    let status = response.status().as_u16();
    response.bytes().await.unwrap();
    status
}

/// The spans once there are as many as expected: a span ends just after the last byte is on its way.
async fn spans(exported: &Exported, count: usize) -> Vec<SpanData> {
    loop {
        let spans = exported.0.lock().unwrap().clone();
        if spans.len() >= count {
            return spans;
        }
        tokio::task::yield_now().await;
    }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|kv| kv.value.to_string())
}

#[tokio::test]
async fn a_completion_is_a_server_span_under_the_callers() {
    let exported = Exported::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone());
    let base = llm(Tracing::with_provider(provider, "test")).await;

    assert_eq!(ask(&base, NOT_SAMPLED, "sim-small").await, 200);
    assert_eq!(ask(&base, PARENT, "sim-small").await, 200);
    assert_eq!(ask(&base, PARENT, "gpt-9").await, 404);
    let faults = client().put(format!("{base}/faults")).body(r#"{"error_ratio": 1}"#).send().await.unwrap();
    assert_eq!(faults.status(), 200);
    assert_eq!(ask(&base, PARENT, "sim-small").await, 500);

    let spans = spans(&exported, 3).await;
    assert_eq!(spans.len(), 3, "the caller's decision not to sample is kept");
    for span in &spans {
        assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(span.span_kind, SpanKind::Server);
    }
    let [answered, not_found, failed] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*answered.name, &answered.status), ("chat sim-small", &Status::Unset));
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "sim-small"),
        ("gen_ai.response.finish_reasons", "[\"stop\"]"),
        ("gen_ai.usage.input_tokens", "8"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(attribute(answered, key).as_deref(), Some(value), "{key}");
    }
    assert!(attribute(answered, "gen_ai.usage.output_tokens").is_some());
    assert_eq!((&*not_found.name, &not_found.status), ("chat", &Status::Unset), "the caller's mistake");
    assert_eq!(attribute(not_found, "error.type").as_deref(), Some("model_not_found"));
    assert!(matches!(failed.status, Status::Error { .. }));
    assert_eq!(attribute(failed, "http.response.status_code").as_deref(), Some("500"));
}

#[tokio::test]
async fn what_fails_is_exported_though_its_caller_has_not_sampled_it() {
    let exported = Exported::default();
    let processor = KeepNotable(SimpleSpanProcessor::new(exported.clone()));
    let provider = SdkTracerProvider::builder().with_span_processor(processor);
    let base = llm(Tracing::with_provider(provider, "test")).await;
    assert_eq!(ask(&base, NOT_SAMPLED, "sim-small").await, 200);
    assert_eq!(ask(&base, NOT_SAMPLED, "gpt-9").await, 404);
    assert_eq!(ask(&base, PARENT, "sim-small").await, 200);

    let spans = spans(&exported, 2).await;
    let [failed, sampled] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(attribute(failed, "error.type").as_deref(), Some("model_not_found"));
    assert!(failed.span_context.is_sampled(), "a collector must not take it for not sampled");
    assert_eq!((&*sampled.name, &sampled.status), ("chat sim-small", &Status::Unset));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_a_collector() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let collector = Router::new().route(
        "/v1/traces",
        post(async move |body: Bytes| {
            sender.send(ExportTraceServiceRequest::decode(body).unwrap()).unwrap();
        }),
    );
    // The slash at the end must not become two.
    let endpoint = format!("{}/", serve(collector).await).parse().unwrap();
    let _ = client();
    // The exporter's client is a blocking one: it must not be made on the runtime.
    let tracing =
        tokio::task::spawn_blocking(move || Tracing::new(Some(&endpoint), "llm-simulator").unwrap());
    let tracing = Arc::new(tracing.await.unwrap());
    let settings = simulators::settings::Llm {
        listen: ([127, 0, 0, 1], 0).into(),
        time_scale: 0.0,
        seed: None,
        telemetry: simulators::settings::Telemetry { otlp_endpoint: None, service_name: String::new() },
    };
    let base = serve(simulators::llm::router(&settings, Arc::clone(&tracing))).await;
    assert_eq!(ask(&base, PARENT, "sim-small").await, 200);

    let request = received.recv().await.unwrap();
    let resource = &request.resource_spans[0];
    let names = format!("{:?}", resource.resource);
    assert!(names.contains("llm-simulator"), "{names}");
    let span: &Span = &resource.scope_spans[0].spans[0];
    assert_eq!(span.name, "chat sim-small");
    assert_eq!(span.parent_span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    tokio::task::spawn_blocking(move || tracing.shutdown(std::time::Duration::from_secs(2))).await.unwrap();
}
