//! What it costs to render the metrics of a large agent, and on which threads.
use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::Path, time::Duration};

use serde::Serialize;

use crate::{
    http::{self, Connection},
    load::{Kind, Load},
    process::Server,
    servers::provider,
    statistics::Spread,
};

/// So many tenants make a little more than so many series.
const TENANTS: usize = 310;
/// As many series as a scrape must have to count.
pub const SERIES: usize = 10_000;
/// Enough to tell the threads that serve requests from that which keeps the metrics up meanwhile.
const REQUESTS: u64 = 20_000;
const OPEN_METRICS: &[u8] =
    b"GET /metrics HTTP/1.1\r\nhost: agent\r\naccept: application/openmetrics-text\r\n\r\n";

pub(crate) fn failed(what: &'static str) -> impl Fn(io::Error) -> String {
    move |e| format!("{what}: {e}")
}

/// What a scrape takes.
#[derive(Clone, Debug, Serialize)]
pub struct Scrape {
    /// Samples in it.
    pub series: usize,
    /// CPU time of the whole process in milliseconds, for the Prometheus text format; sending it is part of it.
    pub cpu_ms: Spread,
    /// The same for OpenMetrics.
    pub open_metrics_cpu_ms: Spread,
    /// Of the first, what the threads took that serve requests: they send it.
    pub request_threads_cpu_ms: f64,
}

/// An agent with metrics and so many tenants, whose series are there from the start.
pub(crate) fn agent_of(binary: &Path, folder: &Path, tenants: usize) -> Result<Server, String> {
    let mut text = String::from("[[tenant]]\nid = \"globex\"\ntier = \"standard\"\n");
    for number in 1..tenants {
        let _ = write!(
            text,
            "[[tenant]]\nid = \"tenant-{number}\"\ntier = \"standard\"\nbudget_usd_per_day = 10.0\n"
        );
    }
    let file = folder.join("tenants.toml");
    fs::write(&file, text).map_err(failed("the tenants file cannot be written"))?;
    let settings = [
        ("AGENT_LLM_BASE_URL", provider().map_err(failed("no provider"))?),
        ("AGENT_TENANTS_FILE", file.display().to_string()),
        ("AGENT_TELEMETRY", "metrics".to_owned()),
    ];
    Server::agent(binary, &settings)
}

/// Scrapes an agent with many tenants.
pub fn measure(binary: &Path, folder: &Path, scrapes: u32) -> Result<Scrape, String> {
    let agent = agent_of(binary, folder, TENANTS)?;
    let before = agent.cpu_by_thread();
    let load = Load { api: agent.api, kind: Kind::Cached, connections: 8 };
    load.as_fast_as_answered(REQUESTS)?;
    let used = |before: &BTreeMap<String, Duration>| {
        let now = agent.cpu_by_thread().into_iter();
        now.map(|(thread, time)| {
            let earlier = before.get(&thread).copied().unwrap_or_default();
            (thread, time.saturating_sub(earlier).as_secs_f64() * 1e3)
        })
        .collect::<Vec<_>>()
    };
    let serving = used(&before);
    let busiest = serving.iter().map(|(_, time)| *time).fold(0.0, f64::max);
    let serves =
        |thread: &String| serving.iter().any(|(name, time)| name == thread && *time > busiest / 10.0);

    let before = agent.cpu_by_thread();
    let scrape = |request: &[u8]| -> Result<(f64, String), String> {
        let begun = agent.cpu();
        let mut connection = Connection::to(agent.admin, Duration::from_secs(10));
        let metrics =
            connection.as_mut().map_err(|e| format!("no connection for a scrape: {e}"))?.ask(request);
        let metrics = metrics.map_err(|e| format!("a scrape has failed: {e}"))?;
        let took = agent.cpu().saturating_sub(begun).as_secs_f64() * 1e3;
        Ok((took, String::from_utf8_lossy(&metrics.body).into_owned()))
    };
    let mut times = Vec::new();
    let mut samples = 0;
    for _ in 0..scrapes {
        let (took, metrics) = scrape(&http::get("/metrics"))?;
        times.push(took);
        samples = metrics.lines().filter(|line| !line.starts_with('#')).count();
    }
    let on_request_threads: f64 =
        used(&before).iter().filter(|(thread, _)| serves(thread)).map(|(_, time)| time).sum();
    let open_metrics: Result<Vec<_>, _> = (0..scrapes).map(|_| Ok(scrape(OPEN_METRICS)?.0)).collect();
    let open_metrics = open_metrics.map_err(|e: String| e)?;
    if samples < SERIES {
        return Err(format!("the scrape has {samples} series, not {SERIES}: it takes more tenants"));
    }
    Ok(Scrape {
        series: samples,
        cpu_ms: Spread::of(times),
        open_metrics_cpu_ms: Spread::of(open_metrics),
        request_threads_cpu_ms: on_request_threads / f64::from(scrapes),
    })
}
