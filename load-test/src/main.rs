//! The `load-test` binary.
use std::process::ExitCode;

use command_line::{EXIT_USAGE, fail};
use load_test::{
    base,
    settings::{Cli, Command},
    target::Error,
};
use tokio::runtime;

fn main() -> ExitCode {
    let Command::Base(settings) = command_line::parse::<Cli>().command;
    // An error only says that there is one already. Clients need one even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread is enough for low traffic, and leaves the machine to what is looked at.
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => fail::<Cli>(1, &format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(base::run(&settings));
    // A look-up of a name that hangs must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Refused(message)) => fail::<Cli>(EXIT_USAGE, &message),
        Err(Error::Failed(message)) => fail::<Cli>(1, &message),
    }
}
