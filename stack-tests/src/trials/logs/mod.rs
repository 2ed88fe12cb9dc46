//! The log path as people see it: searches, links, one request's story, and who watches over all of it.

mod documents;
mod grafana;
mod kibana;

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use super::{Case, Need, ensure, expect};
use crate::{
    stack::Stack,
    wait::{SOON, until},
};

const HERE: Need = Need::Service("elasticsearch");

pub(super) const CASES: &[Case] = &[
    Case::new("logs::kibanas_searches_find_what_they_say", &[HERE], kibana::searches_find_what_they_say),
    Case::new("logs::every_column_of_kibanas_charts_has_data", &[HERE], kibana::charts_have_data),
    Case::new(
        "logs::kibana_has_what_it_was_given",
        &[HERE, Need::Service("kibana")],
        kibana::has_what_it_was_given,
    ),
    Case::new(
        "logs::each_line_of_a_request_comes_through_logstash_once",
        &[HERE, Need::Service("logstash")],
        lines_come_through_logstash,
    ),
    Case::new("logs::grafanas_user_reads_the_log_only", &[HERE], grafana::its_user_reads_the_log_only),
    Case::new(
        "logs::a_trace_leads_to_its_lines_in_grafana_and_back",
        &[HERE, Need::Service("jaeger")],
        grafana::a_trace_leads_to_its_lines_and_back,
    ),
    Case::new("logs::the_newest_line_is_as_old_as_prometheus_says", &[HERE], freshness_is_right),
    Case::new(
        "logs::lines_are_expected_only_where_somebody_ships_them",
        &[HERE],
        expected_only_where_shipped,
    ),
    Case::new("logs::log_watch_counts_lines_and_changes_none", &[HERE], log_watch_changes_nothing),
    Case::new("logs::elasticsearch_tells_of_its_health_and_its_disk", &[HERE], exporter_tells),
    Case::new(
        "logs::a_story_has_lines_audit_spans_and_cost",
        &[Need::Containers, Need::Service("jaeger")],
        a_story_is_whole,
    ),
    Case::new("logs::an_old_story_is_told_from_elasticsearch", &[Need::Containers, HERE], an_old_story),
    Case::new("logs::an_unknown_story_says_where_it_was_looked_for", &[Need::Containers], an_unknown_story),
    Case::new(
        "logs::lines_kept_as_text_reach_slack_and_resolve",
        &[HERE, Need::Fast],
        unusable_lines_reach_slack,
    ),
    Case::new(
        "logs::an_elasticsearch_that_is_down_reaches_slack_and_resolves",
        &[HERE, Need::Fast, Need::Containers],
        elasticsearch_down_reaches_slack,
    ),
];

/// From the agent's files, through the pipelines of the running Logstash.
fn lines_come_through_logstash(stack: &Stack) -> Result<(), String> {
    let answer = stack.fresh_query("acme")?;
    let (request_id, trace_id) = (answer.header("x-request-id"), answer.header("x-trace-id"));
    let query = serde_json::json!({"size": 100, "query": {"term": {"request_id": request_id}}});
    let found = |indices: &str, messages: &[&str]| -> Result<(), String> {
        let answer = documents::search(stack, "elastic", indices, &query)?;
        let hits: Vec<_> = answer["hits"]["hits"].as_array().into_iter().flatten().collect();
        let mut found: Vec<_> = hits.iter().filter_map(|hit| hit["_source"]["message"].as_str()).collect();
        // Details, for tenants that have them, are not counted.
        found.retain(|message| messages.contains(message));
        found.sort_unstable();
        expect(&format!("lines in {indices}"), &found[..], messages)?;
        for hit in hits {
            expect("trace.id", hit["_source"]["trace"]["id"].as_str(), Some(trace_id))?;
            expect("tenant_id", hit["_source"]["tenant_id"].as_str(), Some("acme"))?;
        }
        Ok(())
    };
    until("the request's lines", 4 * SOON, || {
        found("agent-logs-*", &["llm call completed", "request completed", "request started"])?;
        found("agent-audit-*", &["access decision"])
    })
}

fn freshness_is_right(stack: &Stack) -> Result<(), String> {
    let documents = documents::loaded(stack)?;
    for (stream, audit) in [("app", false), ("audit", true)] {
        let times = documents.iter().filter(|document| document.is_audit() == audit).map(documents::time_of);
        let newest = times.collect::<Result<Vec<_>, _>>()?.into_iter().max().ok_or("no documents")?;
        let newest = newest.duration_since(std::time::UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs_f64();
        until(&format!("the newest line of {stream}"), 2 * SOON, || {
            let said =
                stack.promql_value(&format!("log_newest_line_timestamp_seconds{{stream=\"{stream}\"}}"))?;
            let age =
                stack.promql_value(&format!("stream:log_newest_line_age_seconds{{stream=\"{stream}\"}}"))?;
            // To the millisecond that Elasticsearch keeps. Where a Logstash runs, newer ones come in meanwhile.
            ensure(said > newest - 0.002 && age >= 0.0, || format!("{said}, {age} s old, wanted {newest}"))
        })?;
    }
    Ok(())
}

/// Without Logstash lines stop at the file on purpose, and nothing may wait for them.
fn expected_only_where_shipped(stack: &Stack) -> Result<(), String> {
    let ships = !stack.missing.contains_key("logstash");
    until("whether lines are shipped", SOON, || {
        expect("log_watch_shipping", stack.promql_value("log_watch_shipping")?, f64::from(u8::from(ships)))
    })?;
    if ships {
        return until("all lines arrive", 4 * SOON, || {
            expect("streams", stack.promql("log_lines_missing == 0")?.len(), 2)
        });
    }
    expect("expected lines", stack.promql("log_lines_missing")?.len(), 0)?;
    let alerts = "ALERTS{alertname=~\"LogsStale|LogLinesMissing|LogstashDown|LogstashQueueFull\"}";
    expect("alerts that wait for lines", stack.promql(alerts)?.len(), 0)
}

/// Counting by time is reading; more than that its user may not.
fn log_watch_changes_nothing(stack: &Stack) -> Result<(), String> {
    let documents = documents::loaded(stack)?;
    let usable = documents.iter().find(|document| document.is_audit() && document.is_usable());
    let (index, id) = usable.map(|document| (&document.index, &document.id)).ok_or("no audit line")?;
    for (request, status) in [
        (format!("GET /{index}/_search?size=0"), 200),
        (format!("DELETE /{index}/_doc/{id}"), 403),
        (format!("PUT /{index}/_doc/{id}"), 403),
        (format!("DELETE /{index}"), 403),
        ("GET /agent-kit-jaeger-span-2026-01-02/_search".to_owned(), 403),
        ("GET /_security/user".to_owned(), 403),
    ] {
        let body = serde_json::json!({"message": "trial"});
        let answer =
            stack.elasticsearch_as("log_watch", &request, request.starts_with("PUT").then_some(&body))?;
        expect(&format!("{request}: {:.200}", answer.text), answer.status, status)?;
    }
    Ok(())
}

fn exporter_tells(stack: &Stack) -> Result<(), String> {
    until("what the rules read", 3 * SOON, || {
        stack.promql_value("elasticsearch_cluster_health_status{color=\"red\"}")?;
        let free = stack.promql_value("node:elasticsearch_disk_free:ratio")?;
        ensure(free > 0.0 && free < 1.0, || format!("{free} of the disk is free"))
    })
}

/// `make story`, as a user calls it.
fn story(stack: &Stack, id: &str) -> Result<Output, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(repository.join("setup/story.sh"));
    let project = stack.containers.as_ref().expect("needed").project();
    command.arg(id).env("COMPOSE_PROJECT_NAME", project).env("SECRETS_DIR", &stack.secrets);
    command.output().map_err(|e| format!("story.sh: {e}"))
}

fn told(output: &Output) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// Fails unless the text has all parts, in this order.
fn in_order(text: &str, parts: &[&str]) -> Result<(), String> {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).ok_or_else(|| format!("no `{part}` in its place in {text}"))?;
        rest = &rest[at + part.len()..];
    }
    Ok(())
}

/// Of a request of now: from wherever its lines are.
fn a_story_is_whole(stack: &Stack) -> Result<(), String> {
    let answer = stack.fresh_query("acme")?;
    let (request_id, trace_id) = (answer.header("x-request-id"), answer.header("x-trace-id"));
    let cost = answer.json()?["cost_usd"].as_f64().ok_or("no cost")?;
    until("its trace", SOON, || {
        let spans = stack.spans(trace_id)?;
        ensure(spans.iter().any(|span| span.name.starts_with("chat")), || format!("{spans:?}"))
    })?;
    let cost = format!("{cost:.6} USD");
    for id in [request_id, trace_id] {
        until(&format!("the story of {id}"), SOON, || {
            let text = told(&story(stack, id)?)?;
            let lines = ["request started", "llm call completed", "request completed", "access decision"];
            let spans = ["process_request", "check_cache", "call_llm", "gen_ai.usage.output_tokens=", "chat"];
            in_order(&text, &[&lines[..], &spans[..], &["Model calls: 1", &cost][..]].concat())?;
            ensure(text.contains(request_id) && text.contains(trace_id), || format!("no ids in {text}"))
        })?;
    }
    Ok(())
}

/// Of a request whose lines no file has any more.
fn an_old_story(stack: &Stack) -> Result<(), String> {
    let cases = documents::loaded(stack)?;
    let call = cases.iter().find(|d| d.text("/message") == "llm call completed" && d.is_usable());
    let call = call.ok_or("no case has a call of the model")?;
    let text = told(&story(stack, call.text("/request_id"))?)?;
    in_order(&text, &["from Elasticsearch", "request started", "llm call completed", "request completed"])?;
    let tokens = format!("{} input + {} output", call.source["input_tokens"], call.source["output_tokens"]);
    ensure(text.contains(&tokens), || format!("no {tokens} in {text}"))
}

fn an_unknown_story(stack: &Stack) -> Result<(), String> {
    let output = story(stack, &uuid::Uuid::new_v4().to_string())?;
    expect("exit code", output.status.code(), Some(1))?;
    let said = String::from_utf8_lossy(&output.stderr);
    expect(&format!("lines: {said}"), said.lines().count(), 1)?;
    for place in ["Elasticsearch", "/var/log/agent", "Jaeger"] {
        ensure(said.contains(place), || format!("does not say that it looked in {place}: {said}"))?;
    }
    let nonsense = story(stack, "no such id")?;
    expect("exit code of what is no id", nonsense.status.code(), Some(64))
}

/// Waits until the last message in Slack's inbox about an alert has a colour: `good` is that of its end.
fn last_message_is(stack: &Stack, alert: &str, colour: &str, limit: Duration) -> Result<(), String> {
    until(&format!("{alert} in Slack, {colour}"), limit, || {
        let all = stack.slack_messages()?;
        let mut attachments = all.iter().map(|message| &message["payload"]["attachments"][0]);
        let last = attachments.rfind(|a| a["title"].to_string().contains(alert));
        let last = last.map_or("none", |attachment| attachment["color"].as_str().unwrap_or_default());
        expect("colour of the last message", last, colour)
    })
}

/// Runs `provoke`, waits for the alert's message, runs `cure` and waits for its end.
fn fires_and_resolves(
    stack: &Stack,
    alert: &str,
    colour: &str,
    provoke: impl FnOnce() -> Result<(), String>,
    cure: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let fired = provoke().and_then(|()| last_message_is(stack, alert, colour, 4 * SOON));
    cure()?;
    fired?;
    last_message_is(stack, alert, "good", 6 * SOON)
}

fn unusable_lines_reach_slack(stack: &Stack) -> Result<(), String> {
    let load = || documents::loaded(stack).map(drop);
    let remove = || {
        let documents = documents::loaded(stack)?;
        documents.iter().filter(|document| !document.is_usable()).try_for_each(|document| {
            let request = format!("DELETE /{}/_doc/{}", document.index, document.id);
            let answer = stack.elasticsearch_as("elastic", &request, None)?;
            expect(&format!("{request}: {:.200}", answer.text), answer.status, 200)
        })
    };
    fires_and_resolves(stack, "LogLinesUnusable", "warning", load, remove)
}

fn elasticsearch_down_reaches_slack(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    // It must have been met: what has never answered may be starting.
    until("met", SOON, || stack.promql_value("log_watch_source_up{source=\"elasticsearch\"} == 1"))?;
    let stop = || containers.each("stop", "elasticsearch");
    let start = || {
        containers.each("start", "elasticsearch")?;
        until("Elasticsearch is back", 20 * SOON, || containers.healthy("elasticsearch"))
    };
    fires_and_resolves(stack, "ElasticsearchDown", "danger", stop, start)?;
    expect("status of a question afterwards", stack.fresh_query("acme")?.status, 200)
}
