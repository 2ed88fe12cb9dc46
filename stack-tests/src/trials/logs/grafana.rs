//! Grafana's links between lines and traces: what its provisioning says is filled in as Grafana would, and both sides are
//! asked, Elasticsearch as Grafana's user.

use std::{fs, path::Path};

use regex::Regex;
use saphyr::{LoadableYamlNode as _, YamlOwned};
use serde_json::{Value, json};

use super::{
    super::{ensure, expect},
    documents::{self, Document},
};
use crate::{
    stack::Stack,
    wait::{SOON, until},
};

/// `ELASTICSEARCH_USER` in docker-compose.yml.
const USER: &str = "agent_logs_reader";

fn data_source(uid: &str) -> Result<YamlOwned, String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana/provisioning/datasources/datasources.yaml");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut documents = YamlOwned::load_from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let sources = documents.pop().and_then(|document| document.as_mapping_get("datasources").cloned());
    let sources = sources.as_ref().and_then(YamlOwned::as_sequence).cloned().unwrap_or_default();
    let source = sources.into_iter().find(|source| text_of(source, &["uid"]).is_ok_and(|found| found == uid));
    source.ok_or(format!("no data source {uid}"))
}

/// A text, as Grafana has it once it has read the file: `$$` stands for `$`.
fn text_of(source: &YamlOwned, path: &[&str]) -> Result<String, String> {
    let found = path.iter().try_fold(source, |node, key| match key.parse::<usize>() {
        Ok(index) => node.as_sequence()?.get(index),
        Err(_) => node.as_mapping_get(key),
    });
    let text = found.and_then(YamlOwned::as_str).ok_or(format!("nothing at {path:?}"))?;
    Ok(text.replace("$$", "$"))
}

/// The name of a day's index: the pattern has what is to be taken as it is in brackets.
fn index_of(pattern: &str, day: &str) -> Result<String, String> {
    let parts = Regex::new(r"^\[([^\]]*)\]YYYY\.MM\.DD$").expect("a constant pattern").captures(pattern);
    let prefix = &parts.ok_or(format!("{pattern} is no pattern that this trial knows"))?[1];
    Ok(format!("{prefix}{}", day.replace('-', ".")))
}

/// The leaves of a document, by their paths with dots: so Grafana shows them.
fn flat(value: &Value, above: &str, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let dot = if above.is_empty() { "" } else { "." };
            flat(value, &format!("{above}{dot}{name}"), leaves);
        }),
        Value::String(text) => leaves.push((above.to_owned(), text.clone())),
        other => leaves.push((above.to_owned(), other.to_string())),
    }
}

/// A request of now, with a real trace, whose lines are in Elasticsearch as Logstash would have put them there.
fn request_with_lines(stack: &Stack) -> Result<String, String> {
    let cases = documents::loaded(stack)?;
    let answer = stack.fresh_query("acme")?;
    let (request_id, trace_id) = (answer.header("x-request-id"), answer.header("x-trace-id"));
    let model = cases.iter().find(|d| d.text("/message") == "request completed" && d.is_usable());
    let request = model.ok_or("no case has a request")?.text("/request_id");
    let of_request = cases.iter().filter(|d| d.text("/request_id") == request && !d.is_audit());
    let lines: Vec<_> = of_request
        .map(|document| {
            let mut source = document.source.clone();
            source["request_id"] = json!(request_id);
            source["trace"] = json!({"id": trace_id});
            Document { id: format!("{trace_id}-{}", document.id), source, ..document.clone() }
        })
        .collect();
    ensure(lines.len() > 1, || format!("only {} lines", lines.len()))?;
    documents::add(stack, &lines)?;
    until("its trace", SOON, || stack.request_spans(trace_id))?;
    Ok(trace_id.to_owned())
}

/// What Grafana's source gives for a query.
fn ask(stack: &Stack, source: &YamlOwned, query: &str) -> Result<Vec<Value>, String> {
    let pattern = text_of(source, &["jsonData", "index"])?;
    let now = std::time::SystemTime::now();
    let days = [now - std::time::Duration::from_hours(1), now].map(humantime::format_rfc3339);
    let indices: Vec<_> =
        days.iter().map(|day| index_of(&pattern, &day.to_string()[..10])).collect::<Result<_, _>>()?;
    let time = text_of(source, &["jsonData", "timeField"])?;
    let query = json!({"size": 500, "sort": [{time: "desc"}], "query": {"query_string": {"query": query}}});
    let answer = documents::search(stack, USER, &indices.join(","), &query)?;
    let hits = answer["hits"]["hits"].as_array().into_iter().flatten();
    Ok(hits.map(|hit| hit["_source"].clone()).collect())
}

pub(super) fn a_trace_leads_to_its_lines_and_back(stack: &Stack) -> Result<(), String> {
    let trace_id = request_with_lines(stack)?;
    let (jaeger, elasticsearch) = (data_source("jaeger")?, data_source("elasticsearch")?);
    let to_logs = |key: &str| text_of(&jaeger, &["jsonData", "tracesToLogsV2", key]);
    expect("where traces' lines are", to_logs("datasourceUid")?, "elasticsearch".to_owned())?;
    let query = to_logs("query")?.replace("${__trace.traceId}", &trace_id);
    ensure(!query.contains('$'), || format!("left unfilled: {query}"))?;
    let lines = ask(stack, &elasticsearch, &query)?;
    ensure(lines.len() > 1, || format!("{} lines for {query}", lines.len()))?;
    for line in &lines {
        expect("trace.id", line["trace"]["id"].as_str(), Some(trace_id.as_str()))?;
    }

    let mut leaves = Vec::new();
    flat(&lines[0], "", &mut leaves);
    for setting in ["logMessageField", "logLevelField", "timeField"] {
        let field = text_of(&elasticsearch, &["jsonData", setting])?;
        ensure(leaves.iter().any(|(name, _)| *name == field), || format!("no line has {setting} {field}"))?;
    }
    let link = |key: &str| text_of(&elasticsearch, &["jsonData", "dataLinks", "0", key]);
    expect("where lines' traces are", link("datasourceUid")?, "jaeger".to_owned())?;
    let field = Regex::new(&link("field")?).map_err(|e| e.to_string())?;
    let linked: Vec<_> = leaves.iter().filter(|(name, _)| field.is_match(name)).collect();
    expect("fields with a link", linked.len(), 1)?;
    let back = link("url")?.replace("${__value.raw}", &linked[0].1);
    stack.request_spans(&back).map(drop)
}

/// The source's user sees the log, and nothing else.
pub(super) fn its_user_reads_the_log_only(stack: &Stack) -> Result<(), String> {
    let source = data_source("elasticsearch")?;
    expect("user", text_of(&source, &["basicAuthUser"])?, "${ELASTICSEARCH_USER}".to_owned())?;
    let cases = documents::loaded(stack)?;
    let seen = documents::found(stack, USER, "agent-*", "*", cases)?;
    let log = cases.iter().filter(|document| !document.is_audit()).count();
    expect("documents that Grafana's user finds", seen.len(), log)
}
