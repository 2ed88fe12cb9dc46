//! `deploy/remote-write/`: Prometheus with its very file, and a `VictoriaMetrics` that is away for a while.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, routing::get};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use stack_tests::{
    programs::{self, Process, free_address},
    tools::Tool,
    wait,
};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::read;

/// What durations are divided by: the agent is scraped each second.
const FACTOR: u32 = 15;
/// A busy machine, and the sender's longest pause after a failure.
const PATIENCE: Duration = Duration::from_mins(1);
/// The kit's queries: the dashboards' by tenant, what alerts read, and the plain counter.
const QUERIES: [&str; 4] = [
    "sum by (tenant_id) (tenant:requests:rate5m)",
    "agent:request_errors:ratio_rate5m",
    "sum by (status, tenant_id) (agent_requests_total)",
    "count_over_time(agent_requests_total{tenant_id=\"acme\", status=\"success\"}[1m])",
];

pub(crate) fn answers_alike(repository: &Path, prometheus: &Tool, victoria: &Tool) -> Result<(), String> {
    let (target, scrapes) = agent()?;
    let (own, other) = (free_address()?, free_address()?);
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    scale_durations::folder(&repository.join("prometheus"), folder.path(), FACTOR)
        .map_err(|e| e.to_string())?;
    let config = read(&repository.join("deploy/remote-write/prometheus.yml"))?;
    let config = scale_durations::yaml(&config, FACTOR)?.replace("victoria-metrics:8428", &other);
    let write =
        |name: &str, text: String| std::fs::write(folder.path().join(name), text).map_err(|e| e.to_string());
    write("prometheus.yml", config)?;
    let none = std::fs::read_dir(folder.path().join("targets")).map_err(|e| e.to_string())?;
    for file in none.flatten() {
        std::fs::remove_file(file.path()).map_err(|e| e.to_string())?;
    }
    write("targets/example-agent.yml", format!("- targets: [\"{target}\"]\n"))?;
    std::fs::rename(
        folder.path().join("thresholds/default.yml"),
        folder.path().join("thresholds/active.yml"),
    )
    .map_err(|e| e.to_string())?;

    let data = tempfile::tempdir().map_err(|e| e.to_string())?;
    let store = start_victoria(victoria, data.path(), &other)?;
    let _server = start(
        Command::new(prometheus.path())
            .current_dir(folder.path())
            // An external label, which is not to be on what is written.
            .env("GRAFANA_URL", "http://grafana.example:3000")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={own}")),
    )?;
    let (own, other) = (format!("http://{own}"), format!("http://{other}"));
    alike(&own, &other, "before the outage")?;

    // Away, for as long as ten scrapes take. It is told to end: killed, it would lose the last seconds that it has taken.
    end(store)?;
    let seen = scrapes.load(Ordering::Relaxed);
    wait::until("scrapes while the receiver is away", PATIENCE, || {
        let now = scrapes.load(Ordering::Relaxed);
        if now >= seen + 10 { Ok(()) } else { Err(format!("{} so far", now - seen)) }
    })?;
    let _store = start_victoria(victoria, data.path(), other.trim_start_matches("http://"))?;
    // The last of the queries counts the samples of the outage.
    alike(&own, &other, "after the outage")
}

/// Waits until both give the same answers for the same moment, one at which there are answers.
fn alike(own: &str, other: &str, when: &str) -> Result<(), String> {
    for query in QUERIES {
        wait::until(&format!("an answer to {query}"), PATIENCE, || {
            match programs::query(own, query, None)? {
                samples if samples.is_empty() => Err("none".to_owned()),
                _ => Ok(()),
            }
        })?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?;
    // The next full second: soon over, and then what was scraped is known to both, or missing.
    let at = (now.as_secs() + 1).to_string();
    for query in QUERIES {
        wait::until(&format!("{query} {when}"), PATIENCE, || {
            let (here, there) = (sorted(own, query, &at)?, sorted(other, query, &at)?);
            if !here.is_empty() && here == there { Ok(()) } else { Err(format!("{here:?} and {there:?}")) }
        })?;
    }
    Ok(())
}

/// Labels and values, in an order of their own. Values are rounded: the two print fractions differently.
fn sorted(server: &str, query: &str, at: &str) -> Result<Vec<(String, String)>, String> {
    let mut samples: Vec<_> = programs::query(server, query, Some(at))?
        .into_iter()
        .map(|(labels, value)| {
            let value: f64 = value.parse().map_err(|e| format!("{value}: {e}"))?;
            Ok((labels.to_string(), format!("{value:.6}")))
        })
        .collect::<Result<_, String>>()?;
    samples.sort();
    Ok(samples)
}

fn start(command: &mut Command) -> Result<Process, String> {
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    process.map(Process).map_err(|e| e.to_string())
}

fn end(mut store: Process) -> Result<(), String> {
    kill(Pid::from_raw(store.0.id().cast_signed()), Signal::SIGTERM).map_err(|e| e.to_string())?;
    store.0.wait().map(drop).map_err(|e| e.to_string())
}

fn start_victoria(program: &Tool, data: &Path, address: &str) -> Result<Process, String> {
    let process = start(
        Command::new(program.path())
            .arg(format!("-storageDataPath={}", data.display()))
            .arg(format!("-httpListenAddr={address}"))
            // As in production, but that it answers at once for what it has.
            .args(["-retentionPeriod=1y", "-search.latencyOffset=0s", "-search.disableCache"]),
    )?;
    wait::until("VictoriaMetrics answers", PATIENCE, || {
        programs::query(&format!("http://{address}"), "1", None).map(drop)
    })?;
    Ok(process)
}

/// What an agent shows: counts that grow with each scrape.
fn agent() -> Result<(String, Arc<AtomicU32>), String> {
    let runtime = Runtime::new().map_err(|e| e.to_string())?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?.to_string();
    let scrapes = Arc::new(AtomicU32::new(0));
    let counted = scrapes.clone();
    let metrics = move || {
        let n = counted.fetch_add(1, Ordering::Relaxed) + 1;
        let series = |tenant: &str, status: &str, value: u32| {
            format!("agent_requests_total{{tenant_id=\"{tenant}\",status=\"{status}\"}} {value}\n")
        };
        let text = "# TYPE agent_requests_total counter\n".to_owned()
            + &series("acme", "success", 8 * n)
            + &series("acme", "error", 2 * n)
            + &series("globex", "success", 5 * n)
            + "# TYPE agent_build_info gauge\nagent_build_info{version=\"1\"} 1\n";
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    thread::spawn(move || {
        runtime.block_on(async { axum::serve(listener, Router::new().fallback(get(metrics))).await })
    });
    Ok((address, scrapes))
}
