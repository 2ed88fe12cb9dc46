//! `make export`: writes one component of the kit for somebody else's infrastructure.

use std::process::ExitCode;

use export::settings::Cli;

fn main() -> ExitCode {
    export::main(&command_line::parse::<Cli>())
}
