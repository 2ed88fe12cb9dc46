//! The bill: what the metrics count is what the lines say, to the billionth of a dollar, over models and restarts.
use std::collections::BTreeMap;

use axum::{Json, Router, routing::post};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::helpers::{Agent, Provider, eventually, serve};

const CALLS: u64 = 1000;
const RUNS: u64 = 2;
const TENANTS: [(&str, &str); 3] = [("acme", "gpt-5"), ("globex", "gpt-5-mini"), ("hooli", "mine")];
const PRICES: &str = "as_of = \"2026-12-01\"\n[models.mine]\ninput = 0.37\noutput = 1.13\ncache_read = 0.041\ncache_write = 0.5\n";

/// Usage that differs from question to question.
async fn complete(Json(body): Json<Value>) -> Json<Value> {
    let question = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let number: u64 = question.parse().unwrap();
    let (prompt, completion) = (1000 + 7 * number, completion(number));
    Json(json!({
        "model": body["model"],
        "choices": [{ "message": { "content": "fine" }, "finish_reason": "stop" }],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": { "cached_tokens": prompt / 3, "cache_write_tokens": number % 97 },
            "completion_tokens_details": { "reasoning_tokens": completion / 2 },
        },
    }))
}

/// Output tokens of the call of this number.
fn completion(number: u64) -> u64 {
    100 + 13 * (number % 50)
}

/// Billionths of a dollar.
fn nano(usd: f64) -> u64 {
    (usd * 1e9).round() as u64
}

#[tokio::test]
async fn the_metrics_and_the_lines_have_the_same_cost_over_models_and_restarts() {
    let provider = Provider::at(serve(Router::new().route("/v1/chat/completions", post(complete))).await);
    let prices = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(prices.path(), PRICES).unwrap();
    let settings = [
        ("AGENT_LLM_MODEL", "gpt-5-mini"),
        ("AGENT_LLM_TIER_MODELS", "vip=gpt-5,free=mine"),
        ("AGENT_PRICES_FILE", prices.path().to_str().unwrap()),
        ("AGENT_RAG_PASSAGES", "0"),
        ("AGENT_LOG_TIER_LEVELS", "vip=off"),
    ];
    let (mut counted, mut logged, mut tokens) = (BTreeMap::new(), BTreeMap::new(), [0, 0]);
    for run in 0..RUNS {
        let mut agent = Agent::start(&provider, &settings).await;
        let numbers = stream::iter(run * CALLS / RUNS..(run + 1) * CALLS / RUNS);
        let app = &agent.app;
        numbers
            .for_each_concurrent(8, |number| async move {
                let (tenant, model) = TENANTS[number as usize % TENANTS.len()];
                let (status, _, body) = app.ask_as(tenant, &number.to_string()).await;
                assert_eq!((status.as_u16(), body["model"].as_str()), (200, Some(model)), "{body}");
            })
            .await;
        let metrics = app.metrics().await;
        for (tenant, model) in TENANTS {
            let labels = format!("{{model=\"{model}\",tenant_id=\"{tenant}\"");
            let value = |series: String| {
                let line = metrics.lines().find_map(|line| line.strip_prefix(&*series)?.strip_prefix(' '));
                line.unwrap_or_else(|| panic!("{series}")).parse::<f64>().unwrap()
            };
            *counted.entry(model).or_insert(0) += nano(value(format!("agent_api_cost_usd_total{labels}}}")));
            tokens[0] +=
                value(format!("agent_llm_token_details_total{labels},detail=\"cache_read\"}}")) as u64;
            tokens[1] +=
                value(format!("agent_llm_token_details_total{labels},detail=\"reasoning\"}}")) as u64;
        }
        agent.signal("TERM");
        assert_eq!(agent.exit_code().await, Some(0));
        let lines = agent.last_lines();
        for line in lines.iter().filter(|line| line["msg"] == "llm call completed") {
            let (_, model) = TENANTS.into_iter().find(|(tenant, _)| line["tenant_id"] == *tenant).unwrap();
            *logged.entry(model).or_insert(0) += nano(line["cost_usd"].as_f64().unwrap());
        }
        let ended = lines.iter().filter(|line| line["msg"] == "request completed");
        assert_eq!(ended.count() as u64, CALLS / RUNS);
    }
    assert_eq!(counted, logged);
    let mut expected = BTreeMap::new();
    for number in 0..CALLS {
        let (_, model) = TENANTS[number as usize % TENANTS.len()];
        let (prompt, completion) = (1000 + 7 * number, completion(number));
        let (read, write) = (prompt / 3, number % 97);
        // Thousandths of a billionth of a dollar per token: list prices of the catalogue, and of the file above.
        let [input, output, read_price, write_price] = match model {
            "gpt-5" => [1_250_000, 10_000_000, 125_000, 1_250_000],
            "gpt-5-mini" => [250_000, 2_000_000, 25_000, 250_000],
            _ => [370_000, 1_130_000, 41_000, 500_000],
        };
        let uncached = prompt - read - write;
        let cost = uncached * input + read * read_price + write * write_price + completion * output;
        *expected.entry(model).or_insert(0) += (cost + 500) / 1000;
    }
    assert_eq!(counted, expected);
    let sum = |part: fn(u64) -> u64| (0..CALLS).map(part).sum::<u64>();
    assert_eq!(tokens, [sum(|number| (1000 + 7 * number) / 3), sum(|number| completion(number) / 2)]);
}

#[tokio::test]
async fn a_caller_that_leaves_while_the_model_reasons_has_cost_money() {
    let (writer, behaviour) = crate::helpers::script();
    let provider = Provider::start(behaviour).await;
    let agent = Agent::start(&provider, &[]).await;
    let body = json!({ "tenant_id": "acme", "query": "think", "stream": true });
    let request = agent.app.http.post(format!("{}/v1/query", agent.app.api)).json(&body).send();
    let asking = tokio::spawn(request);
    writer.reason("a long chain of thoughts");
    // The thoughts have to be read before the caller leaves.
    eventually("the call has begun", async || (!provider.calls().is_empty()).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    asking.abort();
    let unfinished = eventually("it is logged", async || {
        agent.lines().into_iter().find(|line| line["msg"] == "llm call unfinished")
    })
    .await;
    assert!(unfinished["cost_usd"].as_f64() > Some(0.0), "{unfinished}");
    assert_eq!(unfinished["reasoning_tokens"], 6, "{unfinished}");
}
