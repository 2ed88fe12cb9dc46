//! Writes a copy of `prometheus/` or `alertmanager/` in which everything takes a fraction of its time.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use stack_tests::scale;

/// What the shell's `sysexits` call a wrong use of a command.
const EX_USAGE: u8 = 64;

/// Copies a Prometheus or Alertmanager folder with all durations divided by a factor.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What durations are divided by.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    factor: u32,
    /// The folder to copy.
    from: PathBuf,
    /// Where to: made if it is not there; files of the same name are overwritten.
    to: PathBuf,
}

#[allow(clippy::print_stderr)] // One line on failure is this program's whole interface.
fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) if matches!(help.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => help.exit(),
        Err(error) => {
            // What is wrong comes before the empty line, the usage after it.
            let message = error.to_string();
            let what = message.split("\n\n").next().unwrap_or_default();
            eprintln!("scale-durations: {}", what.split_whitespace().collect::<Vec<_>>().join(" "));
            return ExitCode::from(EX_USAGE);
        }
    };
    match scale::folder(&arguments.from, &arguments.to, arguments.factor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale-durations: {error}");
            ExitCode::FAILURE
        }
    }
}
