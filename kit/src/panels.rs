//! Asks every query of every dashboard, and prints what came back. Fails where something is wrong.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use stack_tests::{
    broken_off,
    dashboards::{
        ask::{Asking, sources},
        load,
        walk::{Manner, absent, all_well, counts, table, walk},
    },
    stack::{Stack, repository},
    trials,
};

/// Walks through all panels, variables and annotations of the dashboards, against the stack that the environment names.
#[derive(Parser)]
#[command(name = "panels")]
pub(crate) struct Arguments {
    /// Where the dashboards are [default: grafana/dashboards of the kit]
    #[arg(long)]
    dashboards: Option<PathBuf>,
    /// How far back to look, such as 1h; without it, as far as each dashboard does when it is opened
    #[arg(long, value_parser = humantime::parse_duration)]
    last: Option<Duration>,
    /// The drills have run: no panel may be empty, those neither that say when it is right
    #[arg(long)]
    after_drills: bool,
    /// While something is wrong, walk again for so long: what is recorded once a minute may not be there yet, and a machine that is
    /// busy answers late
    #[arg(long, value_parser = humantime::parse_duration, default_value = "0s")]
    patience: Duration,
    /// Ask through Grafana instead of the data sources themselves
    #[arg(long)]
    grafana: bool,
    /// Put the lines of Logstash's test cases into Elasticsearch first: for places without a Logstash
    #[arg(long)]
    load_lines: bool,
}

#[allow(clippy::print_stdout)] // It is what it is run for.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    broken_off::at_once();
    let dashboards = arguments.dashboards.clone().unwrap_or_else(|| repository().join("grafana/dashboards"));
    let stack = Stack::from_env();
    let prepared = if arguments.load_lines { trials::have_lines(&stack) } else { Ok(()) };
    let walked = prepared.and_then(|()| Ok((load(&dashboards)?, absent(&stack)?)));
    let (dashboards, absent) = match walked {
        Ok(found) => found,
        Err(error) => command_line::fail::<Arguments>(1, &error),
    };
    let asking = Asking::of(&stack, sources(&str::to_owned), arguments.grafana);
    let manner = Manner { last: arguments.last, drilled: arguments.after_drills };
    let begun = Instant::now();
    let mut asked = walk(&asking, &dashboards, manner, &absent);
    while all_well(&asked).is_err() && begun.elapsed() < arguments.patience {
        asked = walk(&asking, &dashboards, manner, &absent);
    }
    println!("{}\n{}", table(&asked), counts(&asked));
    if all_well(&asked).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
