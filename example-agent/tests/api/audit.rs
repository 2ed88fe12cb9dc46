//! The audit log of the real binary: a line per question, whatever is sampled, numbered without gaps.
use std::path::Path;

use serde_json::{Value, json};

use crate::helpers::{Agent, Behaviour, Provider, document, eventually, log_files, table_rows};

async fn ask(agent: &Agent, tenant: &str, query: &str, user: &str) {
    let body = json!({ "tenant_id": tenant, "query": query });
    let request = agent.app.http.post(format!("{}/v1/query", agent.app.api)).json(&body);
    request.header("x-user-id", user).send().await.unwrap();
}

fn audit(directory: &Path) -> Vec<Value> {
    log_files(directory, "audit.")
}

#[tokio::test]
async fn each_question_has_a_line_with_who_what_and_outcome_and_no_number_is_missing() {
    let provider = Provider::start(Behaviour::Stream).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = [("AGENT_LOG_DIR", directory.path().to_str().unwrap()), ("AGENT_LOG_SAMPLE_RATIO", "0")];
    let mut agent = Agent::start(&provider, &settings).await;
    ask(&agent, "acme", &"é".repeat(101), "u-1").await;
    ask(&agent, "nobody", "q", "two words").await;
    ask(&agent, "globex", " ", "u-3").await;
    let policy =
        agent.app.http.put(format!("{}/log-policy", agent.app.admin)).header("x-user-id", "operator");
    assert_eq!(policy.body("{\"sample_ratio\": 0}").send().await.unwrap().status(), 200);
    let lines = eventually("they are in the file", async || {
        Some(audit(directory.path())).filter(|lines| lines.len() == 5)
    })
    .await;
    for (line, expected) in lines.iter().zip([
        json!({ "action": "start", "outcome": "allowed", "seq": 1 }),
        json!({ "action": "query", "outcome": "allowed", "rule": "tenant_registered", "actor": "u-1",
            "tenant_id": "acme", "tenant_tier": "vip", "query_preview": "é".repeat(100), "seq": 2 }),
        json!({ "action": "query", "outcome": "denied", "rule": "unknown_tenant", "actor": "anonymous",
            "tenant_id": "other", "claimed_tenant_id": "nobody", "seq": 3 }),
        json!({ "action": "query", "outcome": "denied", "rule": "invalid_request", "actor": "u-3",
            "tenant_id": "other", "claimed_tenant_id": "globex", "seq": 4 }),
        json!({ "action": "change_log_policy", "actor": "operator", "seq": 5 }),
    ]) {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&line[field], value, "{field}: {line}");
        }
    }
    for line in &lines[1..4] {
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32, "{line}");
    }
    assert_eq!(agent.app.metric("agent_audit_events_total{action=\"query\"}").await.as_deref(), Some("3"));
    // What is counted as written is in the files.
    for (stream, prefix) in [("app", "agent."), ("audit", "audit.")] {
        eventually("as many lines as are counted", async || {
            let counted = format!("agent_log_lines_written_total{{stream=\"{stream}\"}}");
            let counted: usize = agent.app.metric(&counted).await?.parse().ok()?;
            (counted > 0 && counted == log_files(directory.path(), prefix).len()).then_some(())
        })
        .await;
    }

    // A run that is killed leaves no last line, and the next has an id of its own.
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let mut agent = Agent::start(&Provider::absent(), &settings).await;
    ask(&agent, "hooli", "q", "u-4").await;
    agent.signal("TERM");
    assert_eq!(agent.exit_code().await, Some(0));
    let lines = audit(directory.path());
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["start", "query", "query", "query", "change_log_policy", "start", "query", "stop"]);
    assert_eq!((&lines[6]["outcome"], &lines[6]["rule"]), (&"failed".into(), &"upstream_unavailable".into()));
    assert_ne!(lines[0]["boot_id"], lines[5]["boot_id"]);
    assert_eq!(lines[5]["seq"], 1);

    let documented = table_rows(&document("logs.md"), "audit field");
    let mut names: Vec<_> = documented.iter().map(|row| row[0].trim_matches('`')).collect();
    let mut written: Vec<_> = lines.iter().flat_map(|line| line.as_object().unwrap().keys()).collect();
    names.sort_unstable();
    written.sort_unstable();
    written.dedup();
    assert_eq!(names, written, "docs/logs.md, and what is in the files");
}

#[tokio::test]
async fn an_audit_log_that_cannot_be_written_holds_nobody_up() {
    let provider = Provider::start(Behaviour::Stream).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let directory = file.path().join("logs");
    let mut agent = Agent::start(&provider, &[("AGENT_LOG_DIR", directory.to_str().unwrap())]).await;
    for number in 0..50 {
        assert_eq!(agent.app.ask_as("acme", &format!("q{number}")).await.0, 200);
    }
    eventually("it says so", async || {
        let lines = agent.lines();
        lines
            .into_iter()
            .find(|line| line["msg"].as_str().unwrap().starts_with("audit log cannot be written"))
    })
    .await;
    agent.signal("TERM");
    assert_eq!(agent.exit_code().await, Some(0));
}
