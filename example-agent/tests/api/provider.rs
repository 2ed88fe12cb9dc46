//! A provider that is down, hangs, refuses or talks nonsense: each with its own status and error type.
use std::sync::{Arc, Mutex};

use crate::helpers::{Agent, Behaviour, Provider, eventually, spawn_app};

async fn fails(provider: Provider, status: u16, kind: &str) -> axum::http::HeaderMap {
    // Only who is waited for in vain is given up soon.
    let timeout = if kind == "upstream_timeout" { "--llm-timeout=500ms" } else { "--llm-timeout=1m" };
    let app = spawn_app(&provider, &[timeout]).await;
    let (got, headers, body) = app.ask_as("acme", "q").await;
    assert_eq!(got, status, "{kind}: {body}");
    assert_eq!(body["error"]["type"], kind, "{body}");
    assert_eq!(body["error"]["field"], serde_json::Value::Null);
    assert!(!body.to_string().contains("127.0.0.1"), "the caller sees no insides: {body}");
    let errors = format!("agent_errors_total{{error_type=\"{kind}\",tenant_id=\"acme\"}}");
    assert_eq!(app.metric(&errors).await.as_deref(), Some("1"), "{kind}");
    let requests =
        "agent_requests_total{method=\"POST\",endpoint=\"/v1/query\",status=\"error\",tenant_id=\"acme\"}";
    assert_eq!(app.metric(requests).await.as_deref(), Some("1"), "{kind}");
    headers
}

#[tokio::test]
async fn down_and_hanging() {
    fails(Provider::absent(), 502, "upstream_unavailable").await;
    fails(Provider::start(Behaviour::Hang).await, 504, "upstream_timeout").await;
}

#[tokio::test]
async fn refusing() {
    let headers = fails(Provider::start(Behaviour::Status(429)).await, 503, "upstream_rate_limited").await;
    assert_eq!(headers["retry-after"], "7");
    for status in [500, 503, 529, 401, 302] {
        fails(Provider::start(Behaviour::Status(status)).await, 502, "upstream_error").await;
    }
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    fails(Provider::start(Behaviour::Body("text/event-stream", error)).await, 502, "upstream_error").await;
}

#[tokio::test]
async fn broken_off_and_nonsense() {
    let kind = "upstream_invalid_response";
    fails(Provider::start(Behaviour::Cut).await, 502, kind).await;
    let huge: &'static str = "x".repeat(2 << 20).leak();
    for (content_type, body) in [
        ("text/html", "<h1>Welcome</h1>"),
        ("application/json", "[1,2]"),
        ("application/json", ""),
        ("text/event-stream", "data: banana\n\n"),
        ("text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"no end\"}}]}\n\n"),
        ("text/event-stream", "data: {\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1}}\n\n"),
        (
            "text/event-stream",
            "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":99999999999}}\n\n",
        ),
        ("text/event-stream", huge),
    ] {
        fails(Provider::start(Behaviour::Body(content_type, body)).await, 502, kind).await;
    }
}

#[tokio::test]
async fn a_wait_that_the_provider_asks_for_is_passed_on_whatever_the_status() {
    for status in [429, 503, 529] {
        let provider = Provider::start(Behaviour::Status(status)).await;
        let app = spawn_app(&provider, &[]).await;
        let (_, headers, body) = app.ask_as("acme", "q").await;
        assert_eq!(headers["retry-after"], "7", "{status}: {body}");
        assert_eq!(provider.calls().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn latency_made_on_purpose_counts_against_the_time_of_a_call() {
    let provider = Provider::start(Behaviour::Hang).await;
    let app = spawn_app(&provider, &["--llm-timeout=2s"]).await;
    let faults = app.http.put(format!("{}/faults", app.admin));
    let faults = faults.json(&serde_json::json!({ "extra_latency_seconds": 1.5 })).send().await.unwrap();
    assert_eq!(faults.status(), 200);
    let started = std::time::Instant::now();
    assert_eq!(app.ask_as("acme", "q").await.0, 504);
    let took = started.elapsed().as_secs_f64();
    assert!((2.0..3.4).contains(&took), "{took} s");
}

#[tokio::test]
async fn a_question_that_must_not_be_asked_stands_in_no_line() {
    let mut agent = Agent::start(&Provider::start(Behaviour::Stream).await, &[]).await;
    assert_eq!(agent.app.ask_as("globex", "Any insider tips?").await.0, 422);
    assert_eq!(agent.app.ask_as("globex", "Anything else?").await.0, 200);
    agent.signal("TERM");
    agent.exit_code().await;
    let lines = agent.last_lines();
    assert!(!lines.iter().any(|line| line.to_string().contains("insider tip")), "{lines:?}");
    let started: Vec<_> = lines.iter().filter(|line| line["msg"] == "request started").collect();
    let previews: Vec<_> = started.iter().map(|line| line["query_preview"].as_str()).collect();
    assert_eq!(previews, [None, Some("Anything else?")]);
    assert_eq!(started[0]["query_length"], 17);
}

#[tokio::test]
async fn an_azure_base_url_keeps_its_version_and_has_the_key_in_its_header() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "secret").unwrap();
    let provider = Provider::start(Behaviour::Stream).await;
    let base = format!("{}?api-version=2024-10-21", provider.base_url());
    let settings = [("AGENT_LLM_BASE_URL", &*base), ("AGENT_LLM_API_KEY_FILE", key.path().to_str().unwrap())];
    let agent = Agent::start(&provider, &settings).await;
    assert_eq!(agent.app.ask_as("acme", "q").await.0, 200);
    let (headers, _) = &provider.calls()[0];
    assert_eq!((&headers["api-key"], headers.get("authorization")), (&"secret".parse().unwrap(), None));
}

#[tokio::test]
async fn a_hiccup_is_tried_again_and_an_outage_within_the_budget() {
    let retries = "agent_llm_retries_total{reason=\"server_error\"}";
    let recovering = Provider::start(Behaviour::Recovers(2)).await;
    let app = spawn_app(&recovering, &[]).await;
    let (status, _, body) = app.ask_as("acme", "q").await;
    assert_eq!((status.as_u16(), recovering.calls().len()), (200, 3), "{body}");
    assert_eq!(app.metric(retries).await.as_deref(), Some("2"));
    let errors = "agent_errors_total{error_type=\"upstream_error\",tenant_id=\"acme\"}";
    assert_eq!(app.metric(errors).await.as_deref(), Some("0"), "the caller saw none");

    // Without a wait that it asks for.
    let down = Behaviour::Says(Arc::new(Mutex::new((500, "text/plain", b"no".to_vec()))));
    let down = Provider::start(down).await;
    let app = spawn_app(&down, &["--llm-max-attempts=2"]).await;
    for number in 0..100 {
        assert_eq!(app.ask_as("acme", &format!("q{number}")).await.0, 502);
    }
    // Ten saved up, and one for each ten calls.
    let made: usize = app.metric(retries).await.unwrap().parse().unwrap();
    assert!((10..=20).contains(&made), "{made}");
    assert_eq!(down.calls().len(), 100 + made);

    let wrong = Provider::start(Behaviour::Status(401)).await;
    let app = spawn_app(&wrong, &[]).await;
    assert_eq!(app.ask_as("acme", "q").await.0, 502);
    assert_eq!(wrong.calls().len(), 1);
}

#[tokio::test]
async fn more_questions_than_may_be_in_flight_are_refused_at_once_and_the_next_is_taken() {
    let provider = Provider::start(Behaviour::Hang).await;
    let app = spawn_app(&provider, &["--max-requests-in-flight=1"]).await;
    let in_flight = async |number: &str| {
        eventually("so many are in flight", async || {
            (app.metric("agent_requests_in_flight").await? == number).then_some(())
        })
        .await;
    };
    let body = serde_json::json!({ "tenant_id": "acme", "query": "hangs" });
    let first = app.http.post(format!("{}/v1/query", app.api)).json(&body);
    let first = tokio::spawn(first.send());
    in_flight("1").await;
    let (status, headers, body) = app.ask_as("globex", "q").await;
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(body["error"]["type"], "overloaded");
    let errors = "agent_errors_total{error_type=\"overloaded\",tenant_id=\"globex\"}";
    assert_eq!(app.metric(errors).await.as_deref(), Some("1"));
    // Its caller leaves.
    first.abort();
    in_flight("0").await;
    let (status, ..) = app.ask_as("acme", "Any insider tips?").await;
    assert_eq!(status, 422, "taken on, and refused for what it says");
}
