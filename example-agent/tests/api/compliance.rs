//! What must not be said: refused, withheld or flagged, and in every case counted, audited and traced without its text.
use serde_json::json;

use crate::helpers::{Agent, Behaviour, Provider, eventually, log_files, spawn_app};

const TIP: &str = r#"{"model":"m","choices":[{"message":{"content":"Here is an Insider\n TIP: buy."}}],
    "usage":{"prompt_tokens":960000,"completion_tokens":10000}}"#;

fn violations(rule: &str, tenant: &str) -> String {
    format!("agent_compliance_violations_total{{rule=\"{rule}\",tenant_id=\"{tenant}\"}}")
}

fn requests(status: &str) -> String {
    format!(
        "agent_requests_total{{method=\"POST\",endpoint=\"/v1/query\",status=\"{status}\",tenant_id=\"acme\"}}"
    )
}

#[tokio::test]
async fn a_question_that_breaks_a_rule_is_not_asked() {
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &[]).await;
    assert_eq!(app.metric(&violations("insider_trading", "acme")).await.as_deref(), Some("0"));
    let (status, _, body) = app.ask_as("acme", "Any INSIDER tips?").await;
    assert_eq!(status, 422, "{body}");
    assert_eq!(body["error"]["type"], "compliance_violation");
    assert_eq!(body["error"]["field"], "query");
    assert!(body["error"]["message"].as_str().unwrap().contains("insider_trading"), "{body}");
    assert!(provider.calls().is_empty());
    assert_eq!(app.metric(&violations("insider_trading", "acme")).await.as_deref(), Some("1"));
    assert_eq!(app.metric(&requests("rejected")).await.as_deref(), Some("1"));

    let (status, ..) = app.ask_as("acme", "Is there a guaranteed profit?").await;
    assert_eq!(status, 200, "flagged only");
    assert_eq!(app.metric(&violations("promised_returns", "acme")).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn an_answer_that_breaks_a_rule_is_withheld_but_paid_for_and_not_kept() {
    let provider = Provider::start(Behaviour::Body("application/json", TIP)).await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(&provider, &[("AGENT_LOG_DIR", directory.path().to_str().unwrap())]).await;
    for _ in 0..2 {
        let (status, _, body) = agent.app.ask_as("acme", "What shall I buy?").await;
        assert_eq!(status, 422, "{body}");
        assert_eq!(
            (&body["error"]["type"], &body["error"]["field"]),
            (&json!("compliance_violation"), &json!(null))
        );
        assert!(!body.to_string().contains("buy"), "{body}");
    }
    assert_eq!(provider.calls().len(), 2, "it is not in the cache");
    let cost = "agent_api_cost_usd_total{model=\"sim-small\",tenant_id=\"acme\"}";
    assert_eq!(agent.app.metric(cost).await.as_deref(), Some("0.3"));
    assert_eq!(agent.app.metric(&violations("insider_trading", "acme")).await.as_deref(), Some("2"));
    assert_eq!(agent.app.metric(&requests("rejected")).await.as_deref(), Some("2"));
    let completed = eventually("it is logged", async || {
        agent.lines().into_iter().find(|line| line["msg"] == "request completed")
    })
    .await;
    assert_eq!(
        (&completed["error_type"], &completed["cost_usd"]),
        (&json!("compliance_violation"), &json!(0.15))
    );
    let audited = eventually("it is audited", async || {
        let mut lines = log_files(directory.path(), "audit.").into_iter();
        lines.find(|line| line["action"] == "query")
    })
    .await;
    assert_eq!(
        (&audited["outcome"], &audited["rule"]),
        (&json!("denied"), &json!("compliance:insider_trading"))
    );
    assert!(!agent.lines().iter().any(|line| line.to_string().contains("TIP")), "no text of it in the log");
}

#[tokio::test]
async fn the_rules_are_those_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[rule]]\nid = \"fruit\"\naction = \"block\"\nphrases = [\"banana\"]\n")
        .unwrap();
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &["--compliance-file", file.path().to_str().unwrap()]).await;
    assert_eq!(app.ask_as("acme", "a Banana?").await.0, 422);
    assert_eq!(app.ask_as("acme", "bananas, and an insider tip").await.0, 200);
    let metrics = app.metrics().await;
    assert!(!metrics.contains("insider_trading"));
}
