//! A provider that is down, hangs, refuses or talks nonsense: each with its own status and error type.
use crate::helpers::{Behaviour, Provider, eventually, spawn_app};

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
    for status in [500, 503, 401, 302] {
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
async fn a_hiccup_is_tried_again_and_an_outage_within_the_budget() {
    let retries = "agent_llm_retries_total{reason=\"server_error\"}";
    let recovering = Provider::start(Behaviour::Recovers(2)).await;
    let app = spawn_app(&recovering, &[]).await;
    let (status, _, body) = app.ask_as("acme", "q").await;
    assert_eq!((status.as_u16(), recovering.calls().len()), (200, 3), "{body}");
    assert_eq!(app.metric(retries).await.as_deref(), Some("2"));
    let errors = "agent_errors_total{error_type=\"upstream_error\",tenant_id=\"acme\"}";
    assert_eq!(app.metric(errors).await.as_deref(), Some("0"), "the caller saw none");

    let down = Provider::start(Behaviour::Status(500)).await;
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
