//! The `load-test` binary.
use std::process::ExitCode;

use load_test::{
    base,
    settings::{Cli, Command, EXIT_USAGE, fail},
    target::Error,
};
use tokio::runtime;

fn main() -> ExitCode {
    let Command::Base(settings) = Cli::parse_or_exit().command;
    // An error only says that there is one already. Clients need one even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread is enough for low traffic, and leaves the machine to what is looked at.
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => fail(1, &format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(base::run(&settings));
    // A look-up of a name that hangs must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Refused(message)) => fail(EXIT_USAGE, &message),
        Err(Error::Failed(message)) => fail(1, &message),
    }
}
