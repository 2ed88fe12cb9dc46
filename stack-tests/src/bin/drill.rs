//! `make drill`: breaks a part of a running stack, waits until people have been told, and made whole again until they
//! have heard that it is over.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;
use stack_tests::{
    drill::{Drill, Scenario, all},
    stack::Stack,
};

/// Brings alerts about on purpose, and follows them to Slack and the mailbox and back.
#[derive(Parser)]
#[command(name = "drill", version)]
struct Arguments {
    /// A scenario, an alert, or `all`; `list` says which there are
    #[arg(default_value = "list")]
    scenario: String,
    /// Insist on a stack whose rules run twenty times as fast (FAST=1 make up)
    #[arg(long)]
    fast: bool,
}

#[allow(clippy::print_stdout)] // It is what a drill is run for.
fn main() -> ExitCode {
    let arguments = command_line::parse::<Arguments>();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let phases = all();
    let scenarios = || phases.iter().flatten().flatten();
    if arguments.scenario == "list" {
        for scenario in scenarios() {
            let alerts: Vec<_> = scenario.alerts.iter().map(|expected| expected.alert).collect();
            println!("{:<14} {}", scenario.name, alerts.join(", "));
        }
        return ExitCode::SUCCESS;
    }
    let is_named = |scenario: &Scenario| {
        arguments.scenario == "all"
            || scenario.name == arguments.scenario
            || scenario.alerts.iter().any(|expected| expected.alert == arguments.scenario)
    };
    if !scenarios().any(|scenario| is_named(scenario)) {
        let message = format!("there is no scenario {:?}: see `make drill`", arguments.scenario);
        command_line::fail::<Arguments>(command_line::EXIT_USAGE, &message);
    }
    let ended = Arc::new(AtomicBool::new(false));
    end_on_signals(&ended);
    let drill = match Drill::of(Stack::from_env(), ended) {
        Ok(drill) => drill,
        Err(error) => command_line::fail::<Arguments>(1, &format!("no stack to drill: {error}")),
    };
    if arguments.fast && drill.factor == 1 {
        command_line::fail::<Arguments>(1, "this stack runs the real rules: FAST=1 make up, then again");
    }
    let mut skipped = 0;
    let chosen: Vec<Vec<Vec<&Scenario>>> = phases
        .iter()
        .map(|lanes| {
            let lane = |lane: &Vec<&'static Scenario>| {
                let named = lane.iter().copied().filter(|scenario| is_named(scenario));
                named
                    .filter(|scenario| match drill.obstacle(scenario) {
                        Some(why) => {
                            println!("skipped: drill::{}: {why}", scenario.name);
                            skipped += 1;
                            false
                        }
                        None => true,
                    })
                    .collect()
            };
            lanes.iter().map(lane).collect()
        })
        .collect();
    let count = chosen.iter().flatten().flatten().count();
    println!("{count} scenarios on a stack whose durations are divided by {}", drill.factor);
    let failed = drill.run(&chosen);
    println!("{} passed, {} failed, {skipped} skipped", count - failed.len().min(count), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ctrl-C and SIGTERM break the drill off, so that it can undo what it did; a second one ends it at once.
fn end_on_signals(ended: &Arc<AtomicBool>) {
    let ended = Arc::clone(ended);
    let result = ctrlc::set_handler(move || {
        if ended.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    if let Err(error) = result {
        command_line::fail::<Arguments>(1, &format!("cannot listen for signals: {error}"));
    }
}
