//! Questions that are answered.
use serde_json::json;

use crate::helpers::{Behaviour, Provider, spawn_app};

#[tokio::test]
async fn a_question_is_answered_once_by_the_model_and_then_by_the_cache() {
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &[]).await;
    assert_eq!(app.metric("agent_cache_hit_rate{cache_type=\"response\"}").await, None);

    let (status, headers, first) = app.ask_as("acme", "What  is it?").await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(headers["x-request-id"], first["request_id"].as_str().unwrap());
    let id = &first["request_id"];
    let expected = json!({ "request_id": id, "answer": "Grüße 🦀", "model": "sim-small", "tokens": 18,
        "cost_usd": 5.85e-6, "cached": false, "finish_reason": "stop" });
    assert_eq!(first, expected);
    let (_, _, second) = app.ask_as("acme", " What is it? ").await;
    assert_ne!(&second["request_id"], id);
    assert_eq!((&second["answer"], &second["cached"]), (&first["answer"], &json!(true)));
    assert_eq!((&second["tokens"], &second["cost_usd"]), (&json!(0), &json!(0.0)));
    let (_, _, other) = app.ask_as("globex", "What is it?").await;
    assert_eq!(other["cached"], false);

    let calls = provider.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].1["messages"][0]["content"], "What  is it?");
    assert_eq!(calls[0].1["stream_options"]["include_usage"], true);
    for (series, value) in [
        (
            "agent_requests_total{method=\"POST\",endpoint=\"/v1/query\",status=\"success\",tenant_id=\"acme\"}",
            "2",
        ),
        (
            "agent_request_duration_seconds_count{method=\"POST\",endpoint=\"/v1/query\",status=\"success\",tenant_id=\"acme\"}",
            "2",
        ),
        ("agent_cache_requests_total{cache_type=\"response\",result=\"hit\",tenant_id=\"acme\"}", "1"),
        ("agent_cache_requests_total{cache_type=\"response\",result=\"miss\",tenant_id=\"acme\"}", "1"),
        ("agent_api_cost_usd_total{model=\"sim-small\",tenant_id=\"acme\"}", "0.00000585"),
        ("agent_llm_tokens_total{model=\"sim-small\",tenant_id=\"acme\",direction=\"input\"}", "11"),
        ("agent_llm_tokens_total{model=\"sim-small\",tenant_id=\"acme\",direction=\"output\"}", "7"),
        // There from the start, so that its first increase is seen.
        ("agent_errors_total{error_type=\"internal\",tenant_id=\"hooli\"}", "0"),
        ("agent_api_cost_usd_total{model=\"sim-small\",tenant_id=\"hooli\"}", "0"),
    ] {
        assert_eq!(app.metric(series).await.as_deref(), Some(value), "{series}");
    }
    let rate = app.metric("agent_cache_hit_rate{cache_type=\"response\"}").await.unwrap();
    assert!(rate.starts_with("33.33"), "{rate}");
    assert_ne!(app.metric("agent_active_connections").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_provider_that_does_not_stream_will_do() {
    let plain = r#"{"model":"m","choices":[{"message":{"content":"plain"}}],
        "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let provider = Provider::start(Behaviour::Body("application/json", plain)).await;
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "sk-123\n").unwrap();
    let app = spawn_app(&provider, &["--llm-api-key-file", key.path().to_str().unwrap()]).await;
    let (status, _, body) = app.ask_as("acme", "q").await;
    assert_eq!((status.as_u16(), &body["answer"], &body["tokens"]), (200, &json!("plain"), &json!(3)));
    assert_eq!(provider.calls()[0].0["authorization"], "Bearer sk-123");
}

#[tokio::test]
async fn both_sides_have_probes_and_only_the_admin_side_has_metrics() {
    let provider = Provider::absent();
    let app = spawn_app(&provider, &[]).await;
    let get = async |url: String| app.http.get(url).send().await.unwrap().status().as_u16();
    for side in [&app.api, &app.admin] {
        assert_eq!(get(format!("{side}/healthz")).await, 200);
        assert_eq!(get(format!("{side}/readyz")).await, 200);
    }
    assert_eq!(get(format!("{}/metrics", app.api)).await, 404);
    let metrics = app.http.get(format!("{}/metrics", app.admin)).send().await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.text().await.unwrap();
    assert!(!text.contains("healthz"), "probes are not counted");
}

#[tokio::test]
async fn the_model_gets_the_passages_that_fit_unless_that_is_off() {
    let provider = Provider::start(Behaviour::Stream).await;
    let question = "What does the budget of retries do?";
    let app = spawn_app(&provider, &[]).await;
    assert_eq!(app.ask_as("acme", question).await.0, 200);
    let off = spawn_app(&provider, &["--rag-passages=0"]).await;
    assert_eq!(off.ask_as("acme", question).await.0, 200);
    let messages: Vec<_> = provider.calls().into_iter().map(|(_, body)| body["messages"].clone()).collect();
    assert_eq!(messages[0][0]["role"], "system");
    assert!(
        messages[0][0]["content"].as_str().unwrap().contains("AGENT_LLM_RETRY_BUDGET"),
        "{}",
        messages[0]
    );
    let asked = json!({ "role": "user", "content": question });
    assert_eq!(messages[0][1], asked);
    assert_eq!(messages[1], json!([asked]));
}

#[tokio::test]
async fn a_tenant_that_has_spent_its_hard_budget_is_answered_by_the_cache_only() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let tenants = "[[tenant]]\nid = \"soft\"\ntier = \"vip\"\nbudget_usd_per_day = 1e-6\n\
        [[tenant]]\nid = \"hard\"\ntier = \"free\"\nbudget_usd_per_day = 1e-6\nhard_budget = true\n";
    std::fs::write(file.path(), tenants).unwrap();
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &["--tenants-file", file.path().to_str().unwrap()]).await;
    for tenant in ["soft", "hard"] {
        assert_eq!(app.ask_as(tenant, "1").await.0, 200);
    }
    assert_eq!(app.ask_as("soft", "2").await.0, 200, "a soft budget only tells");
    let (status, headers, body) = app.ask_as("hard", "2").await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (429, &json!("budget_exceeded")), "{body}");
    assert!((1..=86_400).contains(&headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap()));
    assert_eq!(app.ask_as("hard", "1").await.2["cached"], true);
    for (series, value) in [
        ("agent_tenant_budget_usd{tenant_id=\"hard\"}", "0.000001"),
        ("agent_tenant_spent_today_usd{tenant_id=\"hard\"}", "0.00000585"),
        ("agent_tenant_spent_today_usd{tenant_id=\"soft\"}", "0.0000117"),
    ] {
        assert_eq!(app.metric(series).await.as_deref(), Some(value), "{series}");
    }
}
