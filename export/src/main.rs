//! `make export`: writes one component of the kit for somebody else's infrastructure.

use std::{io, process::ExitCode};

use command_line::EXIT_USAGE;
use export::{Failure, settings::Cli};

fn main() -> ExitCode {
    let cli = command_line::parse::<Cli>();
    match export::run(&cli, &mut io::stdout().lock()) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(Failure::Usage(why)) => command_line::fail::<Cli>(EXIT_USAGE, &why),
        Err(Failure::Other(why)) => command_line::fail::<Cli>(1, &why),
    }
}
