//! `bench capacity`: how much the agent holds on a machine that it shares with whoever asks it, and how what it takes grows.
mod generator;
mod growth;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::Serialize;
use serde_json::{Value, json};

pub use self::{
    generator::{Generator, Measured},
    growth::{AtRate, AtTenants, Prometheus},
};
use crate::{
    http::{Connection, post, response},
    load::Kind,
    process::{Server, free_ports},
    report::{Bound, bounds_text, machine},
    servers::{Collector, constant, provider},
};

/// Requests a second that are tried one after the other, until one is too much.
const LADDER: [u32; 8] = [25, 50, 100, 200, 400, 800, 1600, 3200];
/// How long each is held.
const STEP: &str = "15s";
/// What a rate must keep: the threshold of the alert `SlowRequests`, and what `HighErrorRate` would soon call an error.
const P95: &str = "2s";
const ERRORS: &str = "1%";
/// The waiting time that all generators must see alike.
const KNOWN: Duration = Duration::from_millis(20);

/// The programs that take part, besides the agent.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The agent.
    pub agent: PathBuf,
    /// The simulators.
    pub simulators: PathBuf,
    /// The load test.
    pub load_test: PathBuf,
    /// Prometheus, where there is one.
    pub prometheus: Option<PathBuf>,
    /// wrk, where there is one.
    pub wrk: Option<PathBuf>,
}

/// What a generator reaches, with 8 callers.
#[derive(Clone, Debug, Serialize)]
pub struct Reached {
    /// Which generator.
    pub generator: &'static str,
    /// A server that waits 20 ms and gives a ready answer: here all must measure the same.
    pub known: Measured,
    /// The same server without waiting: the generator's own ceiling.
    pub ceiling: Measured,
    /// The agent, everything on, answering from its cache.
    pub cached: Measured,
    /// The agent, everything on, asking a model that takes no time.
    pub full: Measured,
}

/// A rate that was tried, with the simulated model's ordinary waiting times.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// Requests a second.
    pub rate: u32,
    /// Share of the questions that no cache knows.
    pub fresh: &'static str,
    /// 95 of 100 answers came within, in milliseconds.
    pub p95_ms: f64,
    /// What was due and not answered, in percent.
    pub unanswered_percent: f64,
    /// Whether both limits were kept.
    pub kept: bool,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    /// By generator.
    pub reached: Vec<Reached>,
    /// By rate, for each share of fresh questions.
    pub tried: Vec<Tried>,
    /// By rate of requests.
    pub rates: Vec<AtRate>,
    /// By number of tenants.
    pub tenants: Vec<AtTenants>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}

/// Measures; `progress` is told what comes next.
pub fn run(programs: &Programs, folder: &Path, mut progress: impl FnMut(&str)) -> Result<Capacity, String> {
    let mut skipped = Vec::new();
    let mut generators = vec![Generator::Bench, Generator::LoadTest(programs.load_test.clone())];
    match &programs.wrk {
        Some(wrk) => generators.push(Generator::Wrk(wrk.clone())),
        None => skipped.push(
            "wrk: it is not installed, so load-test is compared with nothing that is not ours".to_owned(),
        ),
    }
    if programs.prometheus.is_none() {
        skipped.push("Prometheus: make setup has not found one".to_owned());
    }
    progress("what each generator reaches");
    let reached = reach(programs, &generators, folder, &mut progress)?;
    progress("rates with the model's ordinary waiting times");
    let mut tried = Vec::new();
    for fresh in ["20%", "100%"] {
        tried.extend(climb(programs, fresh, folder, &mut progress)?);
    }
    progress("growth with requests");
    let rates = growth::by_rate(&programs.agent, folder, &mut progress)?;
    progress("growth with tenants");
    let tenants = growth::by_tenants(&programs.agent, folder, programs.prometheus.as_deref(), &mut progress)?;
    Ok(Capacity { reached, tried, rates, tenants, skipped })
}

fn reach(
    programs: &Programs,
    generators: &[Generator],
    folder: &Path,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Reached>, String> {
    let collector = Collector::start().map_err(|e| format!("no collector: {e}"))?;
    let llm = provider().map_err(|e| format!("no provider: {e}"))?;
    let logs = folder.join("capacity-logs");
    fs::create_dir_all(&logs).map_err(|e| format!("{} cannot be made: {e}", logs.display()))?;
    let agent = growth::everything(&programs.agent, &logs, &collector, llm)?;
    // A real answer, so that each generator reads as much as it would of the agent.
    let question = post("/v1/query", r#"{"tenant_id":"globex","query":"Why was it slow?"}"#);
    let answer = Connection::to(agent.api, KNOWN * 100).and_then(|mut connection| connection.ask(&question));
    let answer = answer.map_err(|e| format!("the agent does not answer: {e}"))?;
    let ready = response("200 OK", "application/json", &String::from_utf8_lossy(&answer.body));
    let server = |after| constant(&ready, after).map_err(|e| format!("no server to compare with: {e}"));
    let (known, nothing) = (server(KNOWN)?, server(Duration::ZERO)?);
    let mut all = Vec::new();
    for generator in generators {
        let ask = |api, kind| generator.ask(api, kind, folder);
        let reached = Reached {
            generator: generator.name(),
            known: ask(known, Kind::Cached)?,
            ceiling: ask(nothing, Kind::Cached)?,
            cached: ask(agent.api, Kind::Cached)?,
            full: ask(agent.api, Kind::Full)?,
        };
        progress(&format!(
            "  {}: {:.0} cached answers a second",
            reached.generator, reached.cached.per_second
        ));
        all.push(reached);
    }
    agent.stop()?;
    let _ = fs::remove_dir_all(&logs);
    Ok(all)
}

fn climb(
    programs: &Programs,
    fresh: &'static str,
    folder: &Path,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Tried>, String> {
    let [address] = free_ports().map_err(|e| format!("no free port: {e}"))?;
    let mut command = Command::new(&programs.simulators);
    command.args(["llm", "--listen", &address.to_string(), "--seed", "1"]);
    let _llm = Server::start(command, [address, address])?;
    let collector = Collector::start().map_err(|e| format!("no collector: {e}"))?;
    let logs = folder.join("capacity-logs");
    fs::create_dir_all(&logs).map_err(|e| format!("{} cannot be made: {e}", logs.display()))?;
    let agent = growth::everything(&programs.agent, &logs, &collector, format!("http://{address}/v1"))?;
    let mut all = Vec::new();
    for rate in LADDER {
        let flags = [
            "--rate",
            &rate.to_string(),
            "--duration",
            STEP,
            "--fresh",
            fresh,
            "--p95",
            P95,
            "--errors",
            ERRORS,
        ];
        let (kept, report) = generator::load_test(&programs.load_test, agent.api, &flags, folder)?;
        let of = |name: &str| {
            report["limits"]
                .as_array()
                .and_then(|limits| limits.iter().find(|limit| limit["limit"] == name)?["was"].as_f64())
        };
        let (Some(p95_ms), Some(unanswered)) = (of("p95 ms"), of("not answered")) else {
            return Err(format!("load-test's report lacks its limits: {report}"));
        };
        progress(&format!(
            "  {rate} a second, {fresh} fresh: P95 {p95_ms:.0} ms, {:.2} % not answered",
            unanswered * 100.0
        ));
        all.push(Tried { rate, fresh, p95_ms, unanswered_percent: unanswered * 100.0, kept });
        if !kept {
            break;
        }
    }
    agent.stop()?;
    let _ = fs::remove_dir_all(&logs);
    Ok(all)
}

impl Capacity {
    fn reached(&self, generator: &str) -> Option<&Reached> {
        self.reached.iter().find(|reached| reached.generator == generator)
    }

    /// The highest rate that kept its limits, for a share of fresh questions.
    pub fn sustained(&self, fresh: &str) -> u32 {
        self.tried
            .iter()
            .filter(|tried| tried.kept && tried.fresh == fresh)
            .map(|tried| tried.rate)
            .max()
            .unwrap_or(0)
    }

    /// `load-test` must measure what wrk measures, where neither is the limit; and the agent must hold something.
    pub fn bounds(&self) -> Vec<Bound> {
        let mut bounds = vec![Bound::at_least(
            "requests a second held, 20 % fresh",
            f64::from(self.sustained("20%")),
            100.0,
        )];
        if let (Some(ours), Some(wrk)) = (self.reached("load-test"), self.reached("wrk")) {
            let (a, b) = (ours.known, wrk.known);
            let fewer = (1.0 - a.per_second / b.per_second).abs() * 100.0;
            bounds.push(Bound::at_most("answers a second, load-test and wrk apart, %", fewer, 10.0));
            // Eight answers come at once, and its one thread takes a sixth of a millisecond for each.
            let later = (a.p50_ms.unwrap_or(f64::NAN) - b.p50_ms.unwrap_or(f64::NAN)).abs();
            bounds.push(Bound::at_most(
                "half of the answers within, load-test and wrk apart, ms",
                later,
                2.0,
            ));
        }
        bounds
    }

    /// For `capacity.json`.
    pub fn to_json(&self) -> Value {
        json!({ "machine": machine(), "measured": self, "bounds": self.bounds() })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "\nOn {}, shared with whoever asks.\n\n{:<12} {:>18} {:>18} {:>18} {:>18} {:>8}\n",
            machine(),
            "8 callers",
            "20 ms, ready",
            "at once, ready",
            "cached",
            "model at once",
            "ceiling"
        );
        for Reached { generator, known, ceiling, cached, full } in &self.reached {
            let cell = |Measured { per_second, p50_ms }: &Measured| match p50_ms {
                Some(p50) => format!("{per_second:.0}/s {p50:.2} ms"),
                None => format!("{per_second:.0}/s"),
            };
            let share = cached.per_second / ceiling.per_second;
            let _ = writeln!(
                text,
                "{generator:<12} {:>18} {:>18} {:>18} {:>18} {share:>8.2}",
                cell(known),
                cell(ceiling),
                cell(cached),
                cell(full)
            );
        }
        let _ = writeln!(text, "\n{:<10} {:>8} {:>10} {:>16}", "rate", "fresh", "P95 ms", "not answered %");
        for Tried { rate, fresh, p95_ms, unanswered_percent, kept } in &self.tried {
            let verdict = if *kept { "" } else { "  too much" };
            let _ =
                writeln!(text, "{rate:<10} {fresh:>8} {p95_ms:>10.0} {unanswered_percent:>16.2}{verdict}");
        }
        let _ = writeln!(
            text,
            "\n{:<10} {:>12} {:>12} {:>8} {:>12} {:>8}   a request, all asking the model",
            "rate", "CPU ms", "memory MiB", "lines", "log bytes", "spans"
        );
        for AtRate { rate, cpu_ms, memory_mib, lines, log_bytes, spans } in &self.rates {
            let _ = writeln!(
                text,
                "{rate:<10} {cpu_ms:>12.3} {memory_mib:>12.1} {lines:>8.2} {log_bytes:>12.0} {spans:>8.2}"
            );
        }
        let _ = writeln!(
            text,
            "\n{:<10} {:>8} {:>12} {:>12} {:>12} {:>16} {:>16}",
            "tenants", "series", "scrape KiB", "its CPU ms", "memory MiB", "Prometheus MiB", "its CPU ms"
        );
        for AtTenants { tenants, series, scrape_kib, scrape_cpu_ms, memory_mib, prometheus } in &self.tenants
        {
            let _ = write!(
                text,
                "{tenants:<10} {series:>8} {scrape_kib:>12.0} {scrape_cpu_ms:>12.1} {memory_mib:>12.1}"
            );
            if let Some(Prometheus { memory_mib, scrape_cpu_ms, .. }) = prometheus {
                let _ = write!(text, " {memory_mib:>16.1} {scrape_cpu_ms:>16.1}");
            }
            text.push('\n');
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "skipped: {skipped}");
        }
        text + &bounds_text(&self.bounds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(generator: &'static str, per_second: f64, p50: f64) -> Reached {
        let measured = Measured { per_second, p50_ms: Some(p50) };
        Reached { generator, known: measured, ceiling: measured, cached: measured, full: measured }
    }

    #[test]
    fn a_load_test_that_measures_something_else_breaks_a_bound() {
        let tried = |rate, kept| Tried { rate, fresh: "20%", p95_ms: 1.0, unanswered_percent: 0.0, kept };
        let mut capacity = Capacity {
            reached: vec![reached("load-test", 396.0, 20.2), reached("wrk", 394.0, 20.1)],
            tried: vec![tried(100, true), tried(200, true), tried(400, false)],
            rates: Vec::new(),
            tenants: Vec::new(),
            skipped: Vec::new(),
        };
        assert_eq!((capacity.sustained("20%"), capacity.sustained("100%")), (200, 0));
        assert!(capacity.bounds().iter().all(|bound| bound.kept), "{:?}", capacity.bounds());
        capacity.reached[0] = reached("load-test", 350.0, 22.5);
        let broken = capacity.bounds().iter().filter(|bound| !bound.kept).count();
        assert_eq!(broken, 2, "{:?}", capacity.bounds());
    }
}
