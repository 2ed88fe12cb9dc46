//! What the answers are: streamed to who wants that, and mostly right.

use std::{path::Path, process::Command};

use serde_json::json;

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{client, send},
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("answers::are_streamed_to_who_asks_for_it", &[], are_streamed),
    Case::new("answers::their_accuracy_reaches_prometheus", &[Need::Containers], their_accuracy_is_known),
];

fn are_streamed(stack: &Stack) -> Result<(), String> {
    // Not from the cache: from the simulator, which speaks in pieces.
    let nonce = uuid::Uuid::new_v4();
    let question =
        json!({ "tenant_id": "acme", "query": format!("How does {nonce} stream?"), "stream": true });
    let answer = send(client().post(format!("{}/v1/query", stack.agent)).json(&question))?;
    expect("status", answer.status, 200)?;
    expect("content-type", answer.header("content-type"), "text/event-stream")?;
    let names: Vec<_> = answer.text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let well = names.len() > 2
        && names.last() == Some(&"done")
        && names[..names.len() - 1].iter().all(|n| *n == "delta");
    ensure(well, || answer.text.clone())
}

fn their_accuracy_is_known(stack: &Stack) -> Result<(), String> {
    const JOB: &str = "stack-tests-evaluation";
    // As `make evaluate` calls it.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../setup/evaluate.sh");
    let project = stack.containers.as_ref().expect("needed").project();
    let mut command = Command::new(script);
    command.args(["--job", JOB, "--min-accuracy", "0.8"]).env("COMPOSE_PROJECT_NAME", project);
    let output = command.output().map_err(|e| format!("evaluate.sh: {e}"))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure(output.status.success(), || said.clone())?;
    let accuracy = until("the accuracy in Prometheus", 3 * SOON, || {
        stack.promql_value(&format!("agent_answer_accuracy_ratio{{job=\"{JOB}\"}}"))
    });
    send(client().delete(format!("{}/metrics/job/{JOB}", stack.pushgateway)))?;
    let accuracy = accuracy?;
    ensure((0.8..=1.0).contains(&accuracy), || format!("{accuracy}, and the evaluation said: {said}"))
}
