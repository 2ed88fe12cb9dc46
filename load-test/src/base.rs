//! The stack's base traffic: low and steady, so that no dashboard is empty. It outlives the agent.
use std::{mem, pin::pin, time::Duration};

use rand::RngExt as _;
use tokio::{
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};

use crate::{
    arrivals::Arrivals,
    client::{Agent, Failure, Outcome},
    ending::Ending,
    questions::Questions,
    report::{Tally, say},
    settings::Base,
    target::Error,
};

/// A request that is due for longer, because the machine slept, say, is skipped: catching up would be a spike.
const LATE: Duration = Duration::from_secs(5);

/// How long requests that wait for their answers get after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

/// Sends traffic until SIGTERM or SIGINT, or until the settings' bounds.
pub async fn run(settings: &Base) -> Result<(), Error> {
    let mut ending = Ending::listen()?;
    let agent = Agent::at(&settings.url, settings.timeout, settings.allow_any_host).await?;
    let mut traffic = Traffic::new(agent, usize::from(settings.max_in_flight));
    say(format_args!("base traffic to {}: {} requests a second", settings.url, settings.rate));
    let signal = {
        let mut sending = pin!(traffic.send(settings));
        tokio::select! {
            () = &mut sending => None,
            signal = ending.signal() => Some(signal),
        }
    };
    // At its own end, a run waits for its answers, and each of them comes or times out; a signal still ends it sooner.
    let waited = if signal.is_some() { GRACE } else { settings.timeout + GRACE };
    tokio::select! {
        // Time is what bounds this; whoever is left is counted below.
        _ = time::timeout(waited, traffic.drain()) => {}
        _ = ending.signal() => {}
    }
    let left = traffic.in_flight.len();
    let reason = signal.unwrap_or("done");
    say(format_args!("end ({reason}): {}, {left} without an answer yet", traffic.total));
    Ok(())
}

/// A request that has ended.
struct Ended {
    outcome: Outcome,
    /// From when it was due.
    latency: Duration,
}

/// Requests on their way, and what came of the others.
struct Traffic {
    agent: Agent,
    max_in_flight: usize,
    in_flight: JoinSet<Ended>,
    /// Since the last line.
    recent: Tally,
    total: Tally,
    /// Since when the agent cannot be reached, if so.
    unreachable_since: Option<Instant>,
}

impl Traffic {
    fn new(agent: Agent, max_in_flight: usize) -> Self {
        Self {
            agent,
            max_in_flight,
            in_flight: JoinSet::new(),
            recent: Tally::default(),
            total: Tally::default(),
            unreachable_since: None,
        }
    }

    /// Sends requests when they are due, whatever becomes of them, until the settings' bounds.
    async fn send(&mut self, settings: &Base) {
        let seed = settings.seed.unwrap_or_else(|| rand::rng().random());
        let requests =
            settings.requests.map_or(usize::MAX, |requests| usize::try_from(requests).unwrap_or(usize::MAX));
        let duration = settings.duration.unwrap_or(Duration::MAX);
        let schedule = Arrivals::new(settings.pattern, settings.rate, seed)
            .take_while(|due| *due < duration)
            .zip(Questions::new(seed))
            .take(requests);
        let start = Instant::now();
        let mut progress = time::interval_at(start + settings.progress, settings.progress);
        progress.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for (due, question) in schedule {
            let due = start + due;
            loop {
                tokio::select! {
                    () = time::sleep_until(due) => break,
                    _ = progress.tick() => {
                        let in_flight = self.in_flight.len();
                        say(format_args!("{}, {in_flight} in flight", mem::take(&mut self.recent)));
                    }
                    Some(ended) = self.in_flight.join_next() => self.count(ended.ok()),
                }
            }
            if due.elapsed() > LATE || self.in_flight.len() >= self.max_in_flight {
                self.recent.skipped();
                self.total.skipped();
                continue;
            }
            self.recent.sent();
            self.total.sent();
            let agent = self.agent.clone();
            self.in_flight.spawn(async move {
                let outcome = agent.ask(question.tenant_id, question.query, true).await;
                Ended { outcome, latency: due.elapsed() }
            });
        }
    }

    /// Waits for what is on its way.
    async fn drain(&mut self) {
        while let Some(ended) = self.in_flight.join_next().await {
            self.count(ended.ok());
        }
    }

    fn count(&mut self, ended: Option<Ended>) {
        // A request that panicked would be a bug of the client: an error like others.
        let Ended { outcome, latency } =
            ended.unwrap_or(Ended { outcome: Outcome::Failed(Failure::Unreadable), latency: Duration::ZERO });
        self.recent.ended(&outcome, latency);
        self.total.ended(&outcome, latency);
        // Said once at each change: an agent that is down for a day must not fill the log.
        match (outcome, self.unreachable_since) {
            (Outcome::Unreachable(cause), None) => {
                say(format_args!("the agent cannot be reached ({cause}); trying on at the same rate"));
                self.unreachable_since = Some(Instant::now());
            }
            (Outcome::Answered { .. } | Outcome::Rejected, Some(since)) => {
                say(format_args!("the agent answers again after {} s", since.elapsed().as_secs()));
                self.unreachable_since = None;
            }
            _ => {}
        }
    }
}
