//! Drills: a fault on purpose, until people have heard of it in every way they are told, and until they have heard that it
//! is over. What a drill switches on it switches off again, whatever happens; Ctrl-C too.

mod calm;
pub(crate) mod faults;
pub(crate) mod inbox;
mod pipeline;
mod plan;
pub(crate) mod scenarios;
mod timeline;
mod traffic;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::stack::Stack;
use scenarios::Changes;

pub use plan::{NOT_DRILLED, Phase, all};
pub use scenarios::Scenario;
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
    /// To Alertmanager, where this other alert silences it. Its end is not waited for.
    SilencedOnce(&'static str),
    /// Nowhere but Prometheus, until Alertmanager is back.
    Late,
    /// To Slack and the mailbox, and back to resolved in both, from another Prometheus than the stack's.
    Elsewhere,
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
    /// With the real rules Slack must know so soon after the fault.
    pub within: Option<Duration>,
}

impl Expected {
    /// Its rules, as Prometheus has evaluated them.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn rules(&self, stack: &Stack) -> Result<Vec<Value>, String> {
        let mut rules = stack.alert_rules(self.alert)?;
        rules.retain(|rule| rule["labels"]["severity"] == self.severity);
        if rules.is_empty() {
            Err(format!("no rule {} of severity {}", self.alert, self.severity))
        } else {
            Ok(rules)
        }
    }
}

/// A scenario, and the alerts that are followed: all of its own, or the one that was named.
pub struct Run {
    /// What is broken.
    pub scenario: &'static Scenario,
    /// What is followed.
    pub alerts: Vec<&'static Expected>,
}

/// A fault that is there, and since when.
struct Broken<'d> {
    fault: faults::Fault<'d>,
    mark: inbox::Mark,
    started: Instant,
}

/// A stack to drill, and how patient to be with it.
pub struct Drill {
    /// Where it is.
    pub stack: Stack,
    /// What the durations of its rules are divided by: 1, or 20 for a stack that was started with FAST=1.
    pub factor: u32,
    /// Whether a drill ends once people have been told and the fault is off: the real rules take an hour to call some over.
    pub until_told: bool,
    ended: Arc<AtomicBool>,
    timeline: Mutex<Timeline>,
}

impl Drill {
    /// A drill of `stack`, which `ended` breaks off. Finds out how fast its rules run.
    pub fn of(stack: Stack, ended: Arc<AtomicBool>) -> Result<Self, String> {
        let known = stack.alert_rules("HighErrorRate")?;
        let known = known.first().ok_or("no rule HighErrorRate there")?;
        let seconds = known["duration"].as_f64().filter(|seconds| *seconds > 0.0);
        let factor = (300.0 / seconds.ok_or("HighErrorRate fires at once: unknown rules")?).round() as u32;
        Ok(Self { stack, factor, until_told: false, ended, timeline: Mutex::new(Timeline::start()) })
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
            _ if scenario.changes != Changes::Nothing && self.factor == 1 => {
                Some("it changes configuration: only on a stack of FAST=1 make up".into())
            }
            _ if scenario.changes == Changes::Limits => {
                let there = |expected: &&Expected| {
                    let states = inbox::states(&self.stack, expected);
                    states.is_ok_and(|states| states.iter().any(|state| state != "inactive"))
                };
                let real = scenario.alerts.iter().find(there)?;
                Some(format!("{} is there already: this machine gives reason", real.alert))
            }
            _ => None,
        }
    }

    /// A time of the real rules as it is in this stack, with what a scrape, an evaluation and a delivery may take.
    pub(crate) fn scaled(&self, real: Duration) -> Duration {
        real / self.factor + Duration::from_secs(90)
    }

    /// Asks `probe` until it answers.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Result<T, String>,
    ) -> Result<T, String> {
        let started = Instant::now();
        loop {
            match probe() {
                Ok(value) => return Ok(value),
                Err(_) if self.is_ended() => return Err(format!("{what}: broken off")),
                Err(last) if started.elapsed() >= limit => {
                    return Err(format!("{what}: not within {} s; last seen: {last}", limit.as_secs()));
                }
                Err(_) => thread::sleep(Duration::from_millis(300)),
            }
        }
    }

    pub(crate) fn note(&self, scenario: &str, what: &str) {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner).note(scenario, what);
    }

    /// Whether somebody has broken it off.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// What breaks it off.
    pub(crate) fn ended(&self) -> &Arc<AtomicBool> {
        &self.ended
    }

    /// Runs phases one after the other; in each its lanes side by side, in each lane its scenarios one after the other, the
    /// next as soon as the fault of the one before is off. Gives back the names and errors of those that failed.
    pub fn run(&self, phases: &[Phase<Run>]) -> Vec<(&'static str, String)> {
        let failed = Mutex::new(Vec::new());
        let real = inbox::open_in_slack(&self.stack).unwrap_or_default();
        thread::scope(|scope| {
            let mut lingering = Vec::new();
            for phase in phases {
                if phase.alone {
                    lingering.drain(..).for_each(end);
                    self.until_heard_out(&real);
                }
                let lanes = phase.lanes.iter();
                let lanes: Vec<_> =
                    lanes.map(|lane| scope.spawn(|| self.lane(scope, lane, &failed))).collect();
                let begun = lanes.into_iter().flat_map(|lane| lane.join().unwrap_or_default());
                let (later, now): (Vec<_>, Vec<_>) = begun.partition(|(run, _)| run.scenario.lingers);
                lingering.extend(later.into_iter().map(|(_, rest)| rest));
                for (_, rest) in now {
                    end(rest);
                }
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until Slack has the end of each alert that it has the beginning of, but for those of the machine itself. Alertmanager does
    /// not tell of an alert anew whose end it could not tell of, so an end must not fall into a time without Slack.
    fn until_heard_out(&self, real: &BTreeSet<String>) {
        let heard_out =
            self.wait("the ends of alerts in Slack", self.scaled(Duration::from_mins(30)), || {
                let open = inbox::open_in_slack(&self.stack)?;
                let left: Vec<_> = open.difference(real).cloned().collect();
                if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
            });
        if let Err(why) = heard_out {
            self.note("before", &why);
        }
    }

    /// The runs of a lane, each with what is still to be waited for.
    fn lane<'scope, 'd: 'scope>(
        &'d self,
        scope: &'scope Scope<'scope, 'd>,
        lane: &'d [Run],
        failed: &'d Failed,
    ) -> Vec<(&'d Run, ScopedJoinHandle<'scope, ()>)> {
        let outcome = move |run: &Run, result: Result<(), String>| {
            if let Err(error) = result {
                self.note(run.scenario.name, &format!("FAILED: {error}"));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push((run.scenario.name, error));
            }
        };
        let mut begun = Vec::new();
        for run in lane {
            let rest = match self.provoke(run) {
                // Nothing is left of the fault but what it did: the next need not wait.
                Ok(broken) if run.scenario.momentary => scope.spawn(move || {
                    let told = self.tell(run, broken);
                    outcome(run, told.and_then(|mark| self.resolve(run, &mark)));
                }),
                Ok(broken) => match self.tell(run, broken) {
                    Ok(mark) => scope.spawn(move || outcome(run, self.resolve(run, &mark))),
                    Err(error) => {
                        outcome(run, Err(error));
                        continue;
                    }
                },
                Err(error) => {
                    outcome(run, Err(error));
                    continue;
                }
            };
            begun.push((run, rest));
        }
        begun
    }

    /// From quiet to broken.
    fn provoke(&self, run: &Run) -> Result<Broken<'_>, String> {
        let scenario = run.scenario;
        if self.is_ended() {
            return Err("broken off before it began".into());
        }
        for expected in &run.alerts {
            // What another drill, or real trouble, has brought about would be taken for this one's.
            self.wait(&format!("{} quiet", expected.alert), self.scaled(scenario.ends), || {
                self.is_quiet(expected)
            })?;
        }
        let mark = inbox::Mark::set(&self.stack)?;
        self.note(scenario.name, if run.alerts.is_empty() { "begins" } else { "fault on" });
        let started = Instant::now();
        Ok(Broken { fault: (scenario.fault)(self)?, mark, started })
    }

    /// From broken to everybody told; the fault is off again, whatever happens.
    fn tell(&self, run: &Run, broken: Broken<'_>) -> Result<inbox::Mark, String> {
        let (scenario, mark) = (run.scenario, broken.mark);
        let told = traffic::during(self, scenario.traffic, || self.told(run, &mark, broken.started));
        let undone = broken.fault.off();
        if !run.alerts.is_empty() {
            self.note(scenario.name, "fault off");
        }
        told.and(undone)?;
        if let Some(afterwards) = scenario.afterwards {
            afterwards(self, &mark)?;
        }
        Ok(mark)
    }

    fn told(&self, run: &Run, mark: &inbox::Mark, started: Instant) -> Result<(), String> {
        let limit = self.scaled(run.scenario.begins);
        let mut steps: Vec<_> =
            run.alerts.iter().map(|expected| (*expected, inbox::ways(expected.seen))).collect();
        let mut late = Vec::new();
        self.wait("everybody told", limit, || {
            let mut open = Vec::new();
            for (expected, ways) in &mut steps {
                ways.retain(|way| match way.firing(&self.stack, expected, mark) {
                    Ok(()) => {
                        let delay = started.elapsed();
                        let what = format!("{} {way} after {:.1} s", expected.alert, delay.as_secs_f64());
                        self.note(run.scenario.name, &what);
                        late.extend(is_too_late(self.factor, expected, *way, delay).then_some(what));
                        false
                    }
                    Err(why) => {
                        let by = inbox::silenced_by(&self.stack, expected);
                        open.push(format!("{} {way}: {why}{by}", expected.alert));
                        true
                    }
                });
            }
            if open.is_empty() { Ok(()) } else { Err(open.join("; ")) }
        })?;
        if late.is_empty() { Ok(()) } else { Err(format!("too late: {}", late.join("; "))) }
    }

    fn resolve(&self, run: &Run, mark: &inbox::Mark) -> Result<(), String> {
        if self.until_told {
            return Ok(());
        }
        let (started, limit) = (Instant::now(), self.scaled(run.scenario.ends));
        for expected in &run.alerts {
            for way in inbox::ways_back(expected.seen) {
                let what = format!("{} over {way}", expected.alert);
                self.wait(&what, limit.saturating_sub(started.elapsed()), || {
                    way.resolved(&self.stack, expected, mark)
                })?;
                let delay = started.elapsed().as_secs_f64();
                self.note(run.scenario.name, &format!("{what} after {delay:.1} s"));
            }
        }
        Ok(())
    }

    /// Waits until people hear of what they could not be told while it began.
    fn told_late(&self, expected: &Expected, mark: &inbox::Mark, ways: &[inbox::Way]) -> Result<(), String> {
        let limit = self.scaled(Duration::from_mins(10));
        for way in ways {
            self.wait(&format!("{} {way}, late", expected.alert), limit, || {
                way.firing(&self.stack, expected, mark)
            })?;
            self.note("late", &format!("{} {way}", expected.alert));
        }
        Ok(())
    }

    pub(crate) fn is_quiet(&self, expected: &Expected) -> Result<(), String> {
        let fires = inbox::fires(&self.stack, expected)?;
        if fires { Err(format!("{} fires already", expected.alert)) } else { Ok(()) }
    }
}

/// Whether people had to know by then. Only the real rules promise it.
fn is_too_late(factor: u32, expected: &Expected, way: inbox::Way, delay: Duration) -> bool {
    let bound = expected.within.filter(|_| factor == 1 && matches!(way, inbox::Way::Slack));
    bound.is_some_and(|bound| delay > bound)
}

type Failed = Mutex<Vec<(&'static str, String)>>;

/// A thread that has panicked has said so; its drill's fault was switched off as it went.
fn end(rest: ScopedJoinHandle<'_, ()>) {
    let _ = rest.join();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_real_rules_promise_of_slack_is_too_late_after_that() {
        let phases = all();
        let alerts =
            phases.iter().flat_map(|phase| &phase.lanes).flatten().flat_map(|scenario| scenario.alerts);
        let alerts: Vec<_> = alerts.collect();
        let seconds = Duration::from_secs;
        for (alert, bound) in [("HighAPICost", 60), ("AgentDown", 150)] {
            let expected = alerts.iter().find(|expected| expected.alert == alert).expect("it is drilled");
            let late = |factor, way, after| is_too_late(factor, expected, way, seconds(after));
            assert!(!late(1, inbox::Way::Slack, bound), "{alert}");
            assert!(late(1, inbox::Way::Slack, bound + 1), "{alert}");
            assert!(
                !late(20, inbox::Way::Slack, bound + 1) && !late(1, inbox::Way::Mail, bound + 1),
                "{alert}"
            );
        }
    }
}
