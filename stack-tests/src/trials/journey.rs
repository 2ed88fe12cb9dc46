//! One request, seen in all three pillars.

use serde_json::Value;

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{Span, client, send},
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("journey::every_container_is_healthy", &[Need::Containers], every_container_is_healthy),
    Case::new("journey::a_query_is_answered_and_priced", &[], a_query_is_answered_and_priced),
    Case::new("journey::the_same_query_again_comes_from_the_cache", &[], the_same_query_comes_from_the_cache),
    Case::new(
        "journey::its_trace_is_in_jaeger_with_the_provider_below",
        &[Need::Service("jaeger")],
        its_trace_is_in_jaeger,
    ),
    Case::new(
        "journey::a_callers_trace_is_continued",
        &[Need::Service("jaeger")],
        a_callers_trace_is_continued,
    ),
    Case::new("journey::its_metrics_are_in_prometheus", &[], its_metrics_are_in_prometheus),
    Case::new(
        "journey::its_lines_are_in_the_file_with_its_trace_id",
        &[Need::Containers],
        its_lines_are_in_the_file,
    ),
    Case::new("journey::its_audit_line_says_who_asked", &[Need::Containers], its_audit_line_says_who_asked),
    Case::new(
        "journey::an_exemplar_leads_to_its_trace",
        &[Need::Service("jaeger")],
        an_exemplar_leads_to_its_trace,
    ),
    Case::new("journey::every_target_is_scraped", &[], every_target_is_scraped),
    Case::new(
        "journey::base_traffic_comes_from_several_tenants",
        &[],
        base_traffic_comes_from_several_tenants,
    ),
    Case::new(
        "journey::a_load_test_counts_what_the_agent_counts",
        &[Need::Containers],
        a_load_test_counts_what_the_agent_counts,
    ),
    Case::new("journey::a_pushed_metric_reaches_prometheus", &[], a_pushed_metric_reaches_prometheus),
    Case::new(
        "journey::grafana_reaches_its_data_sources",
        &[Need::Service("grafana")],
        grafana_reaches_its_data_sources,
    ),
];

fn every_container_is_healthy(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let services = containers.services()?;
    ensure(services.len() > 5, || format!("only {services:?} have containers"))?;
    services.iter().try_for_each(|service| containers.healthy(service))?;
    containers.one_shots()?.iter().try_for_each(|service| containers.ended_well(service))
}

fn a_query_is_answered_and_priced(stack: &Stack) -> Result<(), String> {
    let answer = stack.fresh_query("acme")?;
    let body = answer.json()?;
    expect("status", answer.status, 200)?;
    expect("request_id", body["request_id"].as_str(), Some(answer.header("x-request-id")))?;
    expect("cached", body["cached"].as_bool(), Some(false))?;
    ensure(body["answer"].as_str().is_some_and(|a| !a.is_empty()), || format!("no answer: {body}"))?;
    ensure(body["model"].as_str().is_some_and(|m| !m.is_empty()), || format!("no model: {body}"))?;
    ensure(body["tokens"].as_u64().is_some_and(|t| t > 0), || format!("no tokens: {body}"))?;
    ensure(body["cost_usd"].as_f64().is_some_and(|c| c > 0.0 && c < 1.0), || {
        format!("no plausible cost: {body}")
    })
}

fn the_same_query_comes_from_the_cache(stack: &Stack) -> Result<(), String> {
    let query = format!("Which dashboard shows {}?", uuid::Uuid::new_v4());
    let first = stack.query("globex", &query)?.json()?;
    let again = stack.query("globex", &query)?.json()?;
    expect("cached", (first["cached"].as_bool(), again["cached"].as_bool()), (Some(false), Some(true)))?;
    expect("answer", &again["answer"], &first["answer"])?;
    expect("cost of the cached answer", again["cost_usd"].as_f64(), Some(0.0))?;
    // What one tenant asked must not answer another's question.
    let other = stack.query("initech", &query)?.json()?;
    expect("cached for another tenant", other["cached"].as_bool(), Some(false))
}

/// Waits until the trace holds the whole tree, and checks how its spans hang together.
fn whole_tree(stack: &Stack, trace_id: &str) -> Result<Vec<Span>, String> {
    until(&format!("trace {trace_id}"), SOON, || {
        let spans = stack.spans(trace_id)?;
        let find = |service: &str, name: &str| {
            let found = spans.iter().find(|s| s.service == service && s.name.starts_with(name));
            found.ok_or(format!("no span {name} of {service} among {spans:?}"))
        };
        let root = find("example-agent", "process_request")?;
        let cache = find("example-agent", "check_cache")?;
        let call = find("example-agent", "call_llm")?;
        let provider = find("llm-simulator", "chat")?;
        expect("parent of check_cache", cache.parent.as_deref(), Some(root.id.as_str()))?;
        expect("parent of call_llm", call.parent.as_deref(), Some(root.id.as_str()))?;
        expect("parent of the provider's span", provider.parent.as_deref(), Some(call.id.as_str()))?;
        expect("tenant.id", root.tags["tenant.id"].as_str(), Some("acme"))?;
        expect("cache.hit", cache.tags["cache.hit"].as_bool(), Some(false))?;
        ensure(call.tags["gen_ai.usage.output_tokens"].as_u64() > Some(0), || {
            format!("no tokens: {call:?}")
        })?;
        Ok::<_, String>(spans)
    })
}

fn its_trace_is_in_jaeger(stack: &Stack) -> Result<(), String> {
    let answer = stack.fresh_query("acme")?;
    whole_tree(stack, answer.header("x-trace-id")).map(drop)
}

fn a_callers_trace_is_continued(stack: &Stack) -> Result<(), String> {
    let trace_id = uuid::Uuid::new_v4().simple().to_string();
    let caller = "00f067aa0ba902b7";
    let body = serde_json::json!({"tenant_id": "acme", "query": format!("Who called {trace_id}?")});
    let request = client().post(format!("{}/v1/query", stack.agent)).json(&body);
    let answer = send(request.header("traceparent", format!("00-{trace_id}-{caller}-01")))?;
    expect("x-trace-id", answer.header("x-trace-id"), &trace_id)?;
    let spans = whole_tree(stack, &trace_id)?;
    let root = spans.iter().find(|s| s.name == "process_request").expect("whole_tree found it");
    expect("parent of process_request", root.parent.as_deref(), Some(caller))
}

fn its_metrics_are_in_prometheus(stack: &Stack) -> Result<(), String> {
    let counted = [
        r#"sum(agent_requests_total{method="POST",endpoint="/v1/query",status="success",tenant_id="umbrella"})"#,
        r#"sum(agent_request_duration_seconds_count{endpoint="/v1/query",tenant_id="umbrella"})"#,
        r#"sum(agent_cache_requests_total{result="miss",tenant_id="umbrella"})"#,
        r#"sum(agent_api_cost_usd_total{tenant_id="umbrella"})"#,
        r#"sum(agent_llm_tokens_total{tenant_id="umbrella",direction="output"})"#,
    ];
    let now = || counted.iter().map(|expr| stack.promql_value(expr).unwrap_or(0.0)).collect::<Vec<_>>();
    let before = now();
    expect("status", stack.fresh_query("umbrella")?.status, 200)?;
    until("the request counted in Prometheus", SOON, || {
        let after = now();
        let grown = before.iter().zip(&after).all(|(before, after)| after > before);
        ensure(grown, || format!("{before:?} then {after:?}"))
    })?;
    for gauge in [
        "agent_cache_hit_rate",
        "agent_active_connections",
        "agent_build_info",
        "process_resident_memory_bytes",
    ] {
        stack.promql_value(gauge)?;
    }
    Ok(())
}

fn its_lines_are_in_the_file(stack: &Stack) -> Result<(), String> {
    let answer = stack.fresh_query("acme")?;
    let (request_id, trace_id) = (answer.header("x-request-id"), answer.header("x-trace-id"));
    let lines = until("the request's last line", SOON, || {
        let lines = lines_of(stack, request_id)?;
        let ended = lines.iter().any(|l| message(l).ends_with("request completed"));
        ensure(ended, || format!("{} lines", lines.len())).map(|()| lines)
    })?;
    for event in ["request started", "llm call completed", "request completed"] {
        ensure(lines.iter().any(|l| message(l).ends_with(event)), || {
            format!("no line `{event}` in {lines:?}")
        })?;
    }
    for line in &lines {
        expect("trace_id", line["trace_id"].as_str(), Some(trace_id))?;
        expect("tenant_id", line["tenant_id"].as_str(), Some("acme"))?;
    }
    Ok(())
}

fn its_audit_line_says_who_asked(stack: &Stack) -> Result<(), String> {
    let answer = stack.fresh_query("globex")?;
    let request_id = answer.header("x-request-id");
    let line = until("the request's audit line", SOON, || {
        let lines = lines_in(stack, "audit", request_id)?;
        ensure(lines.len() == 1, || format!("{lines:?}")).map(|()| lines[0].clone())
    })?;
    expect("tenant_id", line["tenant_id"].as_str(), Some("globex"))?;
    expect("trace_id", line["trace_id"].as_str(), Some(answer.header("x-trace-id")))?;
    ensure(line["seq"].as_u64() > Some(0), || format!("no sequence number: {line}"))
}

fn an_exemplar_leads_to_its_trace(stack: &Stack) -> Result<(), String> {
    let exemplars = || stack.exemplars("agent_request_duration_seconds_bucket");
    let before = exemplars()?;
    stack.fresh_query("acme")?;
    // One of now, and always the same one: Jaeger may have let go of the oldest, and while traffic goes on the newest is
    // ever another one, which has just not come yet.
    let trace_id = until("a new exemplar", SOON, || {
        exemplars()?.into_iter().find(|trace_id| !before.contains(trace_id)).ok_or("none".to_owned())
    })?;
    until("its trace in Jaeger", SOON, || stack.request_spans(&trace_id)).map(drop)
}

/// The lines in the agent's log files that carry `needle`.
pub(super) fn lines_of(stack: &Stack, needle: &str) -> Result<Vec<Value>, String> {
    lines_in(stack, "agent", needle)
}

/// The lines in the agent's files of a kind, `agent` or `audit`, that carry `needle`.
fn lines_in(stack: &Stack, kind: &str, needle: &str) -> Result<Vec<Value>, String> {
    let containers = stack.containers.as_ref().expect("needed");
    let script = format!("grep -hF -e '{needle}' /var/log/agent/{kind}.*.ndjson || true");
    let text = containers.exec("example-agent", &["sh", "-c", &script])?;
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|e| format!("not JSON: {e}: {line}")))
        .collect()
}

pub(super) fn message(line: &Value) -> &str {
    line["msg"].as_str().unwrap_or_default()
}

fn every_target_is_scraped(stack: &Stack) -> Result<(), String> {
    // Some are asked once a minute.
    until("every target up", 3 * SOON, || {
        let up = stack.promql("up")?;
        let down: Vec<_> = up.iter().filter(|s| s["value"][1] != "1").map(|s| &s["metric"]["job"]).collect();
        ensure(up.len() > 5 && down.is_empty(), || format!("{} targets, down: {down:?}", up.len()))?;
        // A part that could not be had must not look like one that is down.
        let absent = |name: &&String| up.iter().any(|s| s["metric"]["job"].as_str() == Some(name.as_str()));
        let asked: Vec<_> = stack.missing.keys().filter(absent).collect();
        ensure(asked.is_empty(), || format!("asked though missing: {asked:?}"))
    })
}

fn base_traffic_comes_from_several_tenants(stack: &Stack) -> Result<(), String> {
    until("requests of several tenants", 3 * SOON, || {
        let tenants = stack.promql("count by (tenant_id) (agent_requests_total{status=\"success\"} > 0)")?;
        ensure(tenants.len() >= 3, || format!("only {tenants:?}"))
    })
}

fn a_load_test_counts_what_the_agent_counts(stack: &Stack) -> Result<(), String> {
    const REQUESTS: &str = "60";
    let containers = stack.containers.as_ref().expect("needed");
    let successes = || stack.metric("agent_requests_total", &["status=\"success\""]);
    let before = successes()?;
    let url = "http://example-agent:8080";
    let load = ["load-test", "run", "--url", url, "--rate", "30", "--requests", REQUESTS, "--errors", "0"];
    // Fails where a limit is broken.
    let said = containers.exec("load", &load)?;
    ensure(said.contains("0.00 % not answered"), || said.clone())?;
    let all = said.lines().find(|line| line.starts_with("all ")).unwrap_or_default();
    let mut counts = all.split_whitespace().skip(1);
    expect(&said, (counts.next(), counts.next()), (Some(REQUESTS), Some(REQUESTS)))?;
    // The base traffic comes on top.
    let counted = successes()? - before;
    ensure(counted >= 60.0, || format!("the agent counts {counted} more"))
}

fn a_pushed_metric_reaches_prometheus(stack: &Stack) -> Result<(), String> {
    let url = format!("{}/metrics/job/stack-tests", stack.pushgateway);
    let push = client().put(&url).body("# TYPE stack_tests_pushed gauge\nstack_tests_pushed 1\n");
    expect("push", send(push)?.status, 200)?;
    let seen = until("the pushed metric", 3 * SOON, || {
        stack.promql_value("stack_tests_pushed{job=\"stack-tests\"}")
    });
    send(client().delete(&url))?;
    seen.map(drop)
}

fn grafana_reaches_its_data_sources(stack: &Stack) -> Result<(), String> {
    let ask = |path: &str| {
        let request = client().get(format!("{}{path}", stack.grafana));
        send(request.basic_auth("admin", Some(&stack.grafana_password)))
    };
    for source in ["prometheus", "jaeger"] {
        let answer = ask(&format!("/api/datasources/uid/{source}/health"))?;
        expect(&format!("health of {source}: {}", answer.text), answer.status, 200)?;
    }
    // This source has no health check of its own: it is only a proxy.
    let answer = ask("/api/alertmanager/alertmanager/api/v2/status")?;
    expect("Alertmanager through Grafana", answer.status, 200)?;
    let stranger = send(client().get(format!("{}/api/datasources", stack.grafana)))?;
    expect("data sources without a password", stranger.status, 401)
}
