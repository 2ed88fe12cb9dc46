//! `load-test run` as a process, against an agent that counts, stalls or fails.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
mod helpers;

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};

use crate::helpers::{are_refused, load_test, output};

/// Plays an agent: keeps what it was asked, fails each tenth, and does nothing at all for a while at one of them.
#[derive(Clone, Default)]
struct Agent {
    asked: Arc<Mutex<Vec<Value>>>,
    failing: bool,
    stall_at: Option<usize>,
    busy: Arc<tokio::sync::Mutex<()>>,
}

const STALL: Duration = Duration::from_secs(2);

async fn query(State(agent): State<Agent>, Json(body): Json<Value>) -> Response {
    let number = {
        let mut asked = agent.asked.lock().unwrap();
        asked.push(body);
        asked.len()
    };
    let busy = agent.busy.lock().await;
    if agent.stall_at == Some(number) {
        tokio::time::sleep(STALL).await;
    }
    drop(busy);
    if agent.failing && number.is_multiple_of(10) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    Json(json!({ "answer": "because", "cached": number > 10 })).into_response()
}

async fn serve(agent: &Agent) -> String {
    helpers::serve(Router::new().route("/v1/query", post(query)).with_state(agent.clone())).await
}

/// Runs to the end.
async fn run(args: &[&str]) -> (Option<i32>, String) {
    let output = output(load_test("run", args)).await;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), said)
}

fn report(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("load.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_reported_is_what_arrived_and_no_more_than_asked_for() {
    let (agent, folder) = (Agent { failing: true, ..Agent::default() }, tempfile::tempdir().unwrap());
    let url = serve(&agent).await;
    let to = folder.path().to_str().unwrap();
    for model in [&["--rate", "400"][..], &["--callers", "5"]] {
        agent.asked.lock().unwrap().clear();
        let args = ["--url", &url, "--requests", "200", "--fresh", "50%", "--seed", "3", "--report", to];
        let (code, said) = run(&[&args[..], model].concat()).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("10.00 % not answered"), "{said}");
        let (report, asked) = (report(folder.path()), agent.asked.lock().unwrap().clone());
        assert_eq!(asked.len(), 200);
        let total = &report["total"];
        assert_eq!(
            (&total["sent"], &total["answered"], &total["failed"]),
            (&200.into(), &180.into(), &20.into())
        );
        for (tenant, figures) in report["tenants"].as_object().unwrap() {
            let of_tenant = asked.iter().filter(|body| body["tenant_id"] == *tenant).count();
            assert_eq!(figures["sent"], of_tenant, "{tenant}: {said}");
        }
        let queries: Vec<_> = asked.iter().filter_map(|body| body["query"].as_str()).collect();
        let fresh: HashSet<_> = queries.iter().filter(|query| query.contains("(case ")).collect();
        assert!((70..130).contains(&fresh.len()), "{}", fresh.len());
        assert!(queries.iter().collect::<HashSet<_>>().len() < 130, "the others repeat");
        assert!(folder.path().join("load.html").exists());
    }
}

/// The two models differ in just this: callers who wait for a stalled agent do not ask meanwhile, and so do not suffer.
#[tokio::test]
async fn a_stall_is_in_the_percentiles_of_the_open_model() {
    let mut p95 = Vec::new();
    for model in [&["--rate", "50", "--pattern", "steady"][..], &["--callers", "1", "--think", "10ms"]] {
        let (agent, folder) =
            (Agent { stall_at: Some(20), ..Agent::default() }, tempfile::tempdir().unwrap());
        let url = serve(&agent).await;
        let args = ["--url", &url, "--requests", "150", "--report", folder.path().to_str().unwrap()];
        let (code, said) = run(&[&args[..], model].concat()).await;
        assert_eq!(code, Some(0), "{said}");
        let report = report(folder.path());
        assert_eq!(report["total"]["answered"], 150, "{said}");
        // A hundred requests were due in those two seconds.
        p95.push(report["total"]["p95_ms"].as_f64().unwrap());
        assert!(report["total"]["max_ms"].as_f64().unwrap() >= STALL.as_secs_f64() * 900.0, "{said}");
    }
    assert!(p95[0] > 1000.0, "{p95:?}");
    assert!(p95[1] < p95[0] / 2.0, "{p95:?}");
}

#[tokio::test]
async fn an_agent_that_does_not_keep_up_has_what_was_due_counted_against_it() {
    let agent = Agent { stall_at: Some(1), ..Agent::default() };
    let url = serve(&agent).await;
    let (code, said) = run(&[
        "--url",
        &url,
        "--rate",
        "100",
        "--requests",
        "50",
        "--max-in-flight",
        "10",
        "--errors",
        "10%",
        "--p95",
        "1h",
    ])
    .await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("BROKEN not answered: 0.8") && said.contains("ok     p95 ms"), "{said}");
    assert_eq!(agent.asked.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn stages_are_gone_through_and_end_the_run() {
    let agent = Agent::default();
    let url = serve(&agent).await;
    let stages = ["--rate", "0", "--stages", "500ms:200,500ms:200,500ms:0", "--pattern", "steady"];
    let (code, said) = run(&[&["--url", &url][..], &stages].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    // The area below: 50 + 100 + 50.
    assert!((195..=201).contains(&agent.asked.lock().unwrap().len()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_it_with_what_it_has() {
    let url = serve(&Agent::default()).await;
    tokio::task::spawn_blocking(move || {
        let mut child =
            load_test("run", &["--url", &url, "--rate", "50", "--duration", "1h", "--progress", "100ms"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().contains(" in flight")));
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert!(lines.any(|line| line.unwrap().contains("broken off")));
        assert_eq!(child.wait().unwrap().code(), Some(0));
    })
    .await
    .unwrap();
}

#[test]
fn bad_settings_end_with_one_line_and_64() {
    are_refused(
        "run",
        &[
            (&["--rate", "lots"], "--rate"),
            (&["--rate", "5", "--callers", "5"], "--callers"),
            (&["--stages", "5s"], "--stages"),
            (&["--stages", "5s:5", "--duration", "5s"], "--duration"),
            (&["--think", "5s"], "--callers"),
            (&["--fresh", "120%"], "--fresh"),
            (&["--errors", "few"], "--errors"),
            (&["--p95", "soon"], "--p95"),
            (&["--callers", "0"], "--callers"),
            (&["--url", "http://192.0.2.1"], "--allow-any-host"),
        ],
    );
}
