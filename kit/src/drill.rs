//! `make drill`: breaks a part of a running stack, waits until people have been told, and made whole again until they
//! have heard that it is over.

use std::process::ExitCode;

use clap::Parser;
use stack_tests::{
    broken_off::{self, EXIT_BROKEN_OFF},
    drill::{Drill, Phase, Run, Scenario, all},
    stack::Stack,
};

/// Brings alerts about on purpose, and follows them to Slack and the mailbox and back.
#[derive(Parser)]
#[command(name = "drill")]
pub(crate) struct Arguments {
    /// A scenario, an alert, or `all`; `list` says which there are
    #[arg(default_value = "list")]
    scenario: String,
    /// With `all`: not these
    #[arg(long, value_name = "SCENARIO")]
    skip: Vec<String>,
    /// Insist on a stack whose rules run twenty times as fast (FAST=1 make up)
    #[arg(long)]
    fast: bool,
    /// End once people have been told and the fault is off: the real rules take an hour until some alerts are over
    #[arg(long)]
    until_told: bool,
}

#[allow(clippy::print_stdout)] // It is what a drill is run for.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let phases = all();
    let scenarios = || phases.iter().flat_map(|phase| &phase.lanes).flatten();
    if arguments.scenario == "list" {
        for scenario in scenarios() {
            let alerts: Vec<_> = scenario.alerts.iter().map(|expected| expected.alert).collect();
            println!("{:<14} {}", scenario.name, alerts.join(", "));
        }
        return ExitCode::SUCCESS;
    }
    // Of a scenario all of its alerts; where one of them was named, that one.
    let run = |scenario: &'static Scenario| {
        if arguments.skip.iter().any(|name| name == scenario.name) {
            return None;
        }
        let all = arguments.scenario == "all" || scenario.name == arguments.scenario;
        let is_named = |alert: &str| all || alert == arguments.scenario;
        let alerts: Vec<_> = scenario.alerts.iter().filter(|expected| is_named(expected.alert)).collect();
        (all || !alerts.is_empty()).then_some(Run { scenario, alerts })
    };
    if let Some(name) = arguments.skip.iter().find(|name| scenarios().all(|scenario| scenario.name != *name))
    {
        let message = format!("--skip {name}: there is no such scenario: see `make drill`");
        command_line::fail::<Arguments>(command_line::EXIT_USAGE, &message);
    }
    if !scenarios().any(|scenario| run(scenario).is_some()) {
        let message = format!("there is no scenario {:?}: see `make drill`", arguments.scenario);
        command_line::fail::<Arguments>(command_line::EXIT_USAGE, &message);
    }
    // So that it can undo what it did.
    let ended = match broken_off::by_signals() {
        Ok(ended) => ended,
        Err(error) => command_line::fail::<Arguments>(1, &error),
    };
    let drill = match Drill::of(Stack::from_env(), ended) {
        Ok(mut drill) => {
            drill.until_told = arguments.until_told;
            drill
        }
        Err(error) => {
            command_line::fail::<Arguments>(1, &format!("no stack to drill (make up starts one): {error}"))
        }
    };
    if arguments.fast && drill.factor == 1 {
        command_line::fail::<Arguments>(1, "this stack runs the real rules: FAST=1 make up, then again");
    }
    let mut skipped = 0;
    let mut possible = |run: &Run| match drill.obstacle(run.scenario) {
        Some(why) => {
            println!("skipped: drill::{}: {why}", run.scenario.name);
            skipped += 1;
            false
        }
        None => true,
    };
    let mut chosen = Vec::new();
    for phase in &phases {
        let lane = |lane: &Vec<&'static Scenario>| {
            lane.iter().filter_map(|scenario| run(scenario)).filter(&mut possible).collect()
        };
        chosen.push(Phase { lanes: phase.lanes.iter().map(lane).collect(), alone: phase.alone });
    }
    let count = chosen.iter().flat_map(|phase| &phase.lanes).flatten().count();
    println!("{count} scenarios on a stack whose durations are divided by {}", drill.factor);
    let failed = drill.run(&chosen);
    for (scenario, why) in &failed {
        println!("FAILED: drill::{scenario}: {why}");
    }
    println!("{} passed, {} failed, {skipped} skipped", count - failed.len().min(count), failed.len());
    match () {
        () if drill.is_ended() => ExitCode::from(EXIT_BROKEN_OFF),
        () if failed.is_empty() => ExitCode::SUCCESS,
        () => ExitCode::FAILURE,
    }
}
