//! CPU time of a request, by how much telemetry is on. All variants run side by side, and each round asks each of them
//! in turn: what disturbs the machine disturbs them alike, and a difference is taken within its round.
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    load::{Kind, Load},
    process::Server,
    servers::{Collector, provider},
    statistics::Spread,
};

/// Callers at a time.
const CONNECTIONS: u64 = 8;
/// How long a variant has between two of its turns at least, for lines and spans to be on their way: spans go out each
/// second.
const SETTLE: Duration = Duration::from_millis(1500);

/// A server with as much telemetry as its name says.
#[derive(Debug)]
pub struct Variant {
    /// What is on.
    pub name: &'static str,
    /// The server.
    pub server: Server,
    /// Requests in each of its turns.
    pub requests: u64,
    /// Memory it held before the first request, in bytes.
    pub memory_at_rest: u64,
}

impl Variant {
    /// A server that has just started.
    pub fn new(name: &'static str, server: Server, requests: u64) -> Self {
        let memory_at_rest = server.memory();
        Self { name, server, requests, memory_at_rest }
    }
}

/// No telemetry: what the others are compared with.
pub const OFF: &str = "none";
/// All of it.
pub const ALL: &str = "+ traces at 10 %, exemplars";
/// All of it, and what the log directory brings besides.
pub const WITH_FILES: &str = "+ log files and audit log";

/// The agents, from nothing to everything; each has what the one before has.
pub fn agents(binary: &Path, folder: &Path, requests: u64) -> Result<Vec<Variant>, String> {
    let surroundings = |e| format!("cannot start the agent's surroundings: {e}");
    let base = [("AGENT_LLM_BASE_URL", provider().map_err(surroundings)?)];
    let collector = Collector::start().map_err(surroundings)?.url();
    let scope = |scope: &str| ("AGENT_TELEMETRY", scope.to_owned());
    let lines = |ratio: &str| ("AGENT_LOG_SAMPLE_RATIO", ratio.to_owned());
    // A tenth, also where nothing is exported: it is what decides which requests' lines are in the tenth.
    let ratio = ("OTEL_TRACES_SAMPLER_ARG", "0.1".to_owned());
    let traces = [ratio.clone(), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector)];
    let files = [("AGENT_LOG_DIR", folder.display().to_string())];
    let variants: [(&str, Vec<(&str, String)>); 6] = [
        (OFF, vec![scope("off")]),
        ("metrics", vec![scope("metrics")]),
        ("+ logs at 10 %", vec![lines("0.1"), ratio.clone()]),
        ("+ logs at 100 %", vec![lines("1.0"), ratio]),
        (ALL, [vec![lines("1.0")], traces.to_vec()].concat()),
        (WITH_FILES, [vec![lines("1.0")], traces.to_vec(), files.to_vec()].concat()),
    ];
    let start = |(name, settings): (&'static str, Vec<(&str, String)>)| {
        let server = Server::agent(binary, &[base.to_vec(), settings].concat())?;
        Ok(Variant::new(name, server, requests))
    };
    variants.into_iter().map(start).collect()
}

/// What a variant takes.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// What is on.
    pub name: &'static str,
    /// CPU time of a request in microseconds.
    pub cpu_us: Spread,
    /// Of it, what the first variant does not take, in the same round.
    pub added_cpu_us: Spread,
    /// Its requests per second, relative to the first variant's in the same round, by the clock on the wall.
    pub throughput_ratio: Spread,
}

/// Asks the variants in turn, round by round. The first variant is the one the others are compared with.
pub fn measure(variants: &[&Variant], kind: Kind, rounds: usize) -> Result<Vec<Cost>, String> {
    let mut cpu = vec![Vec::new(); variants.len()];
    let mut per_second = vec![Vec::new(); variants.len()];
    let mut begun: Vec<Option<(Duration, Instant)>> = vec![None; variants.len()];
    // Round 0 warms up. What a turn has set in motion is paid for by the beginning of the next: it ends there.
    for round in 0..=rounds + 1 {
        for turn in 0..variants.len() {
            // Each has each of the others before it in turn.
            let number = (turn + round) % variants.len();
            let Variant { server, requests, .. } = variants[number];
            if let Some((before, at)) = begun[number] {
                thread::sleep(SETTLE.saturating_sub(at.elapsed()));
                let used = server.cpu().saturating_sub(before);
                if round > 1 {
                    cpu[number].push(used.as_secs_f64() * 1e6 / *requests as f64);
                }
            }
            if round > rounds {
                continue;
            }
            begun[number] = Some((server.cpu(), Instant::now()));
            let load = Load { api: server.api, kind, connections: CONNECTIONS };
            let took = load.as_fast_as_answered(*requests)?;
            if round > 0 {
                per_second[number].push(*requests as f64 / took.as_secs_f64());
            }
        }
    }
    let against_the_first = |values: &[Vec<f64>], number: usize, compare: fn(f64, f64) -> f64| {
        Spread::of(values[number].iter().zip(&values[0]).map(|(own, first)| compare(*own, *first)))
    };
    let cost = |(number, variant): (usize, &&Variant)| Cost {
        name: variant.name,
        cpu_us: Spread::of(cpu[number].iter().copied()),
        added_cpu_us: against_the_first(&cpu, number, |own, first| own - first),
        throughput_ratio: against_the_first(&per_second, number, |own, first| own / first),
    };
    Ok(variants.iter().enumerate().map(cost).collect())
}
