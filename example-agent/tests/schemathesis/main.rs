//! The agent's `OpenAPI` document in the hands of a fuzzer that is not ours. Installed by `setup/schemathesis.sh`; listed as
//! ignored where it is not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here, and says where")]
use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    thread,
};

use libtest_mimic::{Arguments, Failed, Trial, run};
use serde_json::Value;
use simulators::{
    llm::trace::Tracing,
    settings::{Llm, Telemetry},
};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let program = installed();
    let missing = program.is_none();
    let trial = Trial::test("schemathesis_finds_nothing", move || fuzz(&program.unwrap()));
    run(&Arguments::from_args(), vec![trial.with_ignored_flag(missing)]).exit_code()
}

/// Where `setup/schemathesis.sh` puts it, or the one of `SCHEMATHESIS`.
fn installed() -> Option<PathBuf> {
    let cache = env::var_os("AGENT_KIT_CACHE").map(PathBuf::from).or_else(|| {
        let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")))?;
        Some(base.join("agent-observability-kit"))
    });
    let program = env::var_os("SCHEMATHESIS").map(PathBuf::from);
    program.or_else(|| Some(cache?.join("schemathesis/bin/schemathesis"))).filter(|program| program.is_file())
}

fn fuzz(program: &Path) -> Result<(), Failed> {
    let runtime = Runtime::new()?;
    let llm = runtime.block_on(provider());
    // The real binary: without its logs and traces an answer has no trace id.
    let mut agent = Command::new(env!("CARGO_BIN_EXE_example-agent"))
        .args(["--api-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--llm-base-url", &llm])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let outcome =
        listening(&mut agent).and_then(|api| run_program(program, &format!("http://{api}/openapi.json")));
    agent.kill()?;
    agent.wait()?;
    outcome
}

/// A provider without waiting times, and always with the same luck; its base URL.
async fn provider() -> String {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = socket.local_addr().unwrap();
    let telemetry = Telemetry { otlp_endpoint: None, service_name: "test".to_owned() };
    let settings = Llm { listen, time_scale: 0.0, seed: Some(1), telemetry };
    let routes = simulators::llm::router(&settings, Arc::new(Tracing::new(None, "test").unwrap()));
    tokio::spawn(async { axum::serve(socket, routes).await });
    format!("http://{listen}/v1")
}

/// The address that its first lines name. What it prints is read on, or it would have to drop lines.
fn listening(agent: &mut Child) -> Result<String, Failed> {
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line: Value = serde_json::from_str(&line?)?;
        if line["msg"] == "listening" {
            let api = line["api"].as_str().ok_or("it does not say where it listens")?.to_owned();
            thread::spawn(move || lines.for_each(drop));
            return Ok(api);
        }
    }
    Err("the agent has ended".into())
}

fn run_program(program: &Path, url: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    // The same requests again, or others each time.
    let seed = std::env::var("FUZZ_SEED").ok().map(|seed| ["--seed".to_owned(), seed]);
    let ended = Command::new(program)
        .args(["run", url, "--checks", "all", "--max-examples", "50", "--no-color"])
        .args(seed.iter().flatten())
        // It writes a report and a cache of examples where it runs.
        .current_dir(folder.path())
        .env("NO_PROXY", "127.0.0.1")
        .output()?;
    if ended.status.success() {
        Ok(())
    } else {
        let (out, errors) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        Err(format!("{}\n{out}\n{errors}", ended.status).into())
    }
}
