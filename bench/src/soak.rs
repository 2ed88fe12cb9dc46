//! A long load while what the agent reports to comes and goes: its memory must stay, no request may wait, and what is
//! lost must be counted, to the last line and span.
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    load::{Kind, Load},
    process::Server,
    servers::{Collector, Health, provider},
    statistics::Spread,
};

/// Requests a second whose answers are in the cache, and such that ask the model.
const RATES: [(Kind, f64); 2] = [(Kind::Cached, 450.0), (Kind::Full, 50.0)];
const CONNECTIONS: u64 = 4;
/// What memory is measured after.
const STEP: Duration = Duration::from_secs(1);
/// How long all is well, under the same load, before memory is compared: what outages have filled is empty again, and what
/// is held then is held for good. The second half of it counts.
const RECOVERY_STEPS: usize = 20;
/// Not in step with collector and reader, so that each state of them is told of.
const PROGRESS_STEPS: usize = 47;
/// How long the collector stays as it is, and how long the reader of standard output reads or does not: they meet in
/// every combination.
const COLLECTOR_STEPS: usize = 13;
const READER_STEPS: usize = 29;
/// Memory may still grow for so long: buffers, the cache.
const WARM_UP: Duration = Duration::from_mins(5);
/// How long it may take until all is told, once everything is well again.
const SETTLE: Duration = Duration::from_mins(1);
const QUIET: Duration = Duration::from_secs(3);
const CALIBRATION: u64 = 40;
/// What the short form asks of that: tests run an agent that is not optimised.
const SHORT: f64 = 0.1;
/// Nothing takes longer to show.
const MOST_STEPS: usize = 60;

/// What was sent, and what became of it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Account {
    /// So many the requests make.
    pub made: u64,
    /// So many arrived.
    pub arrived: u64,
    /// So many the agent counts as lost.
    pub counted_as_lost: u64,
}

impl Account {
    /// Those of which nobody knows. What the process says besides, and what arrived though the agent gave it up, makes
    /// up for none.
    pub fn unaccounted(&self) -> u64 {
        self.made.saturating_sub(self.arrived + self.counted_as_lost)
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Soak {
    /// How long it took.
    pub minutes: f64,
    /// Questions that were asked, and answered.
    pub requests: u64,
    /// The longest that one took, in milliseconds.
    pub longest_ms: f64,
    /// Memory after the warm-up, while all is well, in MiB.
    pub memory_before_mib: Spread,
    /// The same at the end.
    pub memory_after_mib: Spread,
    /// The most at any time, in MiB: with all queues full.
    pub most_memory_mib: f64,
    /// Lines of requests on standard output.
    pub lines: Account,
    /// Spans.
    pub spans: Account,
}

impl Soak {
    /// How much the memory has grown since the warm-up, in MiB.
    pub fn growth_mib(&self) -> f64 {
        self.memory_after_mib.median - self.memory_before_mib.median
    }
}

/// Loads an agent for so long, of which a sixth, and at most five minutes, is for warming up.
pub fn run(binary: &Path, time: Duration, mut progress: impl FnMut(&str)) -> Result<Soak, String> {
    let warm_up = WARM_UP.min(time / 6);
    let mut watched = Watched::start(binary, 1.0)?;
    let steps = time.as_secs() as usize;
    let mut before = None;
    for step in 0..steps {
        if step == warm_up.as_secs() as usize {
            before = Some(watched.recover()?);
        }
        let health = Health::ALL[step / COLLECTOR_STEPS % Health::ALL.len()];
        let stalled = step / READER_STEPS % 2 == 1;
        watched.collector.set(health);
        watched.agent.output.stall(stalled);
        watched.load()?;
        if step % PROGRESS_STEPS == 0 {
            let reader = if stalled { "stalled" } else { "reading" };
            let mib = watched.memory();
            progress(&format!("{step} s of {steps}: {mib:.1} MiB, collector {health:?}, reader {reader}"));
        }
    }
    let after = watched.recover()?;
    let most_memory_mib = watched.agent.most_memory() as f64 / f64::from(1 << 20);
    let (lines, spans) = watched.settle()?;
    Ok(Soak {
        minutes: time.as_secs_f64() / 60.0,
        requests: watched.asked.iter().sum(),
        longest_ms: watched.longest.as_secs_f64() * 1e3,
        memory_before_mib: before.unwrap_or_default(),
        memory_after_mib: after,
        most_memory_mib,
        lines,
        spans,
    })
}

/// The same by conditions: the collector stays as it is until that has shown. What became of lines and spans.
pub fn short(binary: &Path) -> Result<(Account, Account), String> {
    let mut watched = Watched::start(binary, SHORT)?;
    for (number, health) in Health::ALL.into_iter().enumerate() {
        watched.collector.set(health);
        watched.agent.output.stall(number % 2 == 1);
        let before = watched.sums()?;
        let mut steps = 0;
        loop {
            watched.load()?;
            let now = watched.sums()?;
            let shown = match health {
                Health::Up | Health::Slow => now.arrived[SPANS] > before.arrived[SPANS],
                Health::Refusing | Health::Hanging | Health::Gone => now.lost[SPANS] > before.lost[SPANS],
            };
            if shown {
                break;
            }
            steps += 1;
            if steps > MOST_STEPS {
                return Err(format!("a collector that is {health:?} does not show in {before:?} {now:?}"));
            }
        }
    }
    watched.settle()
}

/// An agent, what it reports to, and what it was asked.
struct Watched {
    agent: Server,
    collector: Collector,
    /// Lines and spans of a request, by kind.
    made_by_each: [[u64; 2]; RATES.len()],
    begun: Sums,
    asked: [u64; RATES.len()],
    longest: Duration,
    /// Of the rates.
    share: f64,
}

const LINES: usize = 0;
const SPANS: usize = 1;

/// Lines and spans so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    arrived: [u64; 2],
    lost: [u64; 2],
}

impl Watched {
    fn start(binary: &Path, share: f64) -> Result<Self, String> {
        let failed = |e| format!("cannot start the agent's surroundings: {e}");
        let collector = Collector::start().map_err(failed)?;
        let settings = [
            ("AGENT_LLM_BASE_URL", provider().map_err(failed)?),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
            // Full within minutes, and yet those questions stay in it that are asked again and again.
            ("AGENT_CACHE_MAX_BYTES", (4 << 20).to_string()),
            ("AGENT_CACHE_TTL", "1day".to_owned()),
        ];
        let mut watched = Self {
            agent: Server::agent(binary, &settings)?,
            collector,
            made_by_each: Default::default(),
            begun: Sums::default(),
            asked: Default::default(),
            longest: Duration::ZERO,
            share,
        };
        watched.made_by_each = watched.calibrate()?;
        watched.begun = watched.sums()?;
        Ok(watched)
    }

    fn sums(&self) -> Result<Sums, String> {
        let lost =
            |name| self.agent.metric(name).map(|lost| lost as u64).map_err(|e| format!("no metrics: {e}"));
        // Lost ones first: what is under way meanwhile is then missing, and not there twice.
        let lost = [lost("agent_log_lines_dropped_total")?, lost("agent_spans_dropped_total")?];
        Ok(Sums { lost, arrived: [self.agent.output.lines(), self.collector.spans()] })
    }

    /// Asks questions of each kind for a step's time.
    fn load(&mut self) -> Result<(), String> {
        let (api, share) = (self.agent.api, self.share);
        let loads: Result<Vec<_>, String> = thread::scope(|scope| {
            let start = |(kind, rate)| {
                scope.spawn(move || Load { api, kind, connections: CONNECTIONS }.at(rate * share, STEP))
            };
            let loads = RATES.map(start);
            let died = |_| Err("the load has died".to_owned());
            loads.into_iter().map(|load| load.join().unwrap_or_else(died)).collect()
        });
        for (times, asked) in loads?.into_iter().zip(&mut self.asked) {
            self.longest = times.iter().copied().fold(self.longest, Duration::max);
            *asked += times.len() as u64;
        }
        Ok(())
    }

    /// Memory it holds, in MiB.
    fn memory(&self) -> f64 {
        self.agent.memory() as f64 / f64::from(1 << 20)
    }

    /// Makes everything well and goes on asking: the memory then, in MiB.
    fn recover(&mut self) -> Result<Spread, String> {
        self.collector.set(Health::Up);
        self.agent.output.stall(false);
        let mut memory = Vec::with_capacity(RECOVERY_STEPS);
        for _ in 0..RECOVERY_STEPS {
            self.load()?;
            memory.push(self.memory());
        }
        Ok(Spread::of(memory.split_off(RECOVERY_STEPS / 2)))
    }

    /// Makes everything well, and waits until all is told.
    fn settle(&self) -> Result<(Account, Account), String> {
        self.collector.set(Health::Up);
        self.agent.output.stall(false);
        let ended = Instant::now();
        loop {
            let now = self.sums()?;
            let account = |which: usize| Account {
                made: self.asked.iter().zip(self.made_by_each).map(|(asked, made)| asked * made[which]).sum(),
                arrived: now.arrived[which] - self.begun.arrived[which],
                counted_as_lost: now.lost[which] - self.begun.lost[which],
            };
            let (lines, spans) = (account(LINES), account(SPANS));
            if lines.unaccounted() + spans.unaccounted() == 0 || ended.elapsed() > SETTLE {
                return Ok((lines, spans));
            }
            thread::sleep(STEP);
        }
    }

    /// Lines and spans that a request of each kind makes, while nothing is lost.
    fn calibrate(&self) -> Result<[[u64; 2]; 2], String> {
        let ask = |kind| {
            let load = Load { api: self.agent.api, kind, connections: CONNECTIONS };
            load.as_fast_as_answered(CALIBRATION)?;
            self.quiet()
        };
        // Puts the known questions into the cache.
        let mut before = ask(Kind::Cached)?;
        let mut counts = [[0; 2]; 2];
        for (count, (kind, _)) in counts.iter_mut().zip(RATES) {
            let after = ask(kind)?;
            for (which, count) in count.iter_mut().enumerate() {
                let made = after.arrived[which] - before.arrived[which];
                if made == 0 || made % CALIBRATION != 0 || after.lost != before.lost {
                    return Err(format!(
                        "{CALIBRATION} requests make {before:?} {after:?}: not the same each"
                    ));
                }
                *count = made / CALIBRATION;
            }
            before = after;
        }
        Ok(counts)
    }

    /// Waits until nothing arrives any more.
    fn quiet(&self) -> Result<Sums, String> {
        let mut before = self.sums()?;
        loop {
            thread::sleep(QUIET);
            let now = self.sums()?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
    }
}
