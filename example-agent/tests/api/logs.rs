//! Which lines are written: whole requests by trace, details by tier, both changeable while the agent runs.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::helpers::{Agent, Behaviour, Collector, Provider, eventually, hex, parts};

/// The messages of a request's lines, in order.
async fn messages(agent: &Agent, request_id: &str) -> Vec<String> {
    eventually("the request is completed", async || {
        let mut lines = agent.lines();
        lines.retain(|line| line["request_id"] == request_id);
        let messages: Vec<_> = lines.iter().map(|line| line["msg"].as_str().unwrap().to_owned()).collect();
        (messages.last()? == "request completed").then_some(messages)
    })
    .await
}

async fn ask(agent: &Agent, tenant: &str, query: &str) -> String {
    let (status, headers, _) = agent.app.ask_as(tenant, query).await;
    assert_eq!(status, 200);
    headers["x-request-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn sampled_requests_have_all_their_lines_the_others_none_and_they_are_those_of_the_sampled_traces() {
    let (provider, collector) = (Provider::start(Behaviour::Stream).await, Collector::start(false).await);
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_TRACES_SAMPLER_ARG", "0.4"),
        ("AGENT_LOG_SAMPLE_RATIO", "0.4"),
    ];
    let agent = Agent::start(&provider, &settings).await;
    for number in 0..100 {
        ask(&agent, "globex", &format!("q{number}")).await;
    }
    // The caller decides for its own trace, in logs as in spans. All queues keep the order.
    let last = "0000000000000000000000000000000f";
    let url = format!("{}/v1/query", agent.app.api);
    let request = agent.app.http.post(url).json(&json!({ "tenant_id": "globex", "query": "last" }));
    let request = request.header("traceparent", format!("00-{last}-b7ad6b7169203331-01"));
    assert_eq!(request.send().await.unwrap().status(), 200);

    let traces = eventually("the last trace has arrived", async || {
        let spans = collector.spans();
        let requests = spans.iter().filter(|span| span.name == "process_request");
        let traces: BTreeSet<_> = requests.map(|span| hex(&span.trace_id)).collect();
        traces.contains(last).then_some(traces)
    })
    .await;
    let requests = eventually("the last line has arrived", async || {
        let mut requests = BTreeMap::<String, Vec<String>>::new();
        for line in agent.lines() {
            if let Some(trace) = line["trace_id"].as_str() {
                requests.entry(trace.to_owned()).or_default().push(line["msg"].as_str()?.to_owned());
            }
        }
        (requests.get(last)?.len() == 3).then_some(requests)
    })
    .await;
    assert_eq!(requests.keys().cloned().collect::<BTreeSet<_>>(), traces);
    for lines in requests.values() {
        assert_eq!(lines, &["request started", "llm call completed", "request completed"]);
    }
    assert!((10..90).contains(&requests.len()), "{}", requests.len());
}

#[tokio::test]
async fn what_fails_is_logged_though_no_request_is_sampled() {
    let agent = Agent::start(&Provider::absent().await, &[("AGENT_LOG_SAMPLE_RATIO", "0")]).await;
    let (status, headers, _) = agent.app.ask_as("acme", "q").await;
    assert_eq!(status, 502);
    let id = headers["x-request-id"].to_str().unwrap();
    assert_eq!(messages(&agent, id).await, ["request failed", "request completed"]);
}

#[tokio::test]
async fn details_are_for_the_tiers_that_have_them_and_the_policy_changes_while_the_agent_runs() {
    let provider = Provider::start(Behaviour::Stream).await;
    let agent = Agent::start(&provider, &[]).await;
    let url = format!("{}/log-policy", agent.app.admin);
    let put = async |policy: &Value| {
        parts(agent.app.http.put(&url).body(policy.to_string()).send().await.unwrap()).await
    };
    let brief = ["request started", "llm call completed", "request completed"];
    let detailed = [
        "request started",
        "cache miss",
        "llm call started",
        "llm call completed",
        "answer kept",
        "request completed",
    ];
    let (vip, standard) = (ask(&agent, "acme", "1").await, ask(&agent, "globex", "1").await);
    assert_eq!(messages(&agent, &vip).await, detailed);
    assert_eq!(messages(&agent, &standard).await, brief);

    let swapped = json!({ "sample_ratio": 1.0,
        "tier_levels": { "vip": "off", "standard": "debug", "free": "off" } });
    let (status, _, body) = put(&swapped).await;
    assert_eq!((status.as_u16(), &body), (200, &swapped));
    for (bad, field) in [
        (json!({ "sample_ratio": 7 }), "sample_ratio"),
        (json!({ "tier_levels": { "gold": "debug" } }), "tier_levels"),
        (json!("x".repeat(1 << 20)), "body"),
        (json!([1]), "body"),
    ] {
        let (status, _, body) = put(&bad).await;
        assert!(status.is_client_error(), "{status}");
        assert_eq!(body["error"]["field"], field, "{body}");
    }
    let (_, _, current) = parts(agent.app.http.get(&url).send().await.unwrap()).await;
    assert_eq!(current, swapped);
    let (vip, standard) = (ask(&agent, "acme", "2").await, ask(&agent, "globex", "2").await);
    assert_eq!(messages(&agent, &vip).await, brief);
    assert_eq!(messages(&agent, &standard).await, detailed);

    assert_eq!(put(&json!({})).await.2["tier_levels"]["vip"], "debug", "as at the start");
    let (status, headers, _) = parts(agent.app.http.post(&url).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), headers["allow"].to_str().unwrap()), (405, "GET,HEAD,PUT"));
}
