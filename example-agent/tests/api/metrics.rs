//! `/metrics`: what stands in the documentation, no more and no less, in both formats, and bounded.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{body::Body, http::Request};
use clap::Parser as _;
use example_agent::{
    App, routes,
    settings::Cli,
    telemetry::{Handles, declared::ALL, exposition::Format},
};
use serde_json::json;
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::helpers::{Agent, Behaviour, Provider, TestApp, document, eventually, spawn_app, table_rows};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric, as the documentation and as `/metrics` has it. The fields are the columns of the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    kind: String,
    unit: String,
    labels: BTreeSet<String>,
    buckets: Vec<String>,
    meaning: String,
}

fn documented() -> BTreeMap<String, Described> {
    let list = |cell: &str| -> Vec<String> {
        cell.split(',').map(|item| item.trim().trim_matches('`').to_owned()).filter(|i| i != "–").collect()
    };
    let rows = table_rows(&document("metrics.md"), "metric").into_iter().map(|row| {
        let [metric, kind, unit, labels, buckets, meaning] = row.try_into().unwrap();
        let labels = list(&labels).into_iter().collect();
        (list(&metric).remove(0), Described { kind, unit, labels, buckets: list(&buckets), meaning })
    });
    rows.collect()
}

async fn open_metrics(app: &TestApp) -> String {
    let request = app.http.get(format!("{}/metrics", app.admin)).header("accept", OPEN_METRICS);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], OPEN_METRICS);
    assert_eq!(response.headers()["vary"], "accept");
    response.text().await.unwrap()
}

/// Reads OpenMetrics back; a counter has the name of its samples, as in queries.
fn described(text: &str) -> BTreeMap<String, Described> {
    let mut families = BTreeMap::<String, Described>::new();
    for line in text.lines().filter(|line| line.starts_with("# ") && *line != "# EOF") {
        let [_, what, family, value] = line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
        let metric = families.entry(family.to_owned()).or_default();
        match what {
            "HELP" => value.clone_into(&mut metric.meaning),
            "TYPE" => value.clone_into(&mut metric.kind),
            "UNIT" => value.clone_into(&mut metric.unit),
            _ => panic!("{line}"),
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.split(" # ").next().unwrap().rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let suffixes = ["_total", "_bucket", "_sum", "_count"];
        let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let metric = families.get_mut(family).unwrap_or_else(|| panic!("no family: {line}"));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        for (label, value) in labels {
            let value = value.trim_matches('"');
            if label != "le" {
                metric.labels.insert(label.to_owned());
            } else if value != "+Inf" && !metric.buckets.iter().any(|bucket| bucket == value) {
                metric.buckets.push(value.to_owned());
            }
        }
    }
    let named = families.into_iter().map(|(name, mut metric)| {
        for bucket in &mut metric.buckets {
            *bucket = bucket.trim_end_matches(".0").to_owned();
        }
        if metric.unit.is_empty() {
            "–".clone_into(&mut metric.unit);
        }
        (if metric.kind == "counter" { format!("{name}_total") } else { name }, metric)
    });
    named.collect()
}

#[tokio::test]
async fn the_documentation_lists_each_metric_as_a_running_agent_shows_it() {
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &["--llm-fallback-model=gpt-5-nano"]).await;
    assert_eq!(app.ask_as("acme", "q").await.0, 200);
    let absent = spawn_app(&Provider::absent(), &[]).await;
    assert_eq!(absent.ask_as("acme", "q").await.0, 502);
    let mut live = described(&open_metrics(&app).await);
    for (name, failing) in described(&open_metrics(&absent).await) {
        live.entry(name).or_default().labels.extend(failing.labels);
    }
    let documented = documented();
    for (name, metric) in &live {
        assert_eq!(documented.get(name), Some(metric), "{name} in docs/metrics.md and in /metrics");
    }
    assert_eq!(documented.keys().collect::<Vec<_>>(), live.keys().collect::<Vec<_>>());
    for metric in ALL {
        assert!(live.contains_key(metric.name), "{} is declared, but not shown", metric.name);
    }
}

#[tokio::test]
async fn a_call_of_the_model_is_counted_by_the_conventions_and_without_a_price_as_unpriced() {
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &["--llm-model=unheard-of", "--llm-provider=ollama"]).await;
    assert_eq!(app.ask_as("acme", "q").await.0, 200);
    let call = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"ollama\",\
        gen_ai_request_model=\"unheard-of\",gen_ai_response_model=\"sim-small-1\"";
    for (series, value) in [
        (format!("gen_ai_client_operation_duration_seconds_count{{{call}}}"), "1"),
        (format!("gen_ai_client_operation_time_to_first_chunk_seconds_count{{{call}}}"), "1"),
        (format!("gen_ai_client_token_usage_sum{{{call},gen_ai_token_type=\"input\"}}"), "11"),
        (format!("gen_ai_client_token_usage_bucket{{{call},gen_ai_token_type=\"output\",le=\"4\"}}"), "0"),
        (format!("gen_ai_client_token_usage_bucket{{{call},gen_ai_token_type=\"output\",le=\"16\"}}"), "1"),
        ("agent_llm_unpriced_calls_total{model=\"unheard-of\"}".to_owned(), "1"),
        ("agent_api_cost_usd_total{model=\"unheard-of\",tenant_id=\"acme\"}".to_owned(), "0"),
    ] {
        assert_eq!(app.metric(&series).await.as_deref(), Some(value), "{series}");
    }

    let failing = spawn_app(&Provider::start(Behaviour::Status(429)).await, &[]).await;
    assert_eq!(failing.ask_as("acme", "q").await.0, 503);
    let failed = "gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name=\"chat\",\
        gen_ai_provider_name=\"openai\",gen_ai_request_model=\"sim-small\",error_type=\"upstream_rate_limited\"}";
    assert_eq!(failing.metric(failed).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn the_bucket_of_a_request_points_to_its_trace_if_that_is_sampled() {
    let provider = Provider::start(Behaviour::Stream).await;
    // A slow one would have its trace whatever the caller says.
    let agent = Agent::start(&provider, &[("AGENT_SLOW_REQUEST", "1h")]).await;
    let ask = async |trace: u128, sampled: u8| {
        let body = json!({ "tenant_id": "globex", "query": format!("q{trace}") });
        let request = agent.app.http.post(format!("{}/v1/query", agent.app.api)).json(&body);
        let parent = format!("00-{trace:032x}-b7ad6b7169203331-{sampled:02x}");
        assert_eq!(request.header("traceparent", parent).send().await.unwrap().status(), 200);
    };
    ask(0xa11, 1).await;
    ask(0xb22, 0).await;
    let all = "agent_request_duration_seconds_count{method=\"POST\",endpoint=\"/v1/query\",status=\"success\",tenant_id=\"globex\"}";
    eventually("both are counted", async || (agent.app.metric(all).await? == "2").then_some(())).await;
    let text = open_metrics(&agent.app).await;
    assert!(text.ends_with("\n# EOF\n"));
    let exemplars: Vec<_> = text.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(exemplars.len(), 1, "{exemplars:?}");
    let (sample, exemplar) = exemplars[0].split_once(" # ").unwrap();
    assert!(sample.starts_with("agent_request_duration_seconds_bucket{") && sample.contains("globex"));
    let [labels, value, at] = exemplar.split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(labels, format!("{{trace_id=\"{:032x}\"}}", 0xa11));
    let bound = sample.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(value.parse::<f64>().unwrap() <= bound.parse().unwrap(), "{}", exemplars[0]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - at.parse::<f64>().unwrap()).abs() < 60.0, "{at}");
    assert!(!agent.app.metrics().await.contains(" # {"), "the text format has no exemplars");
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let app = spawn_app(&Provider::absent(), &[]).await;
    let open = async |number: &str| {
        eventually("so many are open", async || {
            (app.metric("agent_active_connections").await? == number).then_some(())
        })
        .await;
    };
    open("0").await;
    let address = app.api.trim_start_matches("http://");
    let first = TcpStream::connect(address).await.unwrap();
    let second = TcpStream::connect(address).await.unwrap();
    open("2").await;
    drop(first);
    open("1").await;
    drop(second);
    open("0").await;
}

#[tokio::test]
async fn a_hundred_thousand_inventions_add_no_series_after_the_first() {
    const INVENTIONS: usize = 100_000;
    let settings = Cli::parse_from(["example-agent"]).settings;
    let app = Arc::new(App::new(&settings, Handles::new(&settings)).unwrap());
    let api = routes::api(app.clone());
    let series = || app.metrics.render(Format::Text).lines().filter(|line| !line.starts_with('#')).count();
    let mut after_the_first = 0;
    for number in 0..INVENTIONS {
        let request = match number % 4 {
            0 => Request::post("/v1/query")
                .header("content-type", "application/json")
                .body(format!("{{\"tenant_id\":\"t{number}\",\"query\":\"q\"}}").into()),
            1 => Request::get(format!("/made/up/{number}")).body(Body::empty()),
            2 => {
                Request::builder().method(format!("M{number}").as_str()).uri("/v1/query").body(Body::empty())
            }
            _ => Request::builder()
                .method(format!("M{number}").as_str())
                .uri(format!("/{number}"))
                .body(Body::empty()),
        };
        let response = api.clone().oneshot(request.unwrap()).await.unwrap();
        assert!(response.status().is_client_error(), "{}", response.status());
        if number == 3 {
            after_the_first = series();
        }
        if number % 10_000 == 0 {
            app.metrics.upkeep();
        }
    }
    assert_eq!(series(), after_the_first);
    let counted = app.metrics.render(Format::Text);
    let requests = counted.lines().filter(|line| line.starts_with("agent_requests_total{"));
    let sum: usize = requests.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum();
    assert_eq!(sum, INVENTIONS);
}
