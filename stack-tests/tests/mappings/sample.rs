//! A sample of what a library shows, served with counts that grow from scrape to scrape.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use axum::{Router, routing::get};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::server::Prometheus;

/// The rules and dashboards have data of it: requests, failures, tokens, cost and durations.
pub(crate) fn openlit_has_data(repository: &Path, prometheus: &Path) -> Result<(), String> {
    let file = repository.join("prometheus/tests/samples/openlit.prom");
    let sample = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let target = serve(sample)?.to_string();
    let prometheus = Prometheus::start(repository, prometheus, "openlit", ("assistant", &target, "none"))?;
    prometheus.waits_for("agent:request_errors:ratio_rate5m{job=\"assistant\"}", |ratio| {
        // Two of its six calls failed.
        (ratio - 1.0 / 3.0).abs() < 1e-6
    })?;
    for expression in [
        "agent:request_duration_seconds:p95_5m{job=\"assistant\"}",
        "sum by (model) (increase(agent_api_cost_usd_total{model=\"gpt-4o-mini\"}[10s]))",
        "tenant:api_cost_usd:rate5m{tenant_id=\"other\"}",
        "sum(rate(agent_llm_tokens_total{direction=\"input\"}[10s]))",
        "sum(rate(agent_llm_tokens_total{direction=\"output\"}[10s]))",
        "error_type:request_errors:rate5m{error_type=\"InternalServerError\"}",
        "agent_build_info{job=\"assistant\"}",
    ] {
        prometheus.waits_for(expression, |value| value > 0.0)?;
    }
    prometheus.waits_for_alert("HighErrorRate")
}

/// Serves it under any path; with the nth scrape each sample has n times its value.
fn serve(sample: String) -> Result<SocketAddr, String> {
    let runtime = Runtime::new().map_err(|e| e.to_string())?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let scrapes = Arc::new(AtomicU32::new(0));
    let metrics = move || {
        let factor = f64::from(scrapes.fetch_add(1, Ordering::Relaxed) + 1);
        let text: String = sample.lines().map(|line| multiplied(line, factor) + "\n").collect();
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    thread::spawn(move || {
        runtime.block_on(async { axum::serve(listener, Router::new().fallback(get(metrics))).await })
    });
    Ok(address)
}

fn multiplied(line: &str, factor: f64) -> String {
    match line.rsplit_once(' ') {
        Some((series, value)) if !line.starts_with('#') => {
            let value: f64 = value.parse().expect("a sample ends in its value");
            format!("{series} {}", value * factor)
        }
        _ => line.to_owned(),
    }
}
