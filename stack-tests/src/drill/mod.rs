//! Drills: a fault on purpose, until people have heard of it in every way they are told, and until they have heard that it
//! is over. What a drill switches on it switches off again, whatever happens; Ctrl-C too.

mod faults;
mod inbox;
mod pipeline;
mod scenarios;
mod timeline;
mod traffic;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::stack::Stack;

pub use scenarios::{Scenario, all};
pub use timeline::Timeline;

/// How far an alert goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// To Slack and the mailbox, and back to resolved in both.
    Notified,
    /// To Slack and the mailbox. It looks back over so long that nobody waits for its end.
    NotifiedOnce,
    /// To Alertmanager, where this other alert silences it.
    Silenced(&'static str),
    /// Nowhere but Prometheus, until Alertmanager is back.
    Late,
    /// To the mailbox only, because Slack is what has failed; both hear of its end.
    NotifiedByMail,
}

/// An alert that a scenario must bring about.
pub struct Expected {
    /// Its name.
    pub alert: &'static str,
    /// Its severity, where it has several.
    pub severity: &'static str,
    /// How far it goes.
    pub seen: Seen,
}

/// A stack to drill, and how patient to be with it.
pub struct Drill {
    /// Where it is.
    pub stack: Stack,
    /// What the durations of its rules are divided by: 1, or 20 for a stack that was started with FAST=1.
    pub factor: u32,
    ended: Arc<AtomicBool>,
    timeline: Mutex<Timeline>,
}

impl Drill {
    /// A drill of `stack`, which `ended` breaks off. Finds out how fast its rules run.
    pub fn of(stack: Stack, ended: Arc<AtomicBool>) -> Result<Self, String> {
        let rules = stack.get(&format!("{}/api/v1/rules?type=alert", stack.prometheus))?;
        let groups = rules["data"]["groups"].as_array().into_iter().flatten();
        let mut rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let known =
            rules.find(|rule| rule["name"] == "HighErrorRate").ok_or("no rule HighErrorRate there")?;
        let seconds = known["duration"].as_f64().filter(|seconds| *seconds > 0.0);
        let factor = (300.0 / seconds.ok_or("HighErrorRate fires at once: unknown rules")?).round() as u32;
        Ok(Self { stack, factor, ended, timeline: Mutex::new(Timeline::start()) })
    }

    /// Why a scenario cannot be run against this stack, if so.
    pub fn obstacle(&self, scenario: &Scenario) -> Option<String> {
        if let Some(reason) = scenario.service.and_then(|service| self.stack.missing.get(service)) {
            return Some(format!("not there: {reason}"));
        }
        let services = self.stack.containers.as_ref().map(crate::containers::Containers::services);
        match (scenario.service, services) {
            (_, None) => Some("STACK_COMPOSE_PROJECT is not set".into()),
            (Some(service), Some(Ok(services))) if !services.iter().any(|known| known == service) => {
                Some(format!("no {service} in this stack"))
            }
            _ if scenario.generated && self.factor == 1 => {
                Some("it changes configuration: only on a stack of FAST=1 make up".into())
            }
            _ => None,
        }
    }

    /// A time of the real rules as it is in this stack, with what a scrape, an evaluation and a delivery may take.
    fn scaled(&self, real: Duration) -> Duration {
        real / self.factor + Duration::from_secs(90)
    }

    /// Asks `probe` until it answers.
    fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Result<T, String>,
    ) -> Result<T, String> {
        let started = Instant::now();
        loop {
            match probe() {
                Ok(value) => return Ok(value),
                Err(_) if self.ended.load(Ordering::Relaxed) => return Err(format!("{what}: broken off")),
                Err(last) if started.elapsed() >= limit => {
                    return Err(format!("{what}: not within {} s; last seen: {last}", limit.as_secs()));
                }
                Err(_) => thread::sleep(Duration::from_millis(300)),
            }
        }
    }

    fn note(&self, scenario: &str, what: &str) {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner).note(scenario, what);
    }

    /// Runs phases one after the other; in each its lanes side by side, in each lane its scenarios one after the other, the
    /// next as soon as the fault of the one before is off. Gives back the names and errors of those that failed.
    pub fn run(&self, phases: &[Vec<Vec<&Scenario>>]) -> Vec<(&'static str, String)> {
        let failed = Mutex::new(Vec::new());
        for phase in phases {
            thread::scope(|scope| {
                for lane in phase {
                    let failed = &failed;
                    scope.spawn(move || {
                        for scenario in lane {
                            let fail = move |error: String| {
                                self.note(scenario.name, &format!("FAILED: {error}"));
                                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                                failed.push((scenario.name, error));
                            };
                            match self.provoke(scenario) {
                                Ok(told) => {
                                    scope.spawn(move || {
                                        if let Err(error) = self.resolve(scenario, &told) {
                                            fail(error);
                                        }
                                    });
                                }
                                Err(error) => fail(error),
                            }
                        }
                    });
                }
            });
        }
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// From quiet to everybody told; the fault is off again.
    fn provoke(&self, scenario: &Scenario) -> Result<inbox::Mark, String> {
        if self.ended.load(Ordering::Relaxed) {
            return Err("broken off before it began".into());
        }
        for expected in scenario.alerts {
            // What another drill, or real trouble, has brought about would be taken for this one's.
            self.wait(&format!("{} quiet", expected.alert), self.scaled(scenario.ends), || {
                self.is_quiet(expected)
            })?;
        }
        let mark = inbox::Mark::set(&self.stack)?;
        self.note(scenario.name, "fault on");
        let started = Instant::now();
        // Whatever happens below, dropping it switches the fault off.
        let fault = (scenario.fault)(self)?;
        let told = traffic::during(self, scenario.traffic, || self.told(scenario, &mark, started));
        let undone = fault.off();
        self.note(scenario.name, "fault off");
        told.and(undone)?;
        if let Some(afterwards) = scenario.afterwards {
            afterwards(self, &mark)?;
        }
        Ok(mark)
    }

    fn told(&self, scenario: &Scenario, mark: &inbox::Mark, started: Instant) -> Result<(), String> {
        let limit = self.scaled(scenario.begins);
        let mut steps: Vec<_> =
            scenario.alerts.iter().map(|expected| (expected, inbox::ways(expected.seen))).collect();
        self.wait("everybody told", limit, || {
            let mut open = Vec::new();
            for (expected, ways) in &mut steps {
                ways.retain(|way| match way.firing(&self.stack, expected, mark) {
                    Ok(()) => {
                        let delay = started.elapsed().as_secs_f64();
                        self.note(scenario.name, &format!("{} {way} after {delay:.1} s", expected.alert));
                        false
                    }
                    Err(why) => {
                        open.push(format!("{} {way}: {why}", expected.alert));
                        true
                    }
                });
            }
            if open.is_empty() { Ok(()) } else { Err(open.join("; ")) }
        })
    }

    fn resolve(&self, scenario: &Scenario, mark: &inbox::Mark) -> Result<(), String> {
        let (started, limit) = (Instant::now(), self.scaled(scenario.ends));
        for expected in scenario.alerts {
            for way in inbox::ways_back(expected.seen) {
                let what = format!("{} over {way}", expected.alert);
                self.wait(&what, limit.saturating_sub(started.elapsed()), || {
                    way.resolved(&self.stack, expected, mark)
                })?;
                let delay = started.elapsed().as_secs_f64();
                self.note(scenario.name, &format!("{what} after {delay:.1} s"));
            }
        }
        Ok(())
    }

    /// Waits until people hear of what they could not be told while it began.
    fn told_late(&self, expected: &Expected, mark: &inbox::Mark) -> Result<(), String> {
        let limit = self.scaled(Duration::from_mins(10));
        for way in [inbox::Way::Slack, inbox::Way::Mail] {
            self.wait(&format!("{} {way}, late", expected.alert), limit, || {
                way.firing(&self.stack, expected, mark)
            })?;
            self.note("late", &format!("{} {way}", expected.alert));
        }
        Ok(())
    }

    fn is_quiet(&self, expected: &Expected) -> Result<(), String> {
        let firing = self.stack.promql(&inbox::firing(expected))?;
        if firing.is_empty() { Ok(()) } else { Err(format!("{} fires already", expected.alert)) }
    }
}
