//! The `load-test` binary.
use std::process::ExitCode;

use command_line::{EXIT_USAGE, fail};
use load_test::{
    base, run,
    settings::{Cli, Command},
    target::Error,
};
use tokio::runtime;

/// The exit code of a run that broke one of its limits.
const EXIT_BROKEN: u8 = 2;

fn main() -> ExitCode {
    let command = command_line::parse::<Cli>().command;
    // One thread is enough for some thousand requests a second, and leaves the machine to what is looked at.
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => fail::<Cli>(1, &format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(async {
        match &command {
            Command::Base(settings) => base::run(settings).await.map(|()| true),
            Command::Run(settings) => run::run(settings).await,
        }
    });
    // A look-up of a name that hangs must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => EXIT_BROKEN.into(),
        Err(Error::Refused(message)) => fail::<Cli>(EXIT_USAGE, &message),
        Err(Error::Failed(message)) => fail::<Cli>(1, &message),
    }
}
