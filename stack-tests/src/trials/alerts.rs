//! The rules, as the running stack has them. What comes of them is drilled: see `drill`.

use serde_json::Value;

use super::{Case, ensure};
use crate::{
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("alerts::the_rules_are_loaded_and_sound", &[], rules_are_sound),
    Case::new("alerts::every_runbook_link_opens", &[], every_runbook_link_opens),
    Case::new("alerts::every_metric_that_a_rule_reads_is_there", &[], every_metric_is_there),
];

fn rules_are_sound(stack: &Stack) -> Result<(), String> {
    until("every rule evaluated", 2 * SOON, || {
        let rules = stack.rules("")?;
        // What is evaluated hourly may not have been yet.
        let not_due = |rule: &Value| rule["health"] == "unknown" && rule["interval"].as_f64() > Some(60.0);
        let sick: Vec<_> = rules
            .iter()
            .filter(|rule| rule["health"] != "ok" && !not_due(rule))
            .map(|rule| &rule["name"])
            .collect();
        ensure(sick.is_empty(), || format!("not ok: {sick:?}"))?;
        let alerts = rules.iter().filter(|rule| rule["type"] == "alerting").count();
        ensure(alerts > 30, || format!("only {alerts} alerts"))?;
        Ok::<_, String>(())
    })
}

/// The links stand in messages to people: they must open where this stack is.
fn every_runbook_link_opens(stack: &Stack) -> Result<(), String> {
    for rule in stack.rules("")?.iter().filter(|rule| rule["type"] == "alerting") {
        let name = rule["name"].as_str().unwrap_or_default();
        let page = format!("{}/user/{name}.md", stack.prometheus);
        let answer = reqwest::blocking::get(&page).map_err(|e| e.to_string())?;
        ensure(answer.status().is_success(), || format!("{page}: {}", answer.status()))?;
        let text = answer.text().map_err(|e| e.to_string())?;
        ensure(text.contains("## Mitigation"), || format!("{page} is no runbook"))?;
    }
    Ok(())
}

/// Series that begin with what they count, each with the drill that has it happen, or with when that is.
pub(super) const BEGIN_LATER: [(&str, &str); 6] = [
    ("agent_answer_accuracy_ratio", "drill LowAnswerAccuracy"),
    ("otelcol_receiver_failed_spans_total", "once a span came"),
    ("otelcol_receiver_refused_spans_total", "once a span came"),
    ("otelcol_exporter_send_failed_spans_total", "once a span could not be stored"),
    ("otelcol_exporter_enqueue_failed_spans_total", "once a span finds no room in the queue to Kafka"),
    ("push_time_seconds", "drill LowAnswerAccuracy"),
];

/// A rule that reads a metric nobody has can never fire.
fn every_metric_is_there(stack: &Stack) -> Result<(), String> {
    let host = stack.promql("up{job=\"node-exporter\"}")?;
    let log_path = stack.promql("up{job=\"log-watch\"}")?;
    let ships = !stack.missing.contains_key("logstash");
    until("every metric", 2 * SOON, || {
        let names = stack.get(&format!("{}/api/v1/label/__name__/values", stack.prometheus))?;
        let known = |name: &str| names["data"].as_array().is_some_and(|all| all.iter().any(|n| n == name));
        let rules = stack.rules("")?;
        let recorded = |name: &str| rules.iter().any(|r| r["type"] == "recording" && r["name"] == name);
        let later = |name: &str| BEGIN_LATER.iter().any(|(known, _)| *known == name);
        let mut missing = Vec::new();
        let mut seen = 0;
        for rule in &rules {
            for name in selected(stack, rule["query"].as_str().unwrap_or_default())? {
                seen += 1;
                // The profiles `infra` and `logs` may be off, and there may be no Logstash to be had.
                let of_logs = ["log_", "logstash_", "elasticsearch_"].iter().any(|p| name.starts_with(p));
                let of_shipping = name.starts_with("logstash_") || name == "log_lines_missing";
                let off = (host.is_empty() && name.starts_with("node_"))
                    || (log_path.is_empty() && of_logs)
                    || (!ships && of_shipping);
                if !(known(&name) || recorded(&name) || later(&name) || off) {
                    missing.push(format!("{name} in {}", rule["name"]));
                }
            }
        }
        ensure(seen > 50 && missing.is_empty(), || {
            format!("of {seen} metrics these are missing: {missing:?}")
        })
    })
}

/// The metrics that an expression selects, as Prometheus itself reads it.
pub(super) fn selected(stack: &Stack, expr: &str) -> Result<Vec<String>, String> {
    fn collect(node: &Value, found: &mut Vec<String>) {
        if node["type"] == "vectorSelector" {
            found.extend(node["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned));
        }
        match node {
            Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let url = reqwest::Url::parse_with_params(
        &format!("{}/api/v1/parse_query", stack.prometheus),
        [("query", expr)],
    )
    .map_err(|e| format!("{expr}: {e}"))?;
    let tree = stack.get(url.as_str())?;
    let mut found = Vec::new();
    collect(&tree["data"], &mut found);
    found.sort();
    found.dedup();
    Ok(found)
}
