//! A stranger's path: a Prometheus that has nothing of the kit's takes in an export, with names of its own.

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use export::Outcome;
use libtest_mimic::Trial;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use stack_tests::{
    programs::{Process, free_address},
    tools::Tool,
};

use crate::{against::serve, ensure, export_to, with};

/// What issue 9 allows for all of it.
const LIMIT: Duration = Duration::from_mins(10);
/// For one condition: the agent is scraped every 5 s, and a rate wants two scrapes.
const SOON: Duration = Duration::from_mins(2);

const NAMES: [&str; 6] = [
    "--metrics=agent_requests_total=llm_requests_total,agent_request_duration_seconds=llm_latency_seconds,\
     agent_api_cost_usd_total=llm_cost_usd_total,agent_build_info=llm_build_info",
    "--labels=tenant_id=customer,severity=priority",
    "--jobs=example-agent=chatbot",
    "--urls=runbooks=https://wiki.example/runbooks,grafana=https://grafana.example",
    "--datasources=prometheus=theirs",
    "--folder=LLM agents",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![with(Some("prometheus"), "stranger::another_prometheus_takes_in_an_export", path)]
}

/// A service that has never heard of the kit: it spends 100 dollars between two looks, and a request in ten fails.
fn service() -> Result<std::net::SocketAddr, String> {
    let looks = AtomicU64::new(0);
    serve(move |_| {
        let n = looks.fetch_add(1, Ordering::Relaxed);
        let (good, bad, cost) = (n * 90, n * 10, n * 100);
        format!(
            "llm_requests_total{{customer=\"acme\",status=\"success\"}} {good}\n\
             llm_requests_total{{customer=\"acme\",status=\"error\"}} {bad}\n\
             llm_cost_usd_total{{customer=\"acme\",model=\"m\"}} {cost}\n\
             llm_latency_seconds_bucket{{customer=\"acme\",status=\"success\",le=\"0.5\"}} {good}\n\
             llm_latency_seconds_bucket{{customer=\"acme\",status=\"success\",le=\"+Inf\"}} {good}\n\
             llm_latency_seconds_sum{{customer=\"acme\",status=\"success\"}} {n}\n\
             llm_latency_seconds_count{{customer=\"acme\",status=\"success\"}} {good}\n\
             llm_build_info{{version=\"1\"}} 1\n"
        )
    })
}

#[expect(clippy::print_stdout, reason = "how long it took is what the trial is run for")]
fn path() -> Result<(), String> {
    let begun = Instant::now();
    let theirs = tempfile::tempdir().map_err(|e| e.to_string())?;
    let kit = theirs.path().join("agent-kit");
    // The tests of the renamed rules are run by renamed::prometheus.
    let options: Vec<_> = NAMES.into_iter().chain(["--skip-tests"]).collect();
    let (outcome, said) = export_to(&kit, "prometheus", &options)?;
    ensure(outcome == Outcome::Well, || said.clone())?;

    // What README.md says: three entries in their configuration, and the agent's address.
    let config = json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["agent-kit/rules/*.yml", "agent-kit/thresholds/active.yml"],
        "scrape_config_files": ["agent-kit/scrape.yml"],
    });
    let write = |path: &str, text: String| {
        fs::write(theirs.path().join(path), text).map_err(|e| format!("{path}: {e}"))
    };
    write("prometheus.yml", config.to_string())?;
    write("agent-kit/targets/chatbot.yml", json!([{"targets": [service()?]}]).to_string())?;

    let address = free_address()?;
    let program = Tool::find("prometheus").ok_or("no prometheus")?;
    let server = Command::new(program.path())
        .current_dir(theirs.path())
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let _server = Process(server);
    let client =
        Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().map_err(|e| e.to_string())?;
    let get = |path: &str| -> Option<Value> {
        let text = client.get(format!("http://{address}/api/v1/{path}")).send().ok()?.text().ok()?;
        serde_json::from_str::<Value>(&text).ok().map(|answer| answer["data"].clone())
    };

    until("a recorded series has data", || {
        let found = get("query?query=agent:requests:rate5m")?;
        let series = &found["result"][0];
        let value: f64 = series["value"][1].as_str()?.parse().ok()?;
        (series["metric"]["job"] == "chatbot" && value > 0.0).then_some(())
    })?;
    let alert = until("HighAPICost fires", || {
        let alerts = get("alerts")?;
        let mut alerts = alerts["alerts"].as_array()?.iter().cloned();
        alerts.find(|alert| alert["labels"]["alertname"] == "HighAPICost" && alert["state"] == "firing")
    })?;
    ensure(alert["labels"]["priority"] == "critical" && alert["labels"]["severity"].is_null(), || {
        alert.to_string()
    })?;
    ensure(alert["annotations"]["runbook_url"] == "https://wiki.example/runbooks/HighAPICost.md", || {
        alert.to_string()
    })?;
    ensure(alert["annotations"]["dashboard_url"] == "https://grafana.example/d/agent-cost", || {
        alert.to_string()
    })?;
    // Groups that run once a minute or an hour may not have had their turn yet.
    until("rules are healthy", || {
        let groups = get("rules")?["groups"].as_array()?.clone();
        let frequent =
            groups.iter().filter(|group| group["interval"].as_f64().is_some_and(|seconds| seconds <= 1.0));
        let rules: Vec<_> =
            frequent.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        (rules.len() > 20 && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    })?;
    let groups = get("rules").ok_or("no rules")?;
    let broken = groups["groups"].as_array().into_iter().flatten().flat_map(|group| {
        group["rules"].as_array().into_iter().flatten().filter(|rule| rule["health"] == "err").cloned()
    });
    let broken: Vec<_> = broken.collect();
    ensure(broken.is_empty(), || format!("rules that cannot be evaluated: {broken:?}"))?;

    // And the same server asked beforehand would have said what it has not.
    let again = tempfile::tempdir().map_err(|e| e.to_string())?;
    let url = format!("http://{address}");
    let options: Vec<_> = NAMES.into_iter().chain(["--skip-tests", "--against", &url]).collect();
    let (outcome, said) = export_to(again.path(), "prometheus", &options)?;
    ensure(outcome == Outcome::Lacking, || said.clone())?;
    for missing in [
        "\n  node_load5  HostCpuSaturated",
        "\n  agent_active_connections  HighActiveConnections",
        "\n  agent_errors_total  until",
    ] {
        ensure(said.contains(missing), || format!("no {missing:?} in {said}"))?;
    }
    ensure(!said.contains("\n  llm_"), || said.clone())?;
    let took = begun.elapsed();
    println!(
        "stranger's path: {:.0} s from the export, without the rules' tests, to another Prometheus with an alert firing",
        took.as_secs_f64()
    );
    ensure(took < LIMIT, || format!("it took {took:?}"))
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T, String> {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        if let Some(found) = condition() {
            return Ok(found);
        }
        sleep(Duration::from_millis(100));
    }
    Err(format!("not within {SOON:?}: {what}"))
}
