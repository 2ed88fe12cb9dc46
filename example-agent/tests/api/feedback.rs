//! Ratings of answers.
use serde_json::json;

use crate::helpers::{Agent, Provider, eventually, log_files, parts, spawn_app};

#[tokio::test]
async fn a_rating_is_counted_and_audited() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("AGENT_LOG_DIR", directory.path().to_str().unwrap())];
    let agent = Agent::start(&Provider::absent(), &settings).await;
    let id = "01933b1e-7b5c-7000-8000-000000000001";
    for rating in ["up", "up", "down"] {
        let request = agent.app.http.post(format!("{}/v1/feedback", agent.app.api));
        let response = request.json(&json!({ "request_id": id, "rating": rating })).send().await.unwrap();
        assert_eq!(response.status(), 204);
    }
    assert_eq!(agent.app.metric("agent_feedback_total{rating=\"up\"}").await.as_deref(), Some("2"));
    assert_eq!(agent.app.metric("agent_feedback_total{rating=\"down\"}").await.as_deref(), Some("1"));
    let audited = eventually("it is audited", async || {
        let mut lines = log_files(directory.path(), "audit.").into_iter();
        lines.find(|line| line["action"] == "feedback")
    })
    .await;
    assert_eq!((&audited["outcome"], &audited["rule"]), (&json!("allowed"), &json!("open_to_all")));
    assert_eq!(audited["context"], json!({ "rated_request_id": id, "rating": "up" }));
    let line = eventually("it is logged", async || {
        agent.lines().into_iter().find(|line| line["msg"] == "feedback given")
    })
    .await;
    assert_eq!((&line["rated_request_id"], &line["rating"]), (&json!(id), &json!("up")));
}

#[tokio::test]
async fn what_is_no_rating_is_refused_by_name() {
    let app = spawn_app(&Provider::absent(), &[]).await;
    let id = "01933b1e-7b5c-7000-8000-000000000001";
    for (body, status, field) in [
        (String::new(), 400, "body"),
        ("[]".to_owned(), 400, "body"),
        ("{}".to_owned(), 400, "request_id"),
        (json!({ "request_id": "x", "rating": "up" }).to_string(), 400, "request_id"),
        (json!({ "request_id": id }).to_string(), 400, "rating"),
        (json!({ "request_id": id, "rating": "sideways" }).to_string(), 400, "rating"),
        (json!({ "request_id": id, "rating": 1 }).to_string(), 400, "rating"),
        ("x".repeat(1 << 20), 413, "body"),
    ] {
        let request =
            app.http.post(format!("{}/v1/feedback", app.api)).header("content-type", "application/json");
        let (got, _, answer) = parts(request.body(body).send().await.unwrap()).await;
        assert_eq!((got.as_u16(), &answer["error"]["field"]), (status, &json!(field)), "{answer}");
    }
    assert_eq!(app.metric("agent_feedback_total{rating=\"up\"}").await.as_deref(), Some("0"));
    let rejected = "agent_requests_total{method=\"POST\",endpoint=\"/v1/feedback\",status=\"rejected\",tenant_id=\"other\"}";
    assert_eq!(app.metric(rejected).await.as_deref(), Some("8"));
}
