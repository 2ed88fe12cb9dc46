//! The `simulators` binary: `llm`, `slack` and `healthcheck`.
use std::{io, process::ExitCode, sync::Arc, time::Duration};

use simulators::{
    healthcheck,
    llm::{self, trace::Tracing},
    serve,
    settings::{Cli, Command, Telemetry},
    slack,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tracing_subscriber::filter::LevelFilter;

/// How long the spans that are left may take to export at the end.
const FLUSH: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let command = command_line::parse::<Cli>().command;
    let outcome = match command {
        Command::Healthcheck { url } => healthcheck::run(url),
        Command::Llm(settings) => run_llm(&settings),
        Command::Slack(settings) => logged(|runtime| {
            runtime.block_on(async {
                let listener = serve::bind(settings.listen).await?;
                serve::until_signal(listener, slack::router(&settings)).await
            })
        }),
    };
    outcome.map_or_else(|message| command_line::fail::<Cli>(1, &message), |()| ExitCode::SUCCESS)
}

fn run_llm(settings: &simulators::settings::Llm) -> Result<(), String> {
    let Telemetry { otlp_endpoint, service_name } = &settings.telemetry;
    // Made and ended outside the runtime: the exporter's HTTP client is a blocking one.
    let tracing = Arc::new(Tracing::new(otlp_endpoint.as_ref(), service_name)?);
    let outcome = logged(|runtime| {
        runtime.block_on(async {
            let listener: TcpListener = serve::bind(settings.listen).await?;
            serve::until_signal(listener, llm::router(settings, Arc::clone(&tracing))).await
        })
    });
    tracing.shutdown(FLUSH);
    outcome
}

/// Runs a server with a log on standard output that drops lines rather than wait for a reader.
fn logged(run: impl FnOnce(&Runtime) -> Result<(), String>) -> Result<(), String> {
    let (writer, _flush_at_end) = tracing_appender::non_blocking(io::stdout());
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        .with_target(false)
        .with_writer(writer)
        .init();
    let runtime = Runtime::new().map_err(|e| format!("cannot start the runtime: {e}"))?;
    let outcome = run(&runtime);
    // What still waits for its caller, a hanging completion say, ends here.
    runtime.shutdown_background();
    outcome
}
