//! Elasticsearch: who may what, which templates are in force, and what the setup says.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{client, send},
    containers::Containers,
    stack::Stack,
    wait::{SOON, until},
};

const HERE: Need = Need::Service("elasticsearch");

pub(super) const CASES: &[Case] = &[
    Case::new("elasticsearch::nobody_gets_in_without_a_password", &[HERE], nobody_gets_in),
    Case::new("elasticsearch::the_writer_adds_and_does_nothing_else", &[HERE], writer),
    Case::new("elasticsearch::the_reader_reads_the_log_and_nothing_else", &[HERE], reader),
    Case::new(
        "elasticsearch::the_audit_reader_reads_the_audit_trail_and_nothing_else",
        &[HERE],
        audit_reader,
    ),
    Case::new(
        "elasticsearch::jaeger_sees_its_spans_and_nothing_else",
        &[HERE, Need::Service("jaeger")],
        jaeger,
    ),
    Case::new("elasticsearch::metrics_are_taken_without_reading_a_document", &[HERE], metrics),
    Case::new("elasticsearch::kibana_reads_no_log_line_by_itself", &[HERE], kibana),
    Case::new("elasticsearch::every_index_has_its_fields_and_its_end", &[HERE], templates_are_in_force),
    Case::new("elasticsearch::the_heap_is_bounded", &[HERE], the_heap_is_bounded),
    Case::new(
        "elasticsearch::a_trace_outlives_a_restart_of_jaeger",
        &[HERE, Need::Service("jaeger"), Need::Containers],
        a_trace_outlives_jaeger,
    ),
    Case::new("elasticsearch::a_second_setup_changes_nothing", &[HERE, Need::Containers], second_setup),
    Case::new(
        "elasticsearch::a_users_changed_password_is_set_back",
        &[HERE, Need::Containers],
        a_changed_password_is_set_back,
    ),
    Case::new(
        "elasticsearch::a_wrong_password_is_one_line_that_says_what_to_do",
        &[HERE, Need::Containers],
        a_wrong_password_is_noticed,
    ),
];

/// Two indices with a document `1` each, there for one trial: a day of the log and one of the audit trail.
struct Day<'s> {
    stack: &'s Stack,
    log: String,
    audit: String,
}

impl<'s> Day<'s> {
    fn new(stack: &'s Stack) -> Result<Self, String> {
        let id = uuid::Uuid::new_v4().simple();
        let day =
            Self { stack, log: format!("agent-logs-trial-{id}"), audit: format!("agent-audit-trial-{id}") };
        for index in [&day.log, &day.audit] {
            let line = json!({"@timestamp": "2026-01-02T03:04:05Z", "message": "request started"});
            let put =
                stack.elasticsearch_as("elastic", &format!("PUT /{index}/_doc/1?refresh"), Some(&line))?;
            expect(&put.text, put.status, 201)?;
        }
        Ok(day)
    }
}

impl Drop for Day<'_> {
    fn drop(&mut self) {
        for index in [&self.log, &self.audit] {
            // A trial that failed has said so already.
            let _ = self.stack.elasticsearch_as("elastic", &format!("DELETE /{index}"), None);
        }
    }
}

/// Asks as `user`, and fails unless each request gets the status beside it.
fn statuses(stack: &Stack, user: &str, cases: &[(u16, String)]) -> Result<(), String> {
    for (status, request) in cases {
        let needs_body = !request.starts_with("GET") && !request.starts_with("DELETE");
        let body = json!({"doc": {"message": "trial"}});
        let answer = stack.elasticsearch_as(user, request, needs_body.then_some(&body))?;
        expect(&format!("{request} as {user}: {:.300}", answer.text), answer.status, *status)?;
    }
    Ok(())
}

fn nobody_gets_in(stack: &Stack) -> Result<(), String> {
    for path in ["/", "/_search", "/_cluster/health", "/_cat/indices", "/_security/user"] {
        let url = format!("{}{path}", stack.elasticsearch);
        expect(&format!("{path} without a password"), send(client().get(&url))?.status, 401)?;
        for user in ["elastic", "agent_logs_reader", "nobody"] {
            let wrong = client().get(&url).basic_auth(user, Some("changeme"));
            expect(&format!("{path} as {user} with a wrong one"), send(wrong)?.status, 401)?;
        }
    }
    Ok(())
}

fn writer(stack: &Stack) -> Result<(), String> {
    let day = Day::new(stack)?;
    let mut cases = Vec::new();
    for index in [&day.log, &day.audit] {
        cases.extend([
            (201, format!("PUT /{index}/_create/2")),
            // The same line again: it is there already, and stays as it is.
            (409, format!("PUT /{index}/_create/2")),
            (403, format!("PUT /{index}/_doc/1")),
            (403, format!("POST /{index}/_update/1")),
            (403, format!("DELETE /{index}/_doc/1")),
            (403, format!("DELETE /{index}")),
            (403, format!("GET /{index}/_doc/1")),
            (403, format!("GET /{index}/_search")),
            (403, format!("GET /{index}/_count")),
        ]);
    }
    cases.extend([
        (403, "PUT /another-index/_create/1".to_owned()),
        (403, "PUT /agent-kit-jaeger-span-2026-01-02/_create/1".to_owned()),
        (403, "DELETE /_index_template/agent-logs".to_owned()),
        (403, "GET /_security/user".to_owned()),
        (200, "GET /_cluster/health".to_owned()),
    ]);
    statuses(stack, "agent_logs_writer", &cases)?;
    let policy = json!({"policy": {"phases": {"delete": {"min_age": "0ms", "actions": {"delete": {}}}}}});
    let answer =
        stack.elasticsearch_as("agent_logs_writer", "PUT /_ilm/policy/agent-audit", Some(&policy))?;
    expect("a policy of the writer's own", answer.status, 403)
}

fn reader(stack: &Stack) -> Result<(), String> {
    let Day { log, audit, .. } = &Day::new(stack)?;
    reads_one_and_writes_nothing(stack, "agent_logs_reader", log, audit)
}

fn audit_reader(stack: &Stack) -> Result<(), String> {
    let Day { log, audit, .. } = &Day::new(stack)?;
    reads_one_and_writes_nothing(stack, "agent_audit_reader", audit, log)
}

fn reads_one_and_writes_nothing(stack: &Stack, user: &str, its: &str, other: &str) -> Result<(), String> {
    statuses(
        stack,
        user,
        &[
            (200, format!("GET /{its}/_search")),
            (200, format!("GET /{its}/_doc/1")),
            (200, format!("GET /{its}/_mapping")),
            (200, format!("GET /{its}/_field_caps?fields=*")),
            (403, format!("GET /{other}/_search")),
            (403, format!("GET /{other}/_doc/1")),
            (403, format!("GET /{its},{other}/_search")),
            (403, format!("PUT /{its}/_create/2")),
            (403, format!("PUT /{its}/_doc/1")),
            (403, format!("DELETE /{its}/_doc/1")),
            (403, format!("DELETE /{its}")),
            (403, "PUT /agent-logs-of-my-own/_create/1".to_owned()),
            (403, "GET /_security/user".to_owned()),
        ],
    )?;
    // A pattern that matches both is answered with what this user may see.
    let found = stack.elasticsearch_as(user, "GET /agent-*/_search?size=100", None)?.json()?;
    let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
    let foreign = |index: &Value| is_of_the_log(index) != is_of_the_log(&json!(its));
    let foreign: Vec<_> = hits.iter().map(|hit| &hit["_index"]).filter(|index| foreign(index)).collect();
    ensure(!hits.is_empty() && foreign.is_empty(), || format!("{} hits, some of {foreign:?}", hits.len()))
}

fn is_of_the_log(index: &Value) -> bool {
    index.as_str().is_some_and(|name| name.starts_with("agent-logs-"))
}

fn jaeger(stack: &Stack) -> Result<(), String> {
    let Day { log, audit, .. } = &Day::new(stack)?;
    stack.fresh_query("acme")?;
    let span_index = until("an index of spans", SOON, || {
        let indices = stack.elasticsearch_as("elastic", "GET /agent-kit-jaeger-span-*", None)?.json()?;
        indices.as_object().and_then(|all| all.keys().next().cloned()).ok_or(format!("only {indices}"))
    })?;
    statuses(
        stack,
        "jaeger_storage",
        &[
            (200, format!("GET /{span_index}/_search")),
            (403, format!("DELETE /{span_index}")),
            (403, format!("GET /{log}/_search")),
            (403, format!("GET /{audit}/_search")),
            (403, format!("PUT /{log}/_create/2")),
            (403, "DELETE /_index_template/agent-kit-jaeger-span".to_owned()),
        ],
    )
}

fn metrics(stack: &Stack) -> Result<(), String> {
    let Day { log, audit, .. } = &Day::new(stack)?;
    statuses(
        stack,
        "log_metrics",
        &[
            (200, "GET /_cluster/health".to_owned()),
            (200, "GET /_nodes/stats".to_owned()),
            (200, format!("GET /{log}/_stats")),
            (200, format!("GET /{audit}/_stats")),
            (403, format!("GET /{log}/_search")),
            (403, format!("GET /{log}/_doc/1")),
            (403, format!("GET /{audit}/_search?size=0")),
            (403, format!("GET /{audit}/_count")),
            (403, format!("PUT /{log}/_create/2")),
            (403, format!("DELETE /{log}")),
        ],
    )
}

fn kibana(stack: &Stack) -> Result<(), String> {
    let Day { log, audit, .. } = &Day::new(stack)?;
    let authenticated = (200, "GET /_security/_authenticate".to_owned());
    let refused = [log, audit].map(|index| (403, format!("GET /{index}/_search")));
    statuses(stack, "kibana_system", &[&[authenticated][..], &refused[..]].concat())
}

/// What an index of that name would be made of.
fn simulated(stack: &Stack, index: &str) -> Result<Value, String> {
    let request = format!("POST /_index_template/_simulate_index/{index}");
    let answer = stack.elasticsearch_as("elastic", &request, None)?;
    expect(&format!("{request}: {:.300}", answer.text), answer.status, 200)?;
    Ok(answer.json()?["template"].clone())
}

fn templates_are_in_force(stack: &Stack) -> Result<(), String> {
    for stream in ["agent-logs", "agent-audit"] {
        for (name, policy) in [
            ("2026.01.02", stream.to_owned()),
            ("unparsed-2026.01", format!("{stream}-monthly")),
            ("dead-2026.01", format!("{stream}-monthly")),
            ("outside-2026.01", format!("{stream}-monthly")),
        ] {
            let index = format!("{stream}-{name}");
            let template = simulated(stack, &index)?;
            let settings = &template["settings"]["index"];
            expect(&format!("policy of {index}"), settings["lifecycle"]["name"].as_str(), Some(&*policy))?;
            let replicas = settings["auto_expand_replicas"].as_str();
            expect(&format!("replicas of {index}"), replicas, Some("0-1"))?;
            let fields = &template["mappings"]["properties"];
            for (field, kind) in [("request_id", "keyword"), ("cost_usd", "double"), ("trace_id", "alias")] {
                expect(&format!("{field} of {index}"), fields[field]["type"].as_str(), Some(kind))?;
            }
            expect(
                &format!("new fields of {index}"),
                template["mappings"]["dynamic"].as_str(),
                Some("false"),
            )?;
        }
    }
    let spans = simulated(stack, "agent-kit-jaeger-span-2026-01-02")?;
    let policy = &spans["settings"]["index"]["lifecycle"]["name"];
    expect("policy of spans", policy.as_str(), Some("agent-traces"))?;
    expect("tags of spans", spans["mappings"]["properties"]["tags"]["type"].as_str(), Some("nested"))?;
    for (policy, age) in [
        ("agent-logs", "14d"),
        ("agent-logs-monthly", "45d"),
        ("agent-audit", "365d"),
        ("agent-audit-monthly", "396d"),
        ("agent-traces", "14d"),
    ] {
        let answer = stack.elasticsearch_as("elastic", &format!("GET /_ilm/policy/{policy}"), None)?;
        let there = answer.json()?;
        let min_age = &there[policy]["policy"]["phases"]["delete"]["min_age"];
        expect(&format!("end of {policy}: {there}"), min_age.as_str(), Some(age))?;
    }
    Ok(())
}

fn the_heap_is_bounded(stack: &Stack) -> Result<(), String> {
    let nodes = stack.elasticsearch_as("log_metrics", "GET /_nodes/jvm", None)?.json()?;
    let nodes = nodes["nodes"].as_object().cloned().unwrap_or_default();
    expect("nodes", nodes.len(), 1)?;
    let heap = nodes.values().next().and_then(|node| node["jvm"]["mem"]["heap_max_in_bytes"].as_u64());
    ensure(heap.is_some_and(|bytes| bytes <= 600 << 20), || format!("a heap of {heap:?} bytes"))
}

fn a_trace_outlives_jaeger(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let answer = stack.fresh_query("acme")?;
    let trace_id = answer.header("x-trace-id");
    let spans = || stack.spans(trace_id).map(|spans| spans.len());
    let before = until("the trace", SOON, || {
        let spans = spans()?;
        ensure(spans > 3, || format!("{spans} spans")).map(|()| spans)
    })?;
    containers.each("restart", "jaeger")?;
    containers.wait_healthy("jaeger")?;
    until("the trace after a restart", SOON, || {
        let after = spans()?;
        ensure(after >= before, || format!("{before} spans, then {after}"))
    })?;
    let indices = stack.elasticsearch_as("elastic", "GET /agent-kit-jaeger-*/_settings", None)?.json()?;
    for (name, index) in indices.as_object().into_iter().flatten() {
        let policy = &index["settings"]["index"]["lifecycle"]["name"];
        expect(&format!("policy of {name}"), policy.as_str(), Some("agent-traces"))?;
    }
    Ok(())
}

/// Runs the setup's container once more: what it printed, and its exit code.
fn setup(stack: &Stack) -> Result<(String, Option<i32>), String> {
    let containers = stack.containers.as_ref().expect("needed");
    run(&["start", "--attach", &containers.id("elasticsearch-setup")?])
}

fn run(args: &[&str]) -> Result<(String, Option<i32>), String> {
    let output = Command::new("docker").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("docker {}: {e}", args.join(" ")))?;
    let said = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8_lossy(&said).into_owned(), output.status.code()))
}

fn second_setup(stack: &Stack) -> Result<(), String> {
    let (said, code) = setup(stack)?;
    expect(&said, code, Some(0))?;
    let last = said.lines().last().unwrap_or_default();
    ensure(last.starts_with("Elasticsearch is set up: 0 made, 0 changed, "), || said.clone())?;
    ensure(said.contains("as it was template agent-logs\n"), || said.clone())
}

fn a_changed_password_is_set_back(stack: &Stack) -> Result<(), String> {
    let request = "POST /_security/user/agent_logs_reader/_password";
    let changed = stack.elasticsearch_as("elastic", request, Some(&json!({"password": "another-one"})))?;
    expect(&changed.text, changed.status, 200)?;
    let status = || stack.elasticsearch_as("agent_logs_reader", "GET /_security/_authenticate", None);
    let meanwhile = status()?.status;
    let (said, code) = setup(stack)?;
    expect("the file's password while another holds", meanwhile, 401)?;
    expect(&said, code, Some(0))?;
    ensure(said.contains("changed   user agent_logs_reader\n"), || said.clone())?;
    expect("the file's password after the setup", status()?.status, 200)
}

/// The setup with another password than the node has: what somebody sees whose volume keeps an older one.
fn a_wrong_password_is_noticed(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let inspect = containers.inspect("elasticsearch-setup")?;
    let image = inspect["Config"]["Image"].as_str().unwrap_or_default();
    let networks = inspect["NetworkSettings"]["Networks"].as_object().and_then(|n| n.keys().next().cloned());
    let network = networks.ok_or("the setup is on no network")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../elasticsearch");
    let folder = folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()))?;
    let mount = format!("{}:/kit:ro", folder.display());
    let script = "mkdir /tmp/secrets && echo not-the-password >/tmp/secrets/elasticsearch_password && \
                  SECRETS=/tmp/secrets exec /kit/setup.sh";
    let options = ["run", "--rm", "--network", &network, "--volume", &mount, "--entrypoint", "/bin/bash"];
    let (said, code) = run(&[&options[..], &[image, "-c", script][..]].concat())?;
    expect(&said, code, Some(1))?;
    let lines: Vec<_> = said.lines().collect();
    ensure(lines.len() == 1 && lines[0].starts_with("Elasticsearch is not set up: "), || said.clone())?;
    ensure(lines[0].contains("secrets/elasticsearch_password") && lines[0].contains("README.md"), || {
        said.clone()
    })?;
    // Nothing of it shows in the log of the stack.
    let logs = Containers::docker(&["logs", &containers.id("elasticsearch-setup")?])?;
    ensure(!logs.contains(&stack.elasticsearch_password("elastic")?), || "a password is in the log".into())
}
