//! `/faults`: each fault does what it says, is seen in the metrics, and cannot be reached from the API.
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::helpers::{Agent, Behaviour, Provider, TestApp, eventually, parts, spawn_app};

async fn change(app: &TestApp, method: Method, body: &Value) -> (StatusCode, Value) {
    let request = app.http.request(method, format!("{}/faults", app.admin)).header("x-user-id", "operator");
    let (status, _, body) = parts(request.body(body.to_string()).send().await.unwrap()).await;
    (status, body)
}

async fn put(app: &TestApp, faults: Value) -> Value {
    let (status, body) = change(app, Method::PUT, &faults).await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn active(app: &TestApp, fault: &str) -> String {
    app.metric(&format!("agent_fault_active{{fault=\"{fault}\"}}")).await.unwrap()
}

#[tokio::test]
async fn errors_hangs_and_slowness_come_and_go() {
    let provider = Provider::start(Behaviour::Stream).await;
    // Long enough for an answer that is only a little slow on a busy machine.
    let app = spawn_app(&provider, &["--llm-timeout=3s"]).await;
    assert_eq!(active(&app, "error_ratio").await, "0");
    let faults = put(&app, json!({ "error_ratio": 1, "expires_in_seconds": 600 })).await;
    assert_eq!((&faults["error_ratio"], &faults["cost_factor"]), (&json!(1.0), &json!(1.0)));
    assert_eq!(active(&app, "error_ratio").await, "1");
    let (status, _, body) = app.ask_as("acme", "q").await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (502, &json!("upstream_error")));

    for hang in [json!({ "hang_ratio": 1 }), json!({ "extra_latency_seconds": 3 })] {
        put(&app, hang).await;
        assert_eq!(active(&app, "error_ratio").await, "0", "a PUT replaces what was");
        let (status, _, body) = app.ask_as("acme", "q").await;
        assert_eq!((status.as_u16(), &body["error"]["type"]), (504, &json!("upstream_timeout")));
    }
    assert!(provider.calls().is_empty(), "these faults are the agent's own");

    put(&app, json!({ "extra_latency_seconds": 0.15 })).await;
    assert_eq!(app.ask_as("globex", "q").await.0, 200);
    let fast = "agent_request_duration_seconds_bucket{method=\"POST\",endpoint=\"/v1/query\",status=\"success\",tenant_id=\"globex\",le=\"0.1\"}";
    assert_eq!(app.metric(fast).await.as_deref(), Some("0"));

    let (status, faults) = change(&app, Method::DELETE, &Value::Null).await;
    assert_eq!((status.as_u16(), &faults["extra_latency_seconds"]), (200, &json!(0.0)));
    assert_eq!(active(&app, "extra_latency_seconds").await, "0");
    assert_eq!(app.ask_as("acme", "another").await.0, 200);
}

#[tokio::test]
async fn the_cache_the_cost_and_the_answer_can_be_spoiled() {
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &[]).await;
    let normal = app.ask_as("acme", "q").await.2;
    assert_eq!(app.ask_as("acme", "q").await.2["cached"], true);
    put(&app, json!({ "cache_off": true, "cost_factor": 1000, "append_to_answer": "Guaranteed." })).await;
    for _ in 0..2 {
        let (status, _, body) = app.ask_as("acme", "q").await;
        assert_eq!((status.as_u16(), &body["cached"]), (200, &json!(false)));
        assert_eq!(body["answer"], format!("{} Guaranteed.", normal["answer"].as_str().unwrap()));
        assert!(
            (body["cost_usd"].as_f64().unwrap() / normal["cost_usd"].as_f64().unwrap() - 1000.0).abs() < 1e-6
        );
    }
    put(&app, json!({ "append_to_answer": "Guaranteed." })).await;
    assert_eq!(app.ask_as("acme", "new").await.2["cached"], false);
    put(&app, json!({})).await;
    let answer = app.ask_as("acme", "new").await.2;
    assert_eq!((&answer["cached"], &answer["answer"]), (&json!(false), &normal["answer"]));
    let after = app.ask_as("acme", "q").await.2;
    assert_eq!(
        (&after["cached"], &after["answer"]),
        (&json!(true), &normal["answer"]),
        "nothing spoiled is kept"
    );
}

#[tokio::test]
async fn a_bad_value_is_named_and_changes_nothing() {
    let app = spawn_app(&Provider::absent(), &[]).await;
    let before = put(&app, json!({ "cache_off": true })).await;
    for (bad, field) in [
        (json!({ "error_ratio": 2 }), "error_ratio"),
        (json!({ "cache_off": false, "cost_factor": "x" }), "cost_factor"),
        (json!({ "no_such": 1 }), "body"),
        (json!("no object"), "body"),
    ] {
        let (status, body) = change(&app, Method::PUT, &bad).await;
        assert_eq!((status.as_u16(), &body["error"]["field"]), (400, &json!(field)), "{body}");
    }
    let long = json!({ "append_to_answer": "x".repeat(1 << 17) });
    assert_eq!(change(&app, Method::PUT, &long).await.0, 413);
    assert_eq!(change(&app, Method::GET, &Value::Null).await, (StatusCode::OK, before));
}

#[tokio::test]
async fn callers_of_the_api_cannot_reach_them() {
    let app = spawn_app(&Provider::absent(), &[]).await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::POST, Method::OPTIONS] {
        for path in ["/faults", "/faults/", "//faults", "/metrics", "/tenants"] {
            let request = app.http.request(method.clone(), format!("{}{path}", app.api));
            let (status, headers, body) = parts(request.body("{}").send().await.unwrap()).await;
            assert_eq!(
                (status.as_u16(), &body["error"]["type"]),
                (404, &json!("not_found")),
                "{method} {path}"
            );
            assert!(!headers.contains_key("access-control-allow-origin"));
        }
    }
}

#[tokio::test]
async fn changes_and_their_end_are_in_the_logs() {
    let directory = tempfile::tempdir().unwrap();
    let provider = Provider::absent();
    let agent = Agent::start(&provider, &[("AGENT_LOG_DIR", directory.path().to_str().unwrap())]).await;
    put(&agent.app, json!({ "cache_off": true, "expires_in_seconds": 1 })).await;
    let find = async |message: &str| {
        eventually(message, async || agent.lines().into_iter().find(|line| line["msg"] == message)).await
    };
    let changed = find("faults changed").await;
    assert_eq!((&changed["actor"], &changed["level"]), (&json!("operator"), &json!(40)));
    let faults: Value = serde_json::from_str(changed["faults"].as_str().unwrap()).unwrap();
    assert_eq!(faults["cache_off"], true);
    find("faults expired").await;
    assert_eq!(active(&agent.app, "cache_off").await, "0");
    let audited = "agent_audit_events_total{action=\"change_faults\"}";
    assert_eq!(agent.app.metric(audited).await.as_deref(), Some("1"));
}
