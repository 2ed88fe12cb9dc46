//! `load-test base` as a process, against agents that answer, refuse, hang or are not there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
mod helpers;

use std::{
    io::{BufRead as _, BufReader, Lines},
    net::Ipv4Addr,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::helpers::{are_refused, load_test, output, serve};

/// Plays an agent and keeps what it was asked.
#[derive(Clone)]
struct Agent {
    asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    status: StatusCode,
}

async fn query(State(agent): State<Agent>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut asked = agent.asked.lock().unwrap();
    asked.push((headers, body));
    let answer = json!({
        "request_id": "r", "answer": "because", "model": "sim-small", "tokens": 5, "cost_usd": 0.1,
        "cached": asked.len() > 10,
    });
    (agent.status, Json(answer)).into_response()
}

async fn hang() {
    std::future::pending::<()>().await;
}

async fn agent(status: StatusCode) -> (String, Agent) {
    let agent = Agent { asked: Arc::default(), status };
    let router = Router::new().route("/v1/query", post(query)).with_state(agent.clone());
    (serve(router).await, agent)
}

/// An address at which nobody listens until somebody does with this socket: one that were only free could be another test's.
fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

/// Runs to the end; all it said.
async fn run(args: &[&str]) -> Vec<String> {
    let output = output(load_test("base", args)).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn questions_arrive_with_tenant_and_a_trace_of_their_own() {
    let (url, agent) = agent(StatusCode::OK).await;
    let lines = run(&["--url", &url, "--rate", "500", "--requests", "50", "--seed", "7"]).await;
    assert!(
        lines
            .last()
            .unwrap()
            .contains("end (done): sent 50, ok 50, errors 0, rejected 0, skipped 0, cached 80 %")
    );
    let asked = agent.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 50);
    let mut traces = std::collections::HashSet::new();
    for (headers, body) in &asked {
        let traceparent = headers["traceparent"].to_str().unwrap();
        let parts: Vec<_> = traceparent.split('-').collect();
        let [version, trace_id, span_id, flags] = parts[..] else { panic!("{traceparent}") };
        assert_eq!((version, trace_id.len(), span_id.len(), flags), ("00", 32, 16, "01"), "{traceparent}");
        assert!(traces.insert(trace_id.to_owned()), "a trace id came twice");
        assert!(
            load_test::questions::TENANTS.iter().any(|(tenant, _)| body["tenant_id"] == *tenant),
            "{body}"
        );
        assert!(!body["query"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_seed_repeats_what_is_asked() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (url, agent) = agent(StatusCode::OK).await;
        run(&["--url", &url, "--rate", "500", "--requests", "30", "--seed", "7"]).await;
        // They overlap on their way, so their order may differ.
        let mut bodies: Vec<_> =
            agent.asked.lock().unwrap().iter().map(|(_, body)| body.to_string()).collect();
        bodies.sort();
        runs.push(bodies);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn what_the_agent_refuses_or_fails_is_told_apart() {
    for (status, expected) in [
        (StatusCode::BAD_REQUEST, "sent 10, ok 0, errors 0, rejected 10, skipped 0"),
        (StatusCode::TOO_MANY_REQUESTS, "sent 10, ok 0, errors 0, rejected 10, skipped 0"),
        (StatusCode::BAD_GATEWAY, "sent 10, ok 0, errors 10, rejected 0, skipped 0"),
        (StatusCode::FOUND, "sent 10, ok 0, errors 10, rejected 0, skipped 0"),
    ] {
        let (url, _agent) = agent(status).await;
        let lines = run(&["--url", &url, "--rate", "500", "--requests", "10"]).await;
        assert!(lines.last().unwrap().contains(expected), "{status}: {lines:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let url = serve(Router::new().route("/v1/query", post(|| async { "It works!" }))).await;
    let lines = run(&["--url", &url, "--rate", "500", "--requests", "5"]).await;
    assert!(lines.last().unwrap().contains("ok 0, errors 5"), "{lines:?}");
}

#[tokio::test]
async fn an_agent_that_hangs_holds_up_nothing_and_only_so_many() {
    let url = serve(Router::new().route("/v1/query", post(hang))).await;
    // In flight longer than the run of arrivals takes.
    let args = ["--rate", "500", "--requests", "40", "--max-in-flight", "5", "--timeout", "3s"];
    let lines = run(&[&["--url", &url][..], &args].concat()).await;
    let expected = "sent 5, ok 0, errors 5, rejected 0, skipped 35, 0 without an answer yet";
    assert!(lines.last().unwrap().contains(expected), "{lines:?}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_told_once() {
    let (_socket, url) = nobody();
    let lines = run(&["--url", &url, "--rate", "500", "--requests", "20"]).await;
    assert_eq!(lines.iter().filter(|line| line.contains("cannot be reached")).count(), 1, "{lines:?}");
    assert!(lines.last().unwrap().contains("sent 20, ok 0, errors 20"), "{lines:?}");
}

/// A run that goes on until it is ended.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = load_test("base", args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, said: &str) {
        assert!(self.lines.by_ref().any(|line| line.unwrap().contains(said)), "ended before {said:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must not leave it behind; an error says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_the_agents_absence_and_sigterm_ends_it_with_a_line() {
    let (socket, url) = nobody();
    let run = tokio::task::spawn_blocking(move || {
        let mut run = Running::start(&["--url", &url, "--rate", "50", "--progress", "100ms"]);
        run.wait_for("cannot be reached");
        run
    });
    let mut run = run.await.unwrap();
    let agent = Agent { asked: Arc::default(), status: StatusCode::OK };
    let listener = socket.listen(64).unwrap();
    let router = Router::new().route("/v1/query", post(query)).with_state(agent);
    tokio::spawn(async move { axum::serve(listener, router).await });
    tokio::task::spawn_blocking(move || {
        run.wait_for("answers again");
        run.wait_for("in flight");
        let kill = Command::new("kill").arg(run.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        run.wait_for("end (SIGTERM): sent ");
        assert_eq!(run.child.wait().unwrap().code(), Some(0));
    })
    .await
    .unwrap();
}

#[test]
fn bad_settings_end_with_one_line_and_64() {
    are_refused(
        "base",
        &[
            (&["--rate", "0"], "LOAD_TEST_RATE"),
            (&["--rate", "lots"], "lots"),
            (&["--url", "localhost:8080"], "LOAD_TEST_URL"),
            (&["--url", "ftp://localhost"], "http://"),
            (&["--timeout", "soon"], "LOAD_TEST_TIMEOUT"),
            (&["--max-in-flight", "0"], "--max-in-flight"),
            (&["--requests", "0"], "--requests"),
            (&["--url", "http://192.0.2.1"], "--allow-any-host"),
            (&["--unheard-of"], "--unheard-of"),
        ],
    );
}
