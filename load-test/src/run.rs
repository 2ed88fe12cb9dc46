//! A load test. In an open model requests are due at times of their own, and latency counts from then: an agent that stalls
//! is as slow as those have it who would have come meanwhile. In a closed model a number of callers wait for their answers.
use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use rand::RngExt as _;
use tokio::{
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};

use crate::{
    arrivals::Arrivals,
    client::{Agent, Outcome},
    ending::Ending,
    profile::Profile,
    questions::{Mix, TENANTS},
    report::say,
    settings::Run,
    summary::{Limits, Summary},
    target::Error,
};

/// How long requests that wait for their answers get after Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);

/// Runs to the end, or to SIGINT or SIGTERM, prints what came of it, and tells whether all limits were kept.
pub async fn run(settings: &Run) -> Result<bool, Error> {
    let mut ending = Ending::listen()?;
    let agent = Agent::at(&settings.url, settings.timeout, settings.allow_any_host).await?;
    let profile = match &settings.stages {
        Some(stages) => Profile::of(settings.rate, stages.clone()),
        None => Profile::constant(settings.rate, settings.duration),
    };
    let what = match settings.callers {
        Some(callers) => format!("{callers} callers for {:?}", settings.duration),
        None if settings.stages.is_some() => format!("from {} requests a second on", settings.rate),
        None => format!("{} requests a second for {:?}", settings.rate, settings.duration),
    };
    say(format_args!("load on {}: {what}", settings.url));
    let mut load = Load::new(settings, agent, profile.time());
    let broken_off = {
        let mut sending = pin!(async {
            match settings.callers {
                Some(callers) => load.closed(settings, callers).await,
                None => load.open(settings, &profile).await,
            }
        });
        tokio::select! {
            () = &mut sending => false,
            _ = ending.signal() => true,
        }
    };
    let waited = if broken_off { GRACE } else { settings.timeout + GRACE };
    tokio::select! {
        _ = time::timeout(waited, load.drain()) => {}
        _ = ending.signal() => {}
    }
    let left = load.in_flight.len() as u64;
    load.summary.ended(load.started.elapsed(), left, broken_off);
    let limits = Limits { p50: settings.p50, p95: settings.p95, p99: settings.p99, errors: settings.errors };
    say(format_args!("end\n{}", load.summary.to_text(&limits)));
    if let Some(folder) = &settings.report {
        load.summary.write(folder, &limits, SystemTime::now()).map_err(Error::Failed)?;
        say(format_args!("{0}/load.html and {0}/load.json", folder.display()));
    }
    Ok(load.summary.keeps(&limits))
}

/// A request that has ended.
struct Ended {
    /// Its place in [`TENANTS`].
    tenant: usize,
    /// When it was due, from the start.
    due: Duration,
    latency: Duration,
    outcome: Outcome,
}

struct Load {
    agent: Agent,
    mix: Mix,
    seed: u64,
    left: u64,
    started: Instant,
    in_flight: JoinSet<Ended>,
    summary: Summary,
}

impl Load {
    fn new(settings: &Run, agent: Agent, time: Duration) -> Self {
        let seed = settings.seed.unwrap_or_else(|| rand::rng().random());
        Self {
            agent,
            mix: Mix::new(seed, settings.fresh),
            seed,
            left: settings.requests.unwrap_or(u64::MAX),
            started: Instant::now(),
            in_flight: JoinSet::new(),
            summary: Summary::new(time),
        }
    }

    /// Sends what is due when it is due.
    async fn open(&mut self, settings: &Run, profile: &Profile) {
        let arrivals = Arrivals::new(settings.pattern, 1.0, self.seed);
        let mut progress = ticks(settings.progress);
        for due in arrivals.map_while(|at| profile.due(at.as_secs_f64())) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let wanted = self.started + due;
            while Instant::now() < wanted {
                tokio::select! {
                    () = time::sleep_until(wanted) => {}
                    _ = progress.tick() => self.tell(),
                    Some(ended) = self.in_flight.join_next() => self.count(ended.ok()),
                }
            }
            // What has ended meanwhile, or behind schedule nothing would be counted, and nothing more be sent.
            while let Some(ended) = self.in_flight.try_join_next() {
                self.count(ended.ok());
            }
            let Some((tenant, query)) = self.mix.next() else { return };
            if self.in_flight.len() >= usize::from(settings.max_in_flight) {
                self.summary.skipped(tenant, due);
            } else {
                self.send(tenant, query, due, Duration::ZERO);
                // Behind schedule, too, the answers must be read.
                tokio::task::yield_now().await;
            }
        }
        // A rate that ends at 0 may have its last request long before its end.
        while self.started.elapsed() < profile.time() && !self.in_flight.is_empty() {
            tokio::select! {
                _ = progress.tick() => self.tell(),
                Some(ended) = self.in_flight.join_next() => self.count(ended.ok()),
            }
        }
    }

    /// Has callers ask one question after the other.
    async fn closed(&mut self, settings: &Run, callers: u16) {
        let end = self.started + settings.duration;
        let think = settings.think.unwrap_or_default();
        let mut progress = ticks(settings.progress);
        let ask = |load: &mut Self, think| {
            if load.left == 0 || Instant::now() + think >= end {
                return;
            }
            load.left -= 1;
            if let Some((tenant, query)) = load.mix.next() {
                load.send(tenant, query, load.started.elapsed() + think, think);
            }
        };
        for _ in 0..callers {
            ask(self, Duration::ZERO);
        }
        while !self.in_flight.is_empty() {
            tokio::select! {
                _ = progress.tick() => self.tell(),
                Some(ended) = self.in_flight.join_next() => {
                    self.count(ended.ok());
                    ask(self, think);
                }
            }
        }
    }

    fn send(&mut self, tenant: usize, query: String, due: Duration, wait: Duration) {
        self.summary.sent(tenant, due);
        let (agent, from) = (self.agent.clone(), self.started + due);
        self.in_flight.spawn(async move {
            time::sleep(wait).await;
            let outcome = agent.ask(TENANTS[tenant].0, &query, false).await;
            Ended { tenant, due, latency: from.elapsed(), outcome }
        });
    }

    /// Waits for what is on its way.
    async fn drain(&mut self) {
        while let Some(ended) = self.in_flight.join_next().await {
            self.count(ended.ok());
        }
    }

    fn count(&mut self, ended: Option<Ended>) {
        // A request that panicked would be a bug of the client: it is missing among the answers, and so seen.
        if let Some(Ended { tenant, due, latency, outcome }) = ended {
            self.summary.ended_one(tenant, due, &outcome, latency);
        }
    }

    fn tell(&mut self) {
        let (after, in_flight) = (self.started.elapsed().as_secs(), self.in_flight.len());
        say(format_args!("{after} s: {}, {in_flight} in flight", self.summary.take_recent()));
    }
}

fn ticks(every: Duration) -> time::Interval {
    let mut ticks = time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
