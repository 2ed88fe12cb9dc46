//! Parts fail: the agent serves on, says what was lost, and everything comes back by itself.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::json;

use super::{
    Case, Need, ensure, expect,
    journey::{lines_of, message},
};
use crate::{
    clients::{client, send},
    containers::Containers,
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("faults::a_failing_provider_is_an_error_with_a_name", &[], a_failing_provider_has_a_name),
    Case::new("faults::a_hanging_provider_is_a_timeout", &[], a_hanging_provider_is_a_timeout),
    Case::new("faults::provider_down", &[Need::Containers], provider_down),
    Case::new("faults::collector_down", &[Need::Containers, Need::Service("jaeger")], collector_down),
    Case::new("faults::prometheus_down", &[Need::Containers], prometheus_down),
    Case::new("faults::log_volume_full", &[Need::Containers], log_volume_full),
    Case::new("faults::log_volume_read_only", &[Need::Containers], log_volume_read_only),
    Case::new(
        "faults::sigterm_under_load_loses_no_accepted_request",
        &[Need::Containers],
        sigterm_under_load,
    ),
    Case::new(
        "faults::every_container_comes_back_after_kill_9",
        &[Need::Containers],
        every_container_comes_back,
    ),
];

/// Runs `body` under faults of the provider, which end with it.
pub(super) fn with_faults<T>(
    stack: &Stack,
    faults: &serde_json::Value,
    body: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    stack.set_faults(faults)?;
    let result = body();
    stack.set_faults(&json!({}))?;
    result
}

/// A request must fail with this status and error type, and be counted as that error.
fn fails_as(stack: &Stack, status: u16, error_type: &str) -> Result<(), String> {
    let label = format!("error_type=\"{error_type}\"");
    let counted = || stack.metric("agent_errors_total", &[&label, "tenant_id=\"acme\""]);
    let before = counted()?;
    let answer = stack.fresh_query("acme")?;
    expect(&format!("status: {}", answer.text), answer.status, status)?;
    expect("error type", answer.json()?["error"]["type"].as_str(), Some(error_type))?;
    ensure(counted()? > before, || format!("agent_errors_total of {error_type} did not grow"))
}

fn a_failing_provider_has_a_name(stack: &Stack) -> Result<(), String> {
    for (fault, status, error_type) in [
        ("error_ratio", 502, "upstream_error"),
        ("rate_limited_ratio", 503, "upstream_rate_limited"),
        ("nonsense_ratio", 502, "upstream_invalid_response"),
    ] {
        with_faults(stack, &json!({fault: 1.0}), || fails_as(stack, status, error_type))?;
    }
    expect("status in fair weather", stack.fresh_query("acme")?.status, 200)
}

fn a_hanging_provider_is_a_timeout(stack: &Stack) -> Result<(), String> {
    with_faults(stack, &json!({"hang_ratio": 1.0}), || fails_as(stack, 504, "upstream_timeout"))
}

/// Runs `body` while a service is stopped, then starts it again and waits until it is well.
fn while_down(stack: &Stack, service: &str, body: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    containers.each("stop", service)?;
    let result = body();
    containers.each("start", service)?;
    containers.wait_healthy(service)?;
    result
}

fn provider_down(stack: &Stack) -> Result<(), String> {
    while_down(stack, "simulators-llm", || {
        fails_as(stack, 502, "upstream_unavailable")?;
        let ready = send(client().get(format!("{}/readyz", stack.agent_admin)))?;
        expect("ready without a provider", ready.status, 200)
    })?;
    expect("status once it is back", stack.fresh_query("acme")?.status, 200)
}

fn collector_down(stack: &Stack) -> Result<(), String> {
    let dropped = || stack.metric("agent_spans_dropped_total", &[]);
    let before = dropped()?;
    while_down(stack, "jaeger", || {
        expect("status with no collector", stack.fresh_query("acme")?.status, 200)?;
        until("lost spans counted", SOON, || ensure(dropped()? > before, || format!("still {before}")))
    })?;
    let answer = stack.fresh_query("acme")?;
    until("traces again", SOON, || stack.request_spans(answer.header("x-trace-id"))).map(drop)
}

fn prometheus_down(stack: &Stack) -> Result<(), String> {
    while_down(stack, "prometheus", || expect("status", stack.fresh_query("acme")?.status, 200))?;
    let total = stack.metric("agent_requests_total", &[])?;
    until("scraping again, nothing lost meanwhile", SOON, || {
        let seen = stack.promql_value("sum(agent_requests_total)")?;
        ensure(seen >= total, || format!("Prometheus has {seen} requests, the agent counted {total}"))
    })
}

/// Starts a second agent on the stack's network with another log folder, and sees it serve and count what it loses.
fn with_log_folder(stack: &Stack, mount: &[&str]) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let inspect = containers.inspect("example-agent")?;
    let image = inspect["Config"]["Image"].as_str().unwrap_or_default();
    let networks = inspect["NetworkSettings"]["Networks"].as_object().and_then(|n| n.keys().next().cloned());
    let network = networks.ok_or("the agent is on no network")?;
    let environment = [
        "--env=AGENT_API_ADDR=0.0.0.0:8080",
        "--env=AGENT_ADMIN_ADDR=0.0.0.0:8000",
        "--env=AGENT_LLM_BASE_URL=http://simulators-llm:8081/v1",
        // No folder of the image: runc would give the mount that one's mode, and neither could be written.
        "--env=AGENT_LOG_DIR=/logs",
        "--publish=127.0.0.1::8080",
        "--publish=127.0.0.1::8000",
    ];
    let run = ["run", "--detach", "--rm", "--read-only", "--network", &network];
    let id = Containers::docker(&[&run[..], &environment[..], mount, &[image][..]].concat())?;
    let id = id.trim();
    let result = serves_and_counts_lost_lines(id);
    Containers::docker(&["stop", id])?;
    result
}

fn serves_and_counts_lost_lines(id: &str) -> Result<(), String> {
    let url = |port: &str| -> Result<String, String> {
        let out = Containers::docker(&["port", id, port])?;
        Ok(format!("http://{}", out.lines().next().unwrap_or_default()))
    };
    let stack = Stack { agent: url("8080")?, agent_admin: url("8000")?, ..Stack::from_env() };
    // From inside: a connection that comes before the agent may hang in the engine's own proxy.
    until("healthy", SOON, || Containers::docker(&["exec", id, "example-agent", "healthcheck"]))?;
    until("serving", SOON, || {
        let answer = stack.fresh_query("acme")?;
        expect("status", answer.status, 200)
    })?;
    until("lost lines counted", 2 * SOON, || {
        // A long question: its lines fill what little room there is.
        stack.query("nobody", &"x".repeat(7_000))?;
        let dropped = stack.metric("agent_log_lines_dropped_total", &[])?;
        ensure(dropped > 0.0, || "no line counted as lost".into())
    })?;
    expect("status afterwards", stack.fresh_query("acme")?.status, 200)
}

fn log_volume_full(stack: &Stack) -> Result<(), String> {
    with_log_folder(stack, &["--tmpfs=/logs:size=16k,mode=1777"])
}

fn log_volume_read_only(stack: &Stack) -> Result<(), String> {
    with_log_folder(stack, &["--tmpfs=/logs:ro,size=16k,mode=1777"])
}

/// Clients that ask without a pause while the agent is told to end. Every request it has accepted (its log says so)
/// must have been answered to the client that sent it.
fn sigterm_under_load(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let (marker, done, asked) =
        (uuid::Uuid::new_v4().to_string(), AtomicBool::new(false), AtomicUsize::new(0));
    let answered = Mutex::new(BTreeSet::new());
    let restarts = containers.restarts("example-agent")?;
    let signalled = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let n = asked.fetch_add(1, Ordering::Relaxed);
                    match stack.query("acme", &format!("{marker} asks {n}")) {
                        Ok(answer) => {
                            let id = answer.header("x-request-id").to_owned();
                            answered.lock().expect("no thread panics with it").insert(id);
                        }
                        // Nobody there: what was not accepted cannot be lost. Not a busy loop while it restarts.
                        Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
                    }
                }
            });
        }
        let signalled =
            until("some load", SOON, || ensure(asked.load(Ordering::Relaxed) > 40, || "little".into()))
                .and_then(|()| containers.signal("example-agent", "TERM"))
                .and_then(|_| {
                    until("started again", SOON, || {
                        let now = containers.restarts("example-agent")?;
                        ensure(now > restarts, || format!("{now} restarts"))
                    })
                })
                .and_then(|()| containers.wait_healthy("example-agent"));
        done.store(true, Ordering::Relaxed);
        signalled
    });
    signalled?;
    let answered = answered.into_inner().expect("no thread panicked");
    let lines = lines_of(stack, &marker)?;
    let started = lines.iter().filter(|line| message(line).ends_with("request started"));
    let started: BTreeSet<_> =
        started.filter_map(|line| line["request_id"].as_str().map(str::to_owned)).collect();
    let lost: Vec<_> = started.difference(&answered).collect();
    ensure(started.len() > 40, || format!("only {} requests were accepted: no load", started.len()))?;
    ensure(lost.is_empty(), || {
        format!("{} of {} accepted requests got no answer: {lost:?}", lost.len(), started.len())
    })
}

/// The services that read their configuration again when they get HUP.
const RELOADED_BY_SIGNAL: [&str; 2] = ["prometheus", "alertmanager"];

fn every_container_comes_back(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let services = containers.services()?;
    ensure(!services.is_empty(), || "the project has no containers".into())?;
    for service in services {
        // As the runbook says: of that the engine must not conclude that the container may stay down.
        if RELOADED_BY_SIGNAL.contains(&service.as_str()) {
            containers.exec(&service, &["sh", "-c", "kill -HUP 1"])?;
        }
        let before = containers.restarts(&service)?;
        containers.signal(&service, "KILL")?;
        until(&format!("{service} started again"), SOON, || {
            let now = containers.restarts(&service)?;
            ensure(now > before, || format!("{now} restarts"))
        })?;
        containers.wait_healthy(&service)?;
    }
    until("an answer after all of it", SOON, || expect("status", stack.fresh_query("acme")?.status, 200))
}
