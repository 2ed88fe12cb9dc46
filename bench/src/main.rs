//! The `bench` binary.
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use bench::{
    capacity::{self, Programs},
    floor,
    report::{self, Bound},
    run,
    settings::{Cli, Command},
    soak,
};
use command_line::fail;

/// The agent's: for what it is compared with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a run in which a bound was broken.
const EXIT_BROKEN: u8 = 2;

#[expect(clippy::print_stdout, reason = "the result, for whoever typed the command")]
fn main() -> ExitCode {
    let Cli { command, places } = command_line::parse::<Cli>();
    let begun = Instant::now();
    let progress = |what: &str| {
        println!("[{:3.0}s] {what}", begun.elapsed().as_secs_f64());
    };
    if let Err(e) = std::fs::create_dir_all(&places.folder) {
        fail::<Cli>(1, &format!("{} cannot be made: {e}", places.folder.display()));
    }
    let outcome = match command {
        Command::Run { rounds, python } => {
            run::run(&places.agent, &places.folder, python.as_deref(), rounds.into(), progress)
                .map(|summary| (summary.to_text(), summary.to_json(), summary.bounds(), "summary.json"))
        }
        Command::Floor { address } => {
            let Err(e) = floor::serve(address) else { return ExitCode::SUCCESS };
            fail::<Cli>(1, &format!("cannot serve on {address}: {e}"))
        }
        Command::Soak { time } => {
            progress(&format!("a load of {time:?}"));
            soak::run(&places.agent, time.max(Duration::from_secs(30)), progress)
                .map(|soak| (soak.to_text(), soak.to_json(), soak.bounds(), "soak.json"))
        }
        Command::Capacity { simulators, load_test, prometheus, wrk } => {
            let programs = Programs { agent: places.agent, simulators, load_test, prometheus, wrk };
            capacity::run(&programs, &places.folder, progress)
                .map(|held| (held.to_text(), held.to_json(), held.bounds(), "capacity.json"))
        }
    };
    let (text, json, bounds, file) = outcome.unwrap_or_else(|e| fail::<Cli>(1, &e));
    let file = places.folder.join(file);
    println!("{text}\n{}: {:.0} s", file.display(), begun.elapsed().as_secs_f64());
    report::write(&file, &json).unwrap_or_else(|e| fail::<Cli>(1, &e));
    if bounds.iter().all(|Bound { kept, .. }| *kept) { ExitCode::SUCCESS } else { EXIT_BROKEN.into() }
}
