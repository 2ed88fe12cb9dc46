//! A provider that is down, hangs, refuses or talks nonsense: each with its own status and error type.
use std::time::Instant;

use crate::helpers::{Behaviour, Provider, spawn_app};

async fn fails(provider: Provider, status: u16, kind: &str) -> axum::http::HeaderMap {
    let app = spawn_app(&provider, &["--llm-timeout=500ms"]).await;
    let started = Instant::now();
    let (got, headers, body) = app.ask_as("acme", "q").await;
    assert_eq!(got, status, "{kind}: {body}");
    assert_eq!(body["error"]["type"], kind, "{body}");
    assert_eq!(body["error"]["field"], serde_json::Value::Null);
    assert!(!body.to_string().contains("127.0.0.1"), "the caller sees no insides: {body}");
    assert!(started.elapsed().as_secs() < 10);
    let errors = format!("agent_errors_total{{error_type=\"{kind}\",tenant_id=\"acme\"}}");
    assert_eq!(app.metric(&errors).await.as_deref(), Some("1"), "{kind}");
    let requests =
        "agent_requests_total{method=\"POST\",endpoint=\"/v1/query\",status=\"error\",tenant_id=\"acme\"}";
    assert_eq!(app.metric(requests).await.as_deref(), Some("1"), "{kind}");
    headers
}

#[tokio::test]
async fn down_and_hanging() {
    fails(Provider::absent().await, 502, "upstream_unavailable").await;
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
        (
            "text/event-stream",
            "data: {\"choices\":[{\"delta\":{\"content\":\"no usage\"}}]}\n\ndata: [DONE]\n\n",
        ),
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
