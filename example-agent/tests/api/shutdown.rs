//! The end: every accepted request has an answer, and nothing that hangs can keep the process.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::helpers::{Agent, Behaviour, Collector, Provider, eventually, http_client};

/// What a test machine may be late.
const MARGIN: Duration = Duration::from_secs(3);

async fn ask_many(
    agent: &Agent,
    provider: &Provider,
) -> Vec<tokio::task::JoinHandle<reqwest::Result<StatusCode>>> {
    let url = format!("{}/v1/query", agent.app.api);
    let asked: Vec<_> = (0..50)
        .map(|i| {
            // A client each, so that each has a connection.
            let request =
                http_client().post(&url).json(&json!({ "tenant_id": "acme", "query": format!("q{i}") }));
            tokio::spawn(async move { Ok(request.send().await?.status()) })
        })
        .collect();
    eventually("all are being answered", async || (provider.calls().len() == 50).then_some(())).await;
    asked
}

#[tokio::test]
async fn open_requests_are_finished_and_the_agent_is_not_ready_meanwhile() {
    let answers = Arc::new(Semaphore::new(0));
    let provider = Provider::start(Behaviour::Held(answers.clone())).await;
    let mut agent = Agent::start(&provider, &[("AGENT_SHUTDOWN_TIMEOUT", "1h")]).await;
    let asked = ask_many(&agent, &provider).await;
    agent.signal("TERM");
    let ready = format!("{}/readyz", agent.app.admin);
    eventually("it is not ready", async || {
        let status = agent.app.http.get(&ready).send().await.ok()?.status();
        (status == 503).then_some(())
    })
    .await;
    answers.close();
    for request in asked {
        assert_eq!(request.await.unwrap().unwrap(), 200);
    }
    assert_eq!(agent.exit_code().await, Some(0));
}

#[tokio::test]
async fn what_cannot_be_finished_is_answered_with_503_in_time_though_the_collector_hangs() {
    let provider = Provider::start(Behaviour::Hang).await;
    let collector = Collector::start(true).await;
    let settings =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()), ("AGENT_SHUTDOWN_TIMEOUT", "5s")];
    let mut agent = Agent::start(&provider, &settings).await;
    let asked = ask_many(&agent, &provider).await;
    let started = Instant::now();
    agent.signal("TERM");
    for request in asked {
        assert_eq!(request.await.unwrap().unwrap(), 503);
    }
    assert_eq!(agent.exit_code().await, Some(0));
    assert!(started.elapsed() < Duration::from_secs(5) + MARGIN, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let provider = Provider::start(Behaviour::Hang).await;
    let mut agent = Agent::start(&provider, &[("AGENT_SHUTDOWN_TIMEOUT", "1h")]).await;
    let _asked = ask_many(&agent, &provider).await;
    agent.signal("TERM");
    eventually("it is ending", async || {
        agent.lines().into_iter().find(|line| line["msg"] == "shutting down")
    })
    .await;
    agent.signal("TERM");
    assert_eq!(agent.exit_code().await, Some(143));
}
