//! `bench run`: everything that is compared, in one run.
use std::{fs, path::Path};

use crate::{
    cost::{self, ALL, OFF, Variant},
    faults::{self, Disturbance, Disturbed},
    floor,
    load::Kind,
    python,
    report::{Memory, Summary},
    scrape,
};

/// Requests in a turn, of the agent and of the slower Python.
const REQUESTS: u64 = 4000;
const FULL_REQUESTS: u64 = 800;
const PYTHON_REQUESTS: u64 = 400;
const SCRAPES: u32 = 21;
/// Turns of each disturbed agent, for a round of the others.
const DISTURBED_ROUNDS: usize = 5;

/// Measures; `progress` is told what comes next.
pub fn run(
    agent: &Path,
    folder: &Path,
    environment: Option<&Path>,
    rounds: usize,
    mut progress: impl FnMut(&str),
) -> Result<Summary, String> {
    let logs = folder.join("logs");
    if logs.exists() {
        fs::remove_dir_all(&logs).map_err(|e| format!("{} cannot be removed: {e}", logs.display()))?;
    }
    fs::create_dir_all(&logs).map_err(|e| format!("{} cannot be made: {e}", logs.display()))?;
    let mut skipped = Vec::new();

    progress("CPU time of a cached answer");
    let agents = cost::agents(agent, &logs.join("agent"), REQUESTS)?;
    let python = environment.map(|environment| python::start(environment, PYTHON_REQUESTS)).transpose();
    let python = python.unwrap_or_else(|why| {
        skipped.push(format!("Python: {why}"));
        None
    });
    if environment.is_none() {
        skipped.push("Python: there is no environment for it (make bench says why)".to_owned());
    }
    let floor = floor::start(REQUESTS)?;
    let variants: Vec<_> = agents.iter().chain([&floor]).chain(&python).collect();
    let mut cached = cost::measure(&variants, Kind::Cached, rounds)?;
    for cost in &cached {
        progress(&format!("  {}: {:.1} µs", cost.name, cost.cpu_us.median));
    }
    let memory = agents.iter().chain(&python).map(memory).collect();
    let python = python.and_then(|_| cached.pop());
    let floor = cached.pop().ok_or("the empty service was not measured")?;

    progress("CPU time of a full model call");
    let mut extremes: Vec<_> = agents.into_iter().filter(|agent| [OFF, ALL].contains(&agent.name)).collect();
    for variant in &mut extremes {
        variant.requests = FULL_REQUESTS;
    }
    let full = cost::measure(&extremes.iter().collect::<Vec<_>>(), Kind::Full, rounds.min(10))?;
    drop(extremes);

    progress("scrapes");
    let scrape = scrape::measure(agent, folder, SCRAPES)?;

    progress("disturbances");
    let mut disturbed = Vec::new();
    for by in Disturbance::ALL {
        match Disturbed::start(agent, &logs, by) {
            Ok(agent) => disturbed.push(agent),
            Err(why) if by == Disturbance::FullDisk => skipped.push(format!("full disk: {why}")),
            Err(why) => return Err(why),
        }
    }
    let disturbed = faults::measure(&disturbed, rounds * DISTURBED_ROUNDS)?;
    Ok(Summary { cached, full, floor, python, scrape, memory, disturbed, skipped })
}

fn memory(variant: &Variant) -> Memory {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Memory {
        name: variant.name,
        at_rest_mib: mib(variant.memory_at_rest),
        most_under_load_mib: mib(variant.server.most_memory()),
    }
}
