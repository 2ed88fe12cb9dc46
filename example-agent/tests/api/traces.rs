//! Spans: what stands in the documentation, no more and no less, and that no failed or slow request is without them.
use std::collections::BTreeSet;

use opentelemetry_proto::tonic::{
    common::v1::any_value::Value as Any,
    trace::v1::{Span, span::SpanKind},
};
use serde_json::json;

use crate::helpers::{Agent, Behaviour, Collector, Provider, document, eventually, hex, table_rows};

const CALLER: &str = "b7ad6b7169203331";

/// Asks in a trace of this number, which the caller has sampled or not.
async fn ask(agent: &Agent, trace: u128, sampled: bool, tenant: &str, query: &str) -> reqwest::Result<u16> {
    let parent = format!("00-{trace:032x}-{CALLER}-{:02x}", u8::from(sampled));
    let request = agent.app.http.post(format!("{}/v1/query", agent.app.api));
    let request = request.json(&json!({ "tenant_id": tenant, "query": query })).header("traceparent", parent);
    Ok(request.timeout(std::time::Duration::from_secs(10)).send().await?.status().as_u16())
}

/// The names of a trace's spans, once its request's is there, which comes last.
async fn trace(collector: &Collector, trace: u128) -> Vec<Span> {
    eventually("the trace has arrived", async || {
        let mut spans = collector.spans();
        spans.retain(|span| hex(&span.trace_id) == format!("{trace:032x}"));
        spans.iter().any(|span| span.name == "process_request").then_some(spans)
    })
    .await
}

fn names(spans: &[Span]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn reason(spans: &[Span]) -> Option<Any> {
    let request = spans.iter().find(|span| span.name == "process_request").unwrap();
    request.attributes.iter().find(|a| a.key == "sampling.reason")?.value.clone()?.value
}

fn type_of(value: &Any) -> &'static str {
    match value {
        Any::StringValue(_) => "string",
        Any::BoolValue(_) => "bool",
        Any::IntValue(_) => "int",
        Any::ArrayValue(_) => "string[]",
        other => panic!("{other:?}"),
    }
}

async fn agent(provider: &Provider, collector: &Collector, more: &[(&str, &str)]) -> Agent {
    let mut settings = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())];
    settings.extend(more);
    Agent::start(provider, &settings).await
}

#[tokio::test]
async fn the_documentation_has_each_span_with_its_parent_and_its_attributes() {
    let collector = Collector::start(false).await;
    let answering = Provider::start(Behaviour::Stream).await;
    let hanging = Provider::start(Behaviour::Hang).await;
    let absent = Provider::absent();
    let answered = agent(&answering, &collector, &[]).await;
    let failing = agent(&absent, &collector, &[]).await;
    let cancelled = agent(&hanging, &collector, &[]).await;
    assert_eq!(ask(&answered, 1, true, "acme", "q").await.unwrap(), 200);
    assert_eq!(ask(&failing, 2, true, "acme", "q").await.unwrap(), 502);
    assert_eq!(ask(&answered, 4, true, "acme", "An insider tip?").await.unwrap(), 422);
    tokio::select! {
        answer = ask(&cancelled, 3, true, "acme", "q") => panic!("{answer:?}"),
        () = eventually("the model is asked", async || (hanging.calls().len() == 1).then_some(())) => {}
    }
    let mut spans = Vec::new();
    for number in 1..=4 {
        spans.extend(trace(&collector, number).await);
    }

    let page = document("traces.md");
    let plain = |cell: &String| cell.trim_matches('`').to_owned();
    let tree: BTreeSet<_> = table_rows(&page, "span")
        .iter()
        .map(|row| (plain(&row[0]), plain(&row[1]), row[2].to_lowercase()))
        .collect();
    let attributes: BTreeSet<_> = table_rows(&page, "attribute of")
        .iter()
        .map(|row| (plain(&row[0]), plain(&row[1]), plain(&row[2])))
        .collect();
    let (mut seen_tree, mut seen_attributes) = (BTreeSet::new(), BTreeSet::new());
    for span in &spans {
        let parent = spans.iter().find(|other| other.span_id == span.parent_span_id);
        let parent = parent.map_or("the caller's, or none", |parent| parent.name.as_str());
        let kind = SpanKind::try_from(span.kind).unwrap().as_str_name();
        let kind = kind.trim_start_matches("SPAN_KIND_").to_lowercase();
        seen_tree.insert((span.name.clone(), parent.to_owned(), kind));
        for attribute in &span.attributes {
            let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
            seen_attributes.insert((span.name.clone(), attribute.key.clone(), type_of(value).to_owned()));
        }
    }
    assert_eq!(tree, seen_tree, "docs/traces.md, and what a collector gets");
    assert_eq!(attributes, seen_attributes, "docs/traces.md, and what a collector gets");
}

#[tokio::test]
async fn a_request_that_fails_is_traced_though_nobody_has_sampled_it() {
    let (provider, collector) = (Provider::absent(), Collector::start(false).await);
    let agent = agent(&provider, &collector, &[("OTEL_TRACES_SAMPLER_ARG", "0")]).await;
    assert_eq!(ask(&agent, 1, false, "acme", "q").await.unwrap(), 502);
    let spans = trace(&collector, 1).await;
    assert_eq!(
        names(&spans),
        BTreeSet::from(["process_request", "check_compliance", "check_cache", "rag_query", "call_llm"])
    );
    assert_eq!(reason(&spans), Some(Any::StringValue("error".to_owned())));
    assert!(spans.iter().all(|span| span.flags & 1 == 1), "a collector must not take it for not sampled");
    let text = agent.app.http.get(format!("{}/metrics", agent.app.admin));
    let text =
        text.header("accept", "application/openmetrics-text").send().await.unwrap().text().await.unwrap();
    assert!(text.contains(&format!("# {{trace_id=\"{:032x}\"}}", 1)), "its bucket points to it");
}

#[tokio::test]
async fn of_requests_that_are_not_sampled_only_the_slow_ones_are_traced() {
    let provider = Provider::start(Behaviour::Slow(std::time::Duration::from_millis(1500))).await;
    let collector = Collector::start(false).await;
    let settings = [("OTEL_TRACES_SAMPLER_ARG", "0"), ("AGENT_SLOW_REQUEST", "1500ms")];
    let agent = agent(&provider, &collector, &settings).await;
    assert_eq!(ask(&agent, 1, false, "globex", "q").await.unwrap(), 200);
    // From the cache, and the caller's fault: neither slow nor failed.
    assert_eq!(ask(&agent, 2, false, "globex", "q").await.unwrap(), 200);
    assert_eq!(ask(&agent, 3, false, "nobody", "q").await.unwrap(), 403);
    assert_eq!(ask(&agent, 4, true, "globex", "q").await.unwrap(), 200);
    let slow = trace(&collector, 1).await;
    assert_eq!(
        names(&slow),
        BTreeSet::from(["process_request", "check_compliance", "check_cache", "rag_query", "call_llm"])
    );
    assert_eq!(reason(&slow), Some(Any::StringValue("slow".to_owned())));
    // The queue keeps the order: what was to come before the last has come.
    let last = trace(&collector, 4).await;
    assert_eq!(names(&last), BTreeSet::from(["process_request", "check_compliance", "check_cache"]));
    assert_eq!(reason(&last), None);
    assert_eq!(collector.spans().len(), slow.len() + last.len());
    let completed = eventually("its last line", async || {
        let id = format!("{:032x}", 1);
        let mut lines = agent.lines().into_iter();
        lines.find(|line| line["trace_id"] == id.as_str() && line["msg"] == "request completed")
    })
    .await;
    assert_eq!((&completed["level"], &completed["status"]), (&40.into(), &"success".into()));
    assert_eq!(agent.app.metric("agent_spans_dropped_total").await.as_deref(), Some("0"));
}
