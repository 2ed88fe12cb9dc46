//! The user's verbs, as one program: `make drill`, `make chaos`, `make panels` and `make export` run it in a container
//! (setup/kit.sh), `KIT_NATIVE=1` without one.

mod chaos;
mod drill;
mod panels;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack_tests::broken_off;

/// The verbs of the Agent Observability Kit that need a running stack, or a clone of the kit
#[derive(Parser)]
#[command(name = "kit", version)]
struct Kit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Drill(drill::Arguments),
    Chaos(chaos::Arguments),
    Panels(panels::Arguments),
    Export(Box<export::settings::Cli>),
}

fn main() -> ExitCode {
    let kit = command_line::parse::<Kit>();
    command_line::http::install_cryptography();
    match kit.verb {
        Verb::Drill(arguments) => drill::run(&arguments),
        Verb::Chaos(arguments) => chaos::run(&arguments),
        Verb::Panels(arguments) => panels::run(&arguments),
        Verb::Export(cli) => {
            broken_off::at_once();
            export::main(&cli)
        }
    }
}
