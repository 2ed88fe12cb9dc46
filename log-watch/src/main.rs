//! The `log-watch` binary: `serve`, `story` and `healthcheck`.
use std::process::ExitCode;

use log_watch::{
    healthcheck, serve,
    settings::{Cli, Command},
    story,
};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let command = command_line::parse::<Cli>().command;
    let outcome = Runtime::new().map_err(|e| format!("cannot start the runtime: {e}")).and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::Serve(settings) => serve::run(&settings).await,
                Command::Story(settings) => story::print(&settings).await,
                Command::Healthcheck { url } => healthcheck::run(&url).await,
            }
        })
    });
    outcome.map_or_else(|message| command_line::fail::<Cli>(1, &message), |()| ExitCode::SUCCESS)
}
