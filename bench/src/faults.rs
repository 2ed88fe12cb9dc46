//! Callers do not notice what befalls the agent's telemetry: agents with a reader of the log that stalls, a disk that is
//! full and a collector that hangs, beside one that nothing befalls, under the same load in turn.
use std::{
    fs, io,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    load::{Kind, Load},
    process::{self, Server},
    servers::{Collector, Health, provider},
    statistics::quantile,
};

/// Requests a second: about a tenth of what one core can do.
const RATE: f64 = 2000.0;
const CONNECTIONS: u64 = 8;
/// How long an agent's turn is.
const TURN: Duration = Duration::from_millis(200);
/// Requests at a time until every queue is full that is going to be.
const FILLING: u64 = 2000;
/// Nothing takes longer to fill.
const FILL_TIMEOUT: Duration = Duration::from_mins(2);
/// What a full disk holds: less than the lines of a thousand requests.
const DISK_KIB: u32 = 512;

/// What befalls an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing.
    None,
    /// The reader of its standard output does not read.
    StalledReader,
    /// Standard output and the log directory are on full disks.
    FullDisk,
    /// The collector takes connections and says nothing.
    HangingCollector,
}

impl Disturbance {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::StalledReader, Self::FullDisk, Self::HangingCollector];

    /// In tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::StalledReader => "stalled log reader",
            Self::FullDisk => "full disk",
            Self::HangingCollector => "hanging collector",
        }
    }

    /// The counter of what is lost by it.
    fn losses(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::StalledReader | Self::FullDisk => Some("agent_log_lines_dropped_total"),
            Self::HangingCollector => Some("agent_spans_dropped_total"),
        }
    }
}

/// An agent and what befalls it.
#[derive(Debug)]
pub struct Disturbed {
    /// What does.
    pub by: Disturbance,
    /// The agent.
    pub agent: Server,
}

impl Disturbed {
    /// Starts an agent with everything on, all of its requests logged and traced.
    pub fn start(binary: &Path, folder: &Path, by: Disturbance) -> Result<Self, String> {
        let failed = |e: io::Error| format!("{}: {e}", by.name());
        let folder = folder.join(by.name().replace(' ', "-"));
        fs::create_dir_all(&folder).map_err(failed)?;
        let collector = Collector::start().map_err(failed)?;
        let settings = [
            ("AGENT_LLM_BASE_URL", provider().map_err(failed)?),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
            ("AGENT_LOG_DIR", folder.display().to_string()),
        ];
        let ports = process::free_ports().map_err(failed)?;
        let mut command = process::agent(binary, ports, &settings);
        if by == Disturbance::FullDisk {
            command = on_a_small_disk(&command, &folder);
        }
        let agent = Server::start(command, ports)?;
        match by {
            Disturbance::None | Disturbance::FullDisk => {}
            Disturbance::StalledReader => agent.output.stall(true),
            Disturbance::HangingCollector => collector.set(Health::Hanging),
        }
        Ok(Self { by, agent })
    }

    /// Asks until something has been lost, so that what follows meets full queues.
    pub fn fill(&self) -> Result<(), String> {
        let load = Load { api: self.agent.api, kind: Kind::Cached, connections: CONNECTIONS };
        let begun = Instant::now();
        loop {
            load.as_fast_as_answered(FILLING)?;
            let Some(losses) = self.by.losses() else { return Ok(()) };
            if self.agent.metric(losses).map_err(|e| format!("no metrics: {e}"))? > 0.0 {
                return Ok(());
            }
            if begun.elapsed() > FILL_TIMEOUT {
                return Err(format!("{}: nothing was lost within {FILL_TIMEOUT:?}", self.by.name()));
            }
        }
    }
}

/// Whether a process here may have mounts of its own, which a full disk takes.
///
/// # Errors
/// Why not.
pub fn small_disks() -> Result<(), String> {
    let folder = std::env::temp_dir();
    let tried =
        on_a_small_disk(&Command::new("true"), &folder).output().map_err(|e| format!("unshare: {e}"))?;
    if tried.status.success() {
        Ok(())
    } else {
        Err(format!("no mounts of one's own: {}", String::from_utf8_lossy(&tried.stderr).trim()))
    }
}

/// The same command where the folder is a small disk of its own and standard output a full one. The mount is seen by this
/// process only, and ends with it.
fn on_a_small_disk(command: &Command, folder: &Path) -> Command {
    let script = "mount -t tmpfs -o size=\"$1\"k tmpfs \"$2\" && exec \"$3\" >/dev/full";
    let mut small = Command::new("unshare");
    small.arg("--mount");
    if !nix::unistd::Uid::effective().is_root() {
        small.arg("--map-root-user");
    }
    small.args(["sh", "-c", script, "sh"]).arg(DISK_KIB.to_string()).arg(folder).arg(command.get_program());
    small.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    small.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    small
}

/// How long requests took.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// What befell the agent.
    pub disturbance: &'static str,
    /// Of each turn the 99th percentile, of all turns the median, in microseconds.
    pub p99_us: f64,
    /// That, relative to the agent that nothing befell.
    pub p99_ratio: f64,
    /// The longest, in microseconds.
    pub max_us: f64,
}

/// Loads the agents in turn. The first of them is the one the others are compared with.
pub fn measure(agents: &[Disturbed], rounds: usize) -> Result<Vec<Latency>, String> {
    for agent in agents {
        agent.fill()?;
    }
    // What the last of them has set in motion.
    thread::sleep(Duration::from_secs(1));
    let mut p99 = vec![Vec::new(); agents.len()];
    let mut longest = vec![0.0_f64; agents.len()];
    for round in 0..rounds {
        for turn in 0..agents.len() {
            let number = (turn + round) % agents.len();
            let load = Load { api: agents[number].agent.api, kind: Kind::Cached, connections: CONNECTIONS };
            let times = load.at(RATE, TURN)?;
            let mut times: Vec<_> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
            times.sort_by(f64::total_cmp);
            p99[number].push(quantile(&times, 0.99));
            longest[number] = longest[number].max(quantile(&times, 1.0));
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        quantile(values, 0.5)
    };
    let p99: Vec<_> = p99.iter_mut().map(median).collect();
    let latency = |(number, agent): (usize, &Disturbed)| Latency {
        disturbance: agent.by.name(),
        p99_us: p99[number],
        p99_ratio: p99[number] / p99[0],
        max_us: longest[number],
    };
    Ok(agents.iter().enumerate().map(latency).collect())
}
