//! Answers that are streamed: the same in all but their form, and whatever ends one early.
use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use clap::Parser as _;
use example_agent::{App, routes, settings::Cli, telemetry::Handles, telemetry::exposition::Format};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tower::ServiceExt as _;

use crate::helpers::{
    Agent, Behaviour, Collector, Events, Provider, TestApp, eventually, hex, log_files, script, spawn_app,
};

/// Longer than what is held back of an answer.
const BEGINNING: &str = "It is what a system shows of its inside, and more than one would think";

fn requests(status: &str) -> String {
    format!(
        "agent_requests_total{{method=\"POST\",endpoint=\"/v1/query\",status=\"{status}\",tenant_id=\"acme\"}}"
    )
}

async fn post(app: &TestApp, body: &Value, accept: &str) -> reqwest::Response {
    let request = app.http.post(format!("{}/v1/query", app.api)).json(body);
    request.header(header::ACCEPT, accept).send().await.unwrap()
}

#[tokio::test]
async fn who_asks_for_events_gets_the_same_answer_in_pieces_also_from_the_cache() {
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &[]).await;
    let (_, _, plain) = app.ask_as("globex", "q").await;
    let question = json!({ "tenant_id": "acme", "query": "q" });
    let mut streaming = question.clone();
    streaming["stream"] = true.into();
    for (body, accept, cached) in [
        (&streaming, "*/*", false),
        (&question, "text/event-stream", true),
        (&streaming, "application/json", true),
    ] {
        let events = Events::of(post(&app, body, accept).await);
        assert_eq!(events.response.headers()["cache-control"], "no-cache");
        let id = events.response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let (text, name, mut facts) = events.rest().await;
        assert_eq!((name.as_str(), &facts["request_id"]), ("done", &json!(id)));
        assert_eq!(facts["cached"], cached, "{facts}");
        facts["answer"] = text.into();
        let mut expected = plain.clone();
        expected["request_id"] = id.into();
        if cached {
            (expected["tokens"], expected["cost_usd"], expected["cached"]) =
                (0.into(), 0.0.into(), true.into());
        }
        assert_eq!(facts, expected);
    }
    streaming["stream"] = false.into();
    assert_eq!(
        post(&app, &streaming, "text/event-stream").await.headers()["content-type"],
        "application/json"
    );
    streaming["stream"] = "yes".into();
    let refused = post(&app, &streaming, "*/*").await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["field"], "stream");
    assert_eq!(app.metric(&requests("success")).await.as_deref(), Some("4"));
}

/// What a request leaves behind, without what no two requests have in common.
async fn traces_of(
    agent: &Agent,
    directory: &std::path::Path,
    collector: &Collector,
    headers: &HeaderMap,
) -> Value {
    let id = headers["x-request-id"].to_str().unwrap();
    let mut lines = eventually("its last line", async || {
        let lines: Vec<_> = agent.lines().into_iter().filter(|line| line["request_id"] == id).collect();
        lines.iter().any(|line| line["msg"] == "request completed").then_some(lines)
    })
    .await;
    let audited = eventually("its audit line", async || {
        log_files(directory, "audit.").into_iter().find(|line| line["request_id"] == id)
    })
    .await;
    lines.push(audited);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        for field in ["time", "@timestamp", "request_id", "trace_id", "span_id", "seq", "line"] {
            line.remove(field);
        }
        line.retain(|field, _| !field.ends_with("_seconds"));
    }
    let trace = headers["x-trace-id"].to_str().unwrap();
    let spans = eventually("its spans", async || {
        let spans = collector.spans().into_iter().filter(|span| hex(&span.trace_id) == trace);
        let spans: Vec<_> = spans.collect();
        spans.iter().any(|span| span.name == "process_request").then_some(spans)
    })
    .await;
    let spans = spans.iter().map(|span| {
        let attributes = span.attributes.iter().filter(|a| a.key != "request.id");
        let attributes: BTreeSet<_> = attributes.map(|a| format!("{}={:?}", a.key, a.value)).collect();
        json!([span.name, span.kind, span.status.as_ref().map(|status| status.code), attributes])
    });
    json!({ "lines": lines, "spans": spans.collect::<Vec<_>>() })
}

#[tokio::test]
async fn its_lines_spans_and_audit_are_those_of_any_request() {
    let collector = Collector::start(false).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("AGENT_LOG_DIR", directory.path().to_str().unwrap()),
        ("AGENT_CACHE_TTL", "0s"),
    ];
    let agent = Agent::start(&Provider::start(Behaviour::Stream).await, &settings).await;
    let (_, plain, _) = agent.app.ask_as("acme", "q").await;
    let events = Events::ask(&agent.app, "acme", "q").await;
    let headers = events.response.headers().clone();
    assert_eq!(events.rest().await.1, "done");
    let (plain, streamed) = (
        traces_of(&agent, directory.path(), &collector, &plain).await,
        traces_of(&agent, directory.path(), &collector, &headers).await,
    );
    assert!(plain["lines"].as_array().unwrap().len() > 5, "{plain}");
    assert_eq!(plain, streamed);
}

#[tokio::test]
async fn text_comes_while_the_model_still_speaks_but_nothing_of_a_phrase_that_blocks() {
    let (writer, behaviour) = script();
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(
        &Provider::start(behaviour).await,
        &[("AGENT_LOG_DIR", directory.path().to_str().unwrap())],
    )
    .await;
    let app = &agent.app;
    writer.say(BEGINNING);
    let mut events = Events::ask(app, "acme", "What shall I buy?").await;
    let shown = events.text(30).await;
    assert!(BEGINNING.starts_with(&shown), "{shown}");
    writer.say(": an INS");
    writer.say("ider\u{ad} tip");
    writer.say(", and then much more of what nobody is to see.");
    writer.end();
    let (rest, name, error) = events.rest().await;
    let shown = shown + &rest;
    assert!(BEGINNING.starts_with(&shown), "{shown}");
    assert_eq!(
        (name.as_str(), &error["error"]["type"]),
        ("error", &json!("compliance_violation")),
        "{error}"
    );
    for (series, value) in [
        (requests("rejected").as_str(), "1"),
        ("agent_compliance_violations_total{rule=\"insider_trading\",tenant_id=\"acme\"}", "1"),
        ("agent_llm_tokens_total{model=\"sim-small\",tenant_id=\"acme\",direction=\"output\"}", "7"),
    ] {
        assert_eq!(app.metric(series).await.as_deref(), Some(value), "{series}");
    }
    let audited = eventually("it is audited", async || {
        log_files(directory.path(), "audit.").into_iter().find(|line| line["action"] == "query")
    })
    .await;
    assert_eq!(
        (&audited["outcome"], &audited["rule"]),
        (&json!("denied"), &json!("compliance:insider_trading"))
    );
}

#[tokio::test]
async fn what_breaks_off_ends_in_an_event_or_before_its_first_text_in_a_status() {
    let (writer, behaviour) = script();
    let app = spawn_app(&Provider::start(behaviour).await, &[]).await;
    writer.say(BEGINNING);
    let mut events = Events::ask(&app, "acme", "q").await;
    events.text(1).await;
    drop(writer);
    let (_, name, error) = events.rest().await;
    assert_eq!((name.as_str(), &error["error"]["type"]), ("error", &json!("upstream_invalid_response")));
    assert_eq!(app.metric(&requests("error")).await.as_deref(), Some("1"));
    let errors = "agent_errors_total{error_type=\"upstream_invalid_response\",tenant_id=\"acme\"}";
    assert_eq!(app.metric(errors).await.as_deref(), Some("1"));
    // A token for four characters.
    let tokens = "agent_llm_tokens_total{model=\"sim-small\",tenant_id=\"acme\",direction=\"output\"}";
    let expected = BEGINNING.len().div_ceil(4).to_string();
    assert_eq!(app.metric(tokens).await, Some(expected), "what was said is paid for");
    assert_eq!(
        app.metric("agent_llm_estimated_calls_total{model=\"sim-small\"}").await.as_deref(),
        Some("1")
    );

    let app = spawn_app(&Provider::start(Behaviour::Status(500)).await, &[]).await;
    let asked = json!({ "tenant_id": "acme", "query": "q", "stream": true });
    let (status, headers, body) = app.ask(asked.to_string()).await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (502, &json!("upstream_error")));
    assert_eq!(headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_model_that_falls_silent_runs_into_the_time_out() {
    let (writer, behaviour) = script();
    let app = spawn_app(&Provider::start(behaviour).await, &["--llm-timeout=3s"]).await;
    writer.say(BEGINNING);
    let (_, name, error) = Events::ask(&app, "acme", "q").await.rest().await;
    assert_eq!((name.as_str(), &error["error"]["type"]), ("error", &json!("upstream_timeout")));
    drop(writer);
}

#[tokio::test]
async fn a_caller_that_leaves_is_recorded_with_what_it_cost() {
    let (writer, behaviour) = script();
    let agent = Agent::start(&Provider::start(behaviour).await, &[]).await;
    writer.say(BEGINNING);
    let mut events = Events::ask(&agent.app, "acme", "q").await;
    events.text(1).await;
    drop(events);
    let completed = eventually("it is logged", async || {
        agent.lines().into_iter().find(|line| line["msg"] == "request completed")
    })
    .await;
    assert_eq!(
        (&completed["status"], &completed["error_type"]),
        (&json!("rejected"), &json!("client_closed"))
    );
    assert!(completed["duration_seconds"].as_f64() > Some(0.0), "{completed}");
    let unfinished = agent.lines().into_iter().find(|line| line["msg"] == "llm call unfinished").unwrap();
    assert_eq!(unfinished["usage_estimated"], true);
    assert_eq!(unfinished["request_id"], completed["request_id"]);
    let cost = completed["cost_usd"].as_f64().unwrap();
    assert!(cost > 0.0 && unfinished["cost_usd"] == cost, "{completed}");
    for (series, value) in [
        (requests("rejected").as_str(), "1"),
        ("agent_requests_in_flight", "0"),
        ("agent_tenant_spent_today_usd{tenant_id=\"acme\"}", cost.to_string().as_str()),
    ] {
        assert_eq!(agent.app.metric(series).await.as_deref(), Some(value), "{series}");
    }
}

#[tokio::test]
async fn nothing_is_made_that_the_caller_does_not_take() {
    let (writer, behaviour) = script();
    let provider = Provider::start(behaviour).await;
    let settings = Cli::parse_from(["example-agent", "--llm-base-url", &provider.base_url()]).settings;
    let app = std::sync::Arc::new(App::new(&settings, Handles::new(&settings)).unwrap());
    writer.say(BEGINNING);
    let question = json!({ "tenant_id": "acme", "query": "q", "stream": true }).to_string();
    let request = Request::post("/v1/query").header("content-type", "application/json");
    let response =
        routes::api(app.clone()).oneshot(request.body(Body::from(question)).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    for _ in 0..1000 {
        writer.say("and so on ");
    }
    writer.end();
    let counted = |series: &str| {
        let metrics = app.metrics.render(Format::Text);
        metrics.lines().find_map(|line| Some(line.strip_prefix(series)?.trim().to_owned())).unwrap()
    };
    let (in_flight, success) = ("agent_requests_in_flight ", requests("success"));
    assert_eq!((counted(in_flight).as_str(), counted(&success).as_str()), ("1", "0"));
    // No more than a piece is ever there: the next is made when this one has been taken.
    let mut body = response.into_body().into_data_stream();
    let mut longest = 0;
    while let Some(event) = body.next().await {
        longest = longest.max(event.unwrap().len());
    }
    assert!(longest < 70_000, "{longest}");
    assert_eq!((counted(in_flight).as_str(), counted(&success).as_str()), ("0", "1"));
}

#[tokio::test]
async fn a_caller_that_takes_nothing_is_left() {
    let long = json!({ "model": "m", "choices": [{ "message": { "content": "x".repeat(500_000) } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1 } });
    let provider = Provider::start(Behaviour::Body("application/json", long.to_string().leak())).await;
    let app = spawn_app(&provider, &["--write-timeout=1s"]).await;
    assert_eq!(app.ask_as("acme", "q").await.0, 200);
    // More than the sockets' buffers can hold.
    let body = json!({ "tenant_id": "acme", "query": "q", "stream": true }).to_string();
    let address = app.api.trim_start_matches("http://");
    let request = format!(
        "POST /v1/query HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(request.repeat(50).as_bytes()).await.unwrap();
    eventually("its connection is closed", async || {
        (app.metric(&requests("rejected")).await? == "1").then_some(())
    })
    .await;
    let answered: u32 = app.metric(&requests("success")).await.unwrap().parse().unwrap();
    assert!(answered < 50, "{answered}");
    assert_eq!(app.metric("agent_requests_in_flight").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn at_the_end_of_the_process_streams_are_finished_or_told() {
    for finished in [true, false] {
        let (writer, behaviour) = script();
        let provider = Provider::start(behaviour).await;
        let timeout = if finished { "1m" } else { "5s" };
        let mut agent = Agent::start(&provider, &[("AGENT_SHUTDOWN_TIMEOUT", timeout)]).await;
        writer.say(BEGINNING);
        let mut events = Events::ask(&agent.app, "acme", "q").await;
        events.text(1).await;
        agent.signal("TERM");
        eventually("it is ending", async || {
            agent.lines().into_iter().find(|line| line["msg"] == "shutting down")
        })
        .await;
        let writer = if finished {
            writer.end();
            None
        } else {
            Some(writer)
        };
        let (_, name, data) = tokio::time::timeout(Duration::from_secs(20), events.rest()).await.unwrap();
        if finished {
            assert_eq!(name, "done");
        } else {
            assert_eq!((name.as_str(), &data["error"]["type"]), ("error", &json!("shutting_down")));
        }
        assert_eq!(agent.exit_code().await, Some(0));
        let completed =
            agent.last_lines().into_iter().find(|line| line["msg"] == "request completed").unwrap();
        assert_eq!(completed["status"], if finished { "success" } else { "error" });
        drop(writer);
    }
}

#[tokio::test]
async fn usage_that_is_not_reported_is_estimated_and_said_to_be() {
    let silent = "data: {\"choices\":[{\"delta\":{\"content\":\"no usage\"}}]}\n\ndata: [DONE]\n\n";
    let agent = Agent::start(&Provider::start(Behaviour::Body("text/event-stream", silent)).await, &[]).await;
    let (status, _, body) = agent.app.ask_as("acme", "xyzzy").await;
    // Two tokens for the question, two for the answer.
    assert_eq!((status.as_u16(), &body["tokens"]), (200, &json!(4)), "{body}");
    let completed = eventually("it is logged", async || {
        agent.lines().into_iter().find(|line| line["msg"] == "llm call completed")
    })
    .await;
    assert_eq!(completed["usage_estimated"], true);
    let metrics = agent.app.metrics().await;
    assert!(metrics.contains("agent_llm_estimated_calls_total{model=\"sim-small\"} 1\n"));
    let mut counts = metrics.lines().filter(|line| line.starts_with("gen_ai_client_token_usage_count"));
    assert!(counts.all(|line| line.ends_with(" 0")), "what nobody has reported");
}
