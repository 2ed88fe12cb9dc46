//! Writes a copy of `prometheus/` or `alertmanager/` in which everything takes a fraction of its time.

use std::path::PathBuf;

use clap::Parser;
use scale_durations::folder;

/// Copies a Prometheus or Alertmanager folder with all durations divided by a factor.
#[derive(Parser)]
#[command(name = "scale-durations", version)]
struct Arguments {
    /// What durations are divided by.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    factor: u32,
    /// The folder to copy.
    from: PathBuf,
    /// Where to: made if it is not there; files of the same name are overwritten.
    to: PathBuf,
}

fn main() {
    let arguments = command_line::parse::<Arguments>();
    if let Err(error) = folder(&arguments.from, &arguments.to, arguments.factor) {
        command_line::fail::<Arguments>(1, &error.to_string());
    }
}
