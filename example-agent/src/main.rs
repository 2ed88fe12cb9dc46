//! Thin entry point: settings, telemetry, server, flush.
use std::{
    pin::pin,
    process::ExitCode,
    time::{Duration, Instant},
};

use command_line::{EXIT_USAGE, fail, http};
use example_agent::{
    App, evaluate, healthcheck,
    server::Server,
    settings::{Cli, Command, Evaluation, Settings},
    telemetry::Telemetry,
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

/// Lines and spans are many small pieces of memory: with the system's allocator they cost a fifth more CPU time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for what is wrong with the machine rather than with the settings.
const EXIT_FAILURE: u8 = 1;
/// The exit code of an evaluation whose accuracy is too low.
const EXIT_INACCURATE: u8 = 2;
/// How soon a repeated evaluation tries again after the agent or the Pushgateway could not be reached.
const EVALUATE_RETRY: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let Cli { command, settings } = Cli::parse_or_exit();
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => fail::<Cli>(EXIT_FAILURE, &format!("cannot start the async runtime: {e}")),
    };
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve(&settings, &runtime),
        Command::Evaluate(evaluation) => runtime.block_on(evaluate(&evaluation)),
        Command::Healthcheck => {
            if let Err(e) = runtime.block_on(healthcheck(settings.admin_addr)) {
                fail::<Cli>(EXIT_FAILURE, &e);
            }
        }
    }
    // Whatever still runs in the background ends with the process.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

fn serve(settings: &Settings, runtime: &Runtime) {
    let telemetry = match Telemetry::start(settings) {
        Ok(telemetry) => telemetry,
        Err(e) => fail::<Cli>(EXIT_FAILURE, &format!("cannot start telemetry: {}", http::chain(&*e))),
    };
    log_panics();
    let stop = |code, message: &str| -> ! { fail::<Cli>(code, message) };
    let app = App::new(settings, telemetry.handles.clone()).unwrap_or_else(|e| stop(EXIT_USAGE, &e));
    let deadline = runtime.block_on(async {
        let end = end_signal();
        let server = Server::bind(settings, app).await.unwrap_or_else(|e| stop(EXIT_FAILURE, &e.to_string()));
        if let (Ok(api), Ok(admin)) = (server.api_addr(), server.admin_addr()) {
            tracing::info!(api = %api, admin = %admin, provider = %settings.llm_base_url, "listening");
        }
        server.run(end).await
    });
    // The runtime goes on: a second signal must be able to end a flush that takes long.
    telemetry.flush(deadline.max(Instant::now() + Duration::from_millis(100)));
}

#[expect(
    clippy::print_stdout,
    reason = "the result, for whoever typed the command or reads the job's output"
)]
async fn evaluate(settings: &Evaluation) {
    let golden = settings.golden().unwrap_or_else(|e| fail::<Cli>(EXIT_USAGE, &e));
    if let Some(every) = settings.every {
        let mut end = pin!(end_signal());
        loop {
            let run = async {
                let wait = match evaluate_once(settings, &golden).await {
                    Ok(accuracy) => {
                        println!("{accuracy}");
                        every
                    }
                    Err(e) => {
                        let wait = every.min(EVALUATE_RETRY);
                        println!("{e}; trying again in {} s", wait.as_secs());
                        wait
                    }
                };
                tokio::time::sleep(wait).await;
            };
            tokio::select! {
                () = &mut end => return,
                () = run => {}
            }
        }
    }
    let accuracy = evaluate_once(settings, &golden).await.unwrap_or_else(|e| fail::<Cli>(EXIT_FAILURE, &e));
    println!("{accuracy}");
    let (ratio, least) = (accuracy.ratio(), settings.min_accuracy);
    if ratio < least {
        fail::<Cli>(EXIT_INACCURATE, &format!("the accuracy {ratio} is below AGENT_MIN_ACCURACY {least}"));
    }
}

/// Asks the questions and pushes the result. The error is one line.
async fn evaluate_once(
    settings: &Evaluation,
    golden: &evaluate::Golden,
) -> Result<evaluate::Accuracy, String> {
    let accuracy = evaluate::ask(&settings.url, golden).await?;
    if let Some(gateway) = &settings.pushgateway_url {
        evaluate::push(gateway, &settings.job, &accuracy).await?;
    }
    Ok(accuracy)
}

/// Listens for SIGTERM and SIGINT from now on; the future waits for one. A second one ends the process at once.
fn end_signal() -> impl Future<Output = ()> {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        fail::<Cli>(EXIT_FAILURE, "cannot listen for signals");
    };
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            let signal = tokio::select! {
                _ = terminate.recv() => 15,
                _ = interrupt.recv() => 2,
            };
            fail::<Cli>(128 + signal, "ended by a second signal: what was not flushed is lost");
        });
    }
}

/// A panic is a line of the log like any other error, not loose text between the lines.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map_or_else(String::new, ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(panic_message = message, panic_location = at, "panic");
    }));
}
