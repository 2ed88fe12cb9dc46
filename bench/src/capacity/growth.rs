//! How what the agent and its Prometheus take grows: with requests, and with tenants.
use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    http::{self, Connection},
    load::{Kind, Load},
    process::{Server, free_ports},
    scrape::{agent_of, failed},
    servers::{Collector, provider},
    statistics::Spread,
};

/// Requests a second, of which each asks the model.
const RATES: [f64; 3] = [50.0, 200.0, 800.0];
/// How long each rate is held.
const HELD: Duration = Duration::from_secs(15);
/// Tenants in the tenants file: each has its series from the start.
const TENANTS: [usize; 3] = [10, 100, 1000];
/// Scrapes by hand, and by Prometheus.
const SCRAPES: u32 = 15;
/// The agent gives its spans away every few seconds.
const SETTLE: Duration = Duration::from_secs(6);
const LIMIT: Duration = Duration::from_mins(2);
const MIB: f64 = (1_u64 << 20) as f64;

/// What a rate of requests takes.
#[derive(Clone, Debug, Serialize)]
pub struct AtRate {
    /// Requests a second.
    pub rate: f64,
    /// CPU time of a request, in milliseconds.
    pub cpu_ms: f64,
    /// Memory that the agent holds at the end, in MiB.
    pub memory_mib: f64,
    /// Lines of a request.
    pub lines: f64,
    /// Bytes that a request adds to the log files, audit log included.
    pub log_bytes: f64,
    /// Spans of a request that go to the collector; a tenth of the requests is sampled.
    pub spans: f64,
}

/// What so many tenants take.
#[derive(Clone, Debug, Serialize)]
pub struct AtTenants {
    /// In the tenants file.
    pub tenants: usize,
    /// Series that the agent exposes.
    pub series: usize,
    /// Size of a scrape in KiB.
    pub scrape_kib: f64,
    /// CPU time of the agent for a scrape, in milliseconds.
    pub scrape_cpu_ms: f64,
    /// Memory of the agent, in MiB.
    pub memory_mib: f64,
    /// What a Prometheus takes for it, where there is one.
    pub prometheus: Option<Prometheus>,
}

/// A Prometheus that scrapes one agent.
#[derive(Clone, Debug, Serialize)]
pub struct Prometheus {
    /// Memory it holds, in MiB.
    pub memory_mib: f64,
    /// CPU time for a scrape, in milliseconds.
    pub scrape_cpu_ms: f64,
    /// Series in its head, its own included.
    pub series: f64,
}

/// An agent that tells everything: all lines to files, a tenth of the traces to a collector.
pub(super) fn everything(
    binary: &Path,
    logs: &Path,
    collector: &Collector,
    llm: String,
) -> Result<Server, String> {
    Server::agent(
        binary,
        &[
            ("AGENT_LLM_BASE_URL", llm),
            ("AGENT_LOG_SAMPLE_RATIO", "1.0".to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
            ("AGENT_LOG_DIR", logs.display().to_string()),
        ],
    )
}

fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Asks at each rate in turn.
pub(super) fn by_rate(
    binary: &Path,
    folder: &Path,
    mut progress: impl FnMut(&str),
) -> Result<Vec<AtRate>, String> {
    let logs = folder.join("capacity-logs");
    let _ = fs::remove_dir_all(&logs);
    fs::create_dir_all(&logs).map_err(failed("no folder for logs"))?;
    let collector = Collector::start().map_err(failed("no collector"))?;
    let agent = everything(binary, &logs, &collector, provider().map_err(failed("no provider"))?)?;
    let load = Load { api: agent.api, kind: Kind::Full, connections: 32 };
    load.as_fast_as_answered(2000)?;
    let mut all = Vec::new();
    for rate in RATES {
        thread::sleep(SETTLE);
        let before = (agent.cpu(), agent.output.lines(), bytes_in(&logs), collector.spans());
        let requests = load.at(rate, HELD)?.len() as f64;
        let memory_mib = agent.memory() as f64 / MIB;
        thread::sleep(SETTLE);
        let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / requests;
        let at = AtRate {
            rate,
            cpu_ms: agent.cpu().saturating_sub(before.0).as_secs_f64() * 1e3 / requests,
            memory_mib,
            lines: each(agent.output.lines(), before.1),
            log_bytes: each(bytes_in(&logs), before.2),
            spans: each(collector.spans(), before.3),
        };
        progress(&format!("  {rate} requests a second: {:.3} ms", at.cpu_ms));
        all.push(at);
    }
    agent.stop()?;
    let _ = fs::remove_dir_all(&logs);
    Ok(all)
}

/// Scrapes agents with ever more tenants, by hand and by a Prometheus.
pub(super) fn by_tenants(
    binary: &Path,
    folder: &Path,
    prometheus: Option<&Path>,
    mut progress: impl FnMut(&str),
) -> Result<Vec<AtTenants>, String> {
    let mut all = Vec::new();
    for tenants in TENANTS {
        let agent = agent_of(binary, folder, tenants)?;
        let (mut times, mut body) = (Vec::new(), Vec::new());
        for _ in 0..SCRAPES {
            let begun = agent.cpu();
            let mut connection =
                Connection::to(agent.admin, LIMIT).map_err(failed("no connection for a scrape"))?;
            body = connection.ask(&http::get("/metrics")).map_err(failed("a scrape has failed"))?.body;
            times.push(agent.cpu().saturating_sub(begun).as_secs_f64() * 1e3);
        }
        let series = String::from_utf8_lossy(&body).lines().filter(|line| !line.starts_with('#')).count();
        let watched = prometheus.map(|program| scraped_by(program, &agent, folder)).transpose()?;
        progress(&format!("  {tenants} tenants: {series} series"));
        all.push(AtTenants {
            tenants,
            series,
            scrape_kib: body.len() as f64 / 1024.0,
            scrape_cpu_ms: Spread::of(times).median,
            memory_mib: agent.memory() as f64 / MIB,
            prometheus: watched,
        });
    }
    Ok(all)
}

fn scraped_by(program: &Path, agent: &Server, folder: &Path) -> Result<Prometheus, String> {
    let data = folder.join("prometheus");
    let _ = fs::remove_dir_all(&data);
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: example-agent\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
        agent.admin
    );
    fs::write(&config, text).map_err(failed("Prometheus' configuration cannot be written"))?;
    let [address] = free_ports().map_err(failed("no free port"))?;
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", data.display()));
    command.arg(format!("--web.listen-address={address}"));
    let server = Server::start_until(command, [address, address], "/-/ready")?;
    let read = |name: &str| server.metric(name).map_err(failed("Prometheus does not say how it is"));
    let scrapes = || read("prometheus_target_interval_length_seconds_count");
    let wait_for = |wanted: f64| {
        let begun = Instant::now();
        loop {
            let done = scrapes()?;
            if done >= wanted {
                return Ok(done);
            }
            if begun.elapsed() > LIMIT {
                return Err(format!("Prometheus has scraped only {done} times in {LIMIT:?}"));
            }
            thread::sleep(Duration::from_millis(100));
        }
    };
    // The first scrapes make the series; those after only add to them.
    let begun = wait_for(3.0)?;
    let before = server.cpu();
    let done = wait_for(begun + f64::from(SCRAPES))?;
    let used = server.cpu().saturating_sub(before).as_secs_f64() * 1e3;
    let measured = Prometheus {
        memory_mib: server.memory() as f64 / MIB,
        scrape_cpu_ms: used / (done - begun),
        series: read("prometheus_tsdb_head_series")?,
    };
    drop(server);
    let _ = fs::remove_dir_all(&data);
    Ok(measured)
}
