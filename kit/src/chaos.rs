//! `make chaos`: breaks the parts of a running stack one after the other, under load, and prints as a table what the users saw, what
//! was lost, who was told and how long it took until all was well.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use stack_tests::{
    broken_off::{self, EXIT_BROKEN_OFF},
    chaos::{
        Chaos,
        plan::{self, Kind},
        table,
    },
    drill::Drill,
    stack::Stack,
};

/// Breaks the parts of a stack under load, and counts what is lost.
#[derive(Parser)]
#[command(name = "chaos")]
pub(crate) struct Arguments {
    /// `run`, or `list` for what there is
    #[arg(default_value = "run", value_parser = ["run", "list"])]
    verb: String,
    /// Only what befalls this: a service, or log-disk, caller, stack
    #[arg(long)]
    service: Option<String>,
    /// Only this: kill, pause, slow, partition, full, skew, restart, upgrade
    #[arg(long)]
    fault: Option<Kind>,
    /// The short form: what says most in its time
    #[arg(long)]
    quick: bool,
    /// What an upgrade begins with: a commit, a branch or a tag [default: the newest tag, or the commit before]
    #[arg(long)]
    reference: Option<String>,
    /// Folder for chaos.json [default: no file]
    #[arg(long)]
    report: Option<PathBuf>,
}

#[allow(clippy::print_stdout)] // It is what the suite is run for.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let cases = if arguments.quick { plan::quick() } else { plan::all() };
    let cases = plan::chosen(cases, arguments.fault, arguments.service.as_deref());
    if cases.is_empty() {
        let message = "there is no such fault of such a service: see `make chaos LIST=1`";
        command_line::fail::<Arguments>(command_line::EXIT_USAGE, message);
    }
    if arguments.verb == "list" {
        for case in cases {
            println!("{}", case.id());
        }
        return ExitCode::SUCCESS;
    }
    // So that it can undo what it did.
    let ended = broken_off::by_signals().unwrap_or_else(|error| fail(&error));
    let drill = Drill::of(Stack::from_env(), ended)
        .unwrap_or_else(|error| fail(&format!("no stack to break (make up starts one): {error}")));
    let (mut chosen, mut skipped) = (Vec::new(), 0);
    for case in cases {
        match Chaos::obstacle(&drill.stack, &case) {
            Some(why) => {
                println!("skipped: {}: {why}", case.id());
                skipped += 1;
            }
            None => chosen.push(case),
        }
    }
    println!("{} faults on a stack whose durations are divided by {}", chosen.len(), drill.factor);
    let rows = match Chaos::begin(&drill) {
        Ok(mut chaos) => {
            chaos.reference.clone_from(&arguments.reference);
            chaos.run(&chosen)
        }
        Err(error) => fail(&format!("the stack is not well before any fault: {error}")),
    };
    println!("\n{}\n{}", table::text(&rows), table::LEGEND);
    if let Some(folder) = &arguments.report
        && let Err(error) = write(folder, &rows)
    {
        fail(&error);
    }
    let failures = rows.iter().filter_map(|row| row.failure().map(|why| (&row.name, why)));
    for (name, why) in failures {
        println!("FAILED: {name}: {why}");
    }
    let failed = rows.iter().filter(|row| !row.is_kept()).count();
    println!("{} passed, {failed} failed, {skipped} skipped", rows.len() - failed);
    match () {
        () if drill.is_ended() => ExitCode::from(EXIT_BROKEN_OFF),
        () if failed == 0 => ExitCode::SUCCESS,
        () => ExitCode::FAILURE,
    }
}

fn fail(error: &str) -> ! {
    command_line::fail::<Arguments>(1, error)
}

fn write(folder: &Path, rows: &[table::Row]) -> Result<(), String> {
    let path = folder.join("chaos.json");
    let text = serde_json::to_string_pretty(&table::to_json(rows)).unwrap_or_default() + "\n";
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
    written.map_err(|e| format!("{} cannot be written: {e}", path.display()))
}
