//! The trials, by what they prove.

mod alerts;
mod answers;
mod backup;
mod dashboards;
mod drills;
mod elasticsearch;
mod faults;
mod grafana;
mod hardening;
mod input;
mod journey;
mod logs;
mod notifications;
mod runbooks;

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use crate::{stack::Stack, tools::Tool};

/// What a trial cannot do without.
enum Need {
    /// A service that may not be had everywhere.
    Service(&'static str),
    /// The right to stop and kill containers.
    Containers,
    /// Rules with durations that can be waited for.
    Fast,
    /// A program on this machine.
    Program(&'static str),
}

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    needs: &'static [Need],
    run: fn(&Stack) -> Result<(), String>,
}

impl Case {
    const fn new(name: &'static str, needs: &'static [Need], run: fn(&Stack) -> Result<(), String>) -> Self {
        Self { name, needs, run }
    }

    /// Why this case cannot run against `stack`, if so.
    fn obstacle(&self, stack: &Stack) -> Option<String> {
        self.needs.iter().find_map(|need| match need {
            Need::Service(name) => stack.missing.get(*name).map(|reason| format!("no {name}: {reason}")),
            Need::Containers => stack.containers.is_none().then(|| "STACK_COMPOSE_PROJECT is not set".into()),
            Need::Fast => (!stack.fast).then(|| "STACK_FAST is not 1".into()),
            Need::Program(name) => Tool::find(name).is_none().then(|| format!("{name} is not on the PATH")),
        })
    }
}

/// All trials for a stack; those that cannot run against it are ignored, with the reason beside their name.
pub fn all(stack: &Arc<Stack>) -> Vec<Trial> {
    // Reading before breaking: a trial that stops a container must not stand before one that counts.
    let cases = [
        journey::CASES,
        answers::CASES,
        input::CASES,
        hardening::CASES,
        dashboards::CASES,
        grafana::CASES,
        elasticsearch::CASES,
        alerts::CASES,
        notifications::CASES,
        logs::CASES,
        runbooks::CASES,
        drills::CASES,
        faults::CASES,
        backup::CASES,
    ]
    .concat();
    let trial = |case: Case| {
        let obstacle = case.obstacle(stack);
        let stack = Arc::clone(stack);
        let trial = Trial::test(case.name, move || (case.run)(&stack).map_err(Failed::from));
        match obstacle {
            Some(why) => trial.with_kind(why).with_ignored_flag(true),
            None => trial,
        }
    };
    cases.into_iter().map(trial).collect()
}

/// Puts log lines into a stack's Elasticsearch, those of Logstash's test cases: for places without a Logstash.
///
/// # Errors
/// That Elasticsearch does not take them.
pub fn have_lines(stack: &Stack) -> Result<(), String> {
    logs::have_lines(stack)
}

/// Fails with the two values unless they are equal.
#[allow(clippy::needless_pass_by_value)] // Callers compare temporaries: a reference would only add noise there.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what}: got {got:?}, wanted {wanted:?}")) }
}

/// Fails with `what` unless `holds`.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
