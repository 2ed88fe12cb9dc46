//! Logs and traces of the real binary, and what it does when nobody takes them.
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value as Any,
    trace::v1::{Span, status::StatusCode},
};

use crate::helpers::{Agent, Behaviour, Collector, Provider, eventually, hex, log_files};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn attribute(span: &Span, key: &str) -> Option<Any> {
    span.attributes.iter().find(|a| a.key == key)?.value.clone()?.value
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"))
}

async fn ask(agent: &Agent, query: &str) -> reqwest::Response {
    let body = serde_json::json!({ "tenant_id": "acme", "query": query });
    let request = agent.app.http.post(format!("{}/v1/query", agent.app.api)).json(&body);
    request.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await.unwrap()
}

#[tokio::test]
async fn a_request_is_one_trace_from_caller_to_provider_and_on_every_log_line() {
    let (provider, collector) = (Provider::start(Behaviour::Stream).await, Collector::start(false).await);
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("AGENT_LOG_DIR", directory.path().to_str().unwrap()),
    ];
    let agent = Agent::start(&provider, &settings).await;
    let query = format!("\"quo\\te\"\n\t{{}} [PROCESS_REQUEST - EVENT] {}", "é🦀".repeat(80));
    let response = ask(&agent, &query).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-trace-id"], TRACE);
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();

    let spans =
        eventually("six spans", async || Some(collector.spans()).filter(|spans| spans.len() >= 6)).await;
    let (request, cache, llm) =
        (named(&spans, "process_request"), named(&spans, "check_cache"), named(&spans, "call_llm"));
    assert_eq!(spans.len(), 6, "the question is checked, and the answer, and the documents searched");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!((&cache.parent_span_id, &llm.parent_span_id), (&request.span_id, &request.span_id));
    let traceparent = provider.calls()[0].0["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(traceparent, format!("00-{TRACE}-{}-01", hex(&llm.span_id)));
    let text = |value: &str| Some(Any::StringValue(value.to_owned()));
    for (span, key, value) in [
        (request, "tenant.id", text("acme")),
        (request, "query.length", Some(Any::IntValue(query.chars().count().try_into().unwrap()))),
        (request, "http.request.method", text("POST")),
        (request, "http.route", text("/v1/query")),
        (request, "http.response.status_code", Some(Any::IntValue(200))),
        (request, "request.id", text(&request_id)),
        (request, "trace_id", None),
        (cache, "cache.hit", Some(Any::BoolValue(false))),
        (cache, "cache.type", text("response")),
        (llm, "llm.model", text("sim-small")),
        (llm, "gen_ai.operation.name", text("chat")),
        (llm, "gen_ai.response.model", text("sim-small-1")),
        (llm, "gen_ai.usage.input_tokens", Some(Any::IntValue(11))),
        (llm, "gen_ai.usage.output_tokens", Some(Any::IntValue(7))),
        (llm, "server.address", text("127.0.0.1")),
    ] {
        assert_eq!(attribute(span, key), value, "{} {key}", span.name);
    }

    let span_id = hex(&request.span_id);
    let lines = eventually("the lines are in the file", async || {
        let mut lines = log_files(directory.path(), "agent.");
        lines.retain(|line| line["request_id"] == request_id.as_str() && line["level"] != 20);
        (lines.len() == 3).then_some(lines)
    })
    .await;
    let names: Vec<_> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
    assert_eq!(names, ["request started", "llm call completed", "request completed"]);
    for line in &lines {
        for (field, value) in [
            ("tenant_id", "acme"),
            ("tenant_tier", "vip"),
            ("trace_id", TRACE),
            ("span_id", &span_id),
            ("endpoint", "/v1/query"),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
    }
    let preview: String = query.chars().take(100).collect();
    assert_eq!(lines[0]["query_preview"], preview.as_str());
    assert_eq!(lines[1]["cost_usd"], 5.85e-6);
    assert_eq!((&lines[2]["status"], &lines[2]["cached"]), (&"success".into(), &false.into()));
    assert!(lines[2]["duration_seconds"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_failed_request_says_why_in_span_and_log() {
    let (provider, collector) = (Provider::absent(), Collector::start(false).await);
    let agent =
        Agent::start(&provider, &[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())]).await;
    assert_eq!(ask(&agent, "q").await.status(), 502);
    // The last to end; those below it may have come with a batch before.
    let ended = |spans: &Vec<Span>| spans.iter().any(|span| span.name == "process_request");
    let spans = eventually("the request's span", async || Some(collector.spans()).filter(ended)).await;
    for name in ["process_request", "call_llm"] {
        let span = named(&spans, name);
        assert_eq!(span.status.as_ref().unwrap().code, i32::from(StatusCode::Error), "{name}");
        assert_eq!(attribute(span, "error.type"), Some(Any::StringValue("upstream_unavailable".to_owned())));
        assert_eq!(span.events[0].name, "exception");
    }
    let failed = eventually("the log line", async || {
        agent.lines().into_iter().find(|line| line["msg"] == "request failed")
    })
    .await;
    assert_eq!((&failed["level"], &failed["error_type"]), (&50.into(), &"upstream_unavailable".into()));
    assert!(failed["error_stack"].as_str().unwrap().contains("caused by: "), "{failed}");
    assert_eq!((&failed["context"], &failed["trace_id"]), (&"POST /v1/query".into(), &TRACE.into()));
}

#[tokio::test]
async fn collectors_that_are_down_or_hang_cost_spans_but_no_request() {
    let provider = Provider::start(Behaviour::Stream).await;
    let (hanging, down) = (Collector::start(true).await, Provider::absent());
    for endpoint in [hanging.endpoint.clone(), down.base_url()] {
        let agent = Agent::start(&provider, &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
        for _ in 0..20 {
            assert_eq!(ask(&agent, "q").await.status(), 200);
        }
        eventually("the losses are counted", async || {
            let dropped = agent.app.metric("agent_spans_dropped_total").await?;
            dropped.parse::<u64>().is_ok_and(|spans| spans > 0).then_some(())
        })
        .await;
        assert_eq!(ask(&agent, "q").await.status(), 200);
        let warnings = agent
            .lines()
            .iter()
            .filter(|l| l["target"].as_str().unwrap().starts_with("opentelemetry"))
            .count();
        assert!(warnings <= 1, "{warnings}");
    }
    assert!(hanging.posts() > 0);
}

#[tokio::test]
async fn a_log_directory_that_cannot_be_costs_lines_and_is_used_once_it_can() {
    let provider = Provider::start(Behaviour::Stream).await;
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let directory = file.join("logs");
    let agent = Agent::start(&provider, &[("AGENT_LOG_DIR", directory.to_str().unwrap())]).await;
    assert_eq!(ask(&agent, "q").await.status(), 200);
    let said = eventually("it says so", async || {
        // The audit log has the same target, and an ERROR of its own.
        let log = |line: &serde_json::Value| {
            line["msg"].as_str().unwrap().starts_with("log target cannot be written")
        };
        let mut lines = agent.lines().into_iter().filter(log);
        lines.find(|line| line["log_target"] == directory.to_str().unwrap())
    })
    .await;
    assert_eq!(said["level"], 40);
    let dropped = agent.app.metric("agent_log_lines_dropped_total").await.unwrap();
    assert_ne!(dropped, "0");

    std::fs::remove_file(&file).unwrap();
    eventually("the file is written", async || {
        assert_eq!(ask(&agent, "q").await.status(), 200);
        (!log_files(&directory, "agent.").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn log_files_make_room_for_each_other_which_is_told_and_counted_and_audit_files_stay() {
    let provider = Provider::start(Behaviour::Stream).await;
    let directory = tempfile::tempdir().unwrap();
    let of_before = ["agent.2025-11-24-08.ndjson", "agent.2025-11-24-09.ndjson", "audit.2025-11-24.ndjson"];
    let [oldest, newer, audit] = of_before.map(|name| directory.path().join(name));
    let line = "{\"level\":30,\"msg\":\"of before\"}\n";
    std::fs::write(&oldest, line.repeat(3000)).unwrap();
    std::fs::write(&newer, line.repeat((1 << 20) / line.len())).unwrap();
    std::fs::write(&audit, line.repeat(3000)).unwrap();
    let settings =
        [("AGENT_LOG_DIR", directory.path().to_str().unwrap()), ("AGENT_LOG_MAX_BYTES", "1048576")];
    let agent = Agent::start(&provider, &settings).await;
    let said = eventually("it says so", async || {
        let removed = |line: &serde_json::Value| {
            line["msg"].as_str().unwrap().starts_with("the oldest log file is removed")
        };
        let files: Vec<_> = agent.lines().into_iter().filter(removed).collect();
        (files.len() == 2).then_some(files)
    })
    .await;
    assert_eq!((&said[0]["level"], said[0]["log_target"].as_str()), (&40.into(), oldest.to_str()));
    assert_eq!(said[1]["log_target"].as_str(), newer.to_str());
    assert!(!oldest.exists() && !newer.exists() && audit.exists());
    let counted = async |reason| {
        agent.app.metric(&format!("agent_log_files_removed_total{{reason=\"{reason}\"}}")).await.unwrap()
    };
    assert_eq!((counted("size").await, counted("age").await), ("2".to_owned(), "0".to_owned()));
    assert_eq!(agent.app.metric("agent_log_lines_dropped_total").await.unwrap(), "0");
}
