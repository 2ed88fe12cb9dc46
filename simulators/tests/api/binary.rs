//! The binary as a process: settings, health check, the end.
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::json;

use super::client;

fn simulators() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulators"));
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("SIMULATOR_") || name.starts_with("OTEL_"))
    {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running simulator and its address.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    base: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains("listening")).unwrap();
        let address = line.split("address=").nth(1).unwrap().trim();
        let base = format!("http://{address}");
        Self { child, lines, base }
    }

    /// Ends it as an orchestrator would; what it logged meanwhile.
    fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        let lines = self.lines.by_ref().map(Result::unwrap).collect();
        (self.child.wait().unwrap().code(), lines)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must not leave it behind; an error says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn bad_settings_end_with_one_line_and_64() {
    for (args, variable, said) in [
        (&["llm", "--listen", "here"][..], None, "here"),
        (&["llm", "--time-scale=-1"], None, "SIMULATOR_LLM_TIME_SCALE"),
        (&["llm"], Some(("SIMULATOR_LLM_SEED", "many")), "many"),
        (&["llm"], Some(("OTEL_EXPORTER_OTLP_ENDPOINT", "jaeger:4318")), "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (&["slack", "--rate", "0"], None, "above 0"),
        (&["slack", "--burst", "0"], None, "--burst"),
        (&["discord"], None, "discord"),
        (&[], None, "subcommand"),
        (&["healthcheck", "--url", "localhost"], None, "localhost"),
    ] {
        let mut command = simulators();
        command.args(args);
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let Output { status, stderr, .. } = command.output().unwrap();
        let stderr = text(&stderr);
        assert_eq!(status.code(), Some(64), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_request_does_not_hold_up_the_end() {
    // Nobody listens on the discard port: spans that cannot be exported must not matter either.
    let mut command = simulators();
    command.args(["llm", "--listen", "127.0.0.1:0", "--time-scale", "0"]);
    // Set but empty counts as unset.
    command.env("SIMULATOR_LLM_SEED", "").env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let running = tokio::task::spawn_blocking(move || Running::start(&mut command)).await.unwrap();
    let base = running.base.clone();
    let completions = format!("{base}/v1/chat/completions");
    let question = json!({"model": "sim-small", "messages": [{"role": "user", "content": "hi"}]});
    let answered = client().post(&completions).json(&question).send().await.unwrap();
    assert_eq!(answered.status(), 200);
    client().put(format!("{base}/faults")).body(r#"{"hang_ratio": 1}"#).send().await.unwrap();
    // Written whole before the other end is asked to go; what follows on the connection is never answered.
    let hanging = tokio::spawn(client().post(&completions).json(&question).send());
    let health = format!("{base}/healthz");
    let healthy = simulators().args(["healthcheck", "--url", &health]).status().unwrap();
    assert!(healthy.success());
    let (code, lines) = tokio::task::spawn_blocking(move || running.terminate()).await.unwrap();
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("completion") && line.contains("answered")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("ended")), "{lines:?}");
    assert!(hanging.await.unwrap().is_err());

    let Output { status, stderr, .. } =
        simulators().args(["healthcheck", "--url", &health]).output().unwrap();
    assert_eq!((status.code(), text(&stderr).lines().count()), (Some(1), 1));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let Output { status, stderr, .. } = simulators().args(["slack", "--listen", &address]).output().unwrap();
    let stderr = text(&stderr);
    assert_eq!((status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}
