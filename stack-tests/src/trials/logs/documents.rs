//! The documents that the pipelines make of their test cases (`logstash/tests/cases`), as if the lines had just been
//! written. So that what is tested with them needs no Logstash, and no second copy of the mapping.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::{
    clients::{client, send},
    stack::{Stack, repository},
    wait::{SOON, until},
};

/// Its lines are of many years, and would open an index for each.
const LEFT_OUT: &str = "times";

/// A document in Elasticsearch.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) id: String,
    pub(super) index: String,
    pub(super) source: Value,
}

impl Document {
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.source.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is a line that was understood.
    pub(super) fn is_usable(&self) -> bool {
        !self.index.contains("-unparsed-") && !self.index.contains("-dead-")
    }

    pub(super) fn is_audit(&self) -> bool {
        self.index.starts_with("agent-audit-")
    }
}

/// All of them, once for all trials: put into Elasticsearch as the user that Logstash is, and there to be found.
pub(super) fn loaded(stack: &Stack) -> Result<&'static [Document], String> {
    static LOADED: OnceLock<Result<Vec<Document>, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let documents = of_now(&from_cases()?)?;
        add(stack, &documents)?;
        Ok(documents)
    });
    loaded.as_ref().map(Vec::as_slice).map_err(Clone::clone)
}

/// Each line once, though several ways lead it in.
fn from_cases() -> Result<Vec<Document>, String> {
    let cases = repository().join("logstash/tests/cases");
    let mut documents = BTreeMap::new();
    for case in fs::read_dir(&cases).map_err(|e| format!("{}: {e}", cases.display()))? {
        let case = case.map_err(|e| e.to_string())?.path();
        if case.ends_with(LEFT_OUT) {
            continue;
        }
        let path = case.join("expected.ndjson");
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for line in text.lines() {
            let mut line: Value =
                serde_json::from_str(line).map_err(|e| format!("{}: {e}", path.display()))?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (id, index) = (text(&line["_id"]), text(&line["_index"]));
            documents.insert(id.clone(), Document { id, index, source: line["_source"].take() });
        }
    }
    Ok(documents.into_values().collect())
}

/// Moves the newest of them to this moment and the others with it, and gives each request an id of this run.
fn of_now(documents: &[Document]) -> Result<Vec<Document>, String> {
    let newest = documents.iter().map(time_of).collect::<Result<Vec<_>, _>>()?.into_iter().max();
    let now = SystemTime::now();
    let shift =
        now.duration_since(newest.ok_or("no documents")?).map_err(|e| format!("of the future: {e}"))?;
    let run = &uuid::Uuid::new_v4().simple().to_string()[..8];
    documents.iter().map(|document| moved(document, shift, run)).collect()
}

pub(super) fn time_of(document: &Document) -> Result<SystemTime, String> {
    let time = document.text("/@timestamp");
    humantime::parse_rfc3339(time).map_err(|e| format!("{}: {time}: {e}", document.id))
}

fn moved(document: &Document, shift: Duration, run: &str) -> Result<Document, String> {
    // An index of a day or of a month.
    let span = Regex::new(r"\d{4}\.\d{2}(\.\d{2})?$").expect("a constant pattern");
    let time = humantime::format_rfc3339_nanos(time_of(document)? + shift).to_string();
    let mut source = document.source.clone();
    for pointer in ["/request_id", "/rated_request_id", "/trace/id"] {
        if let Some(Value::String(id)) = source.pointer_mut(pointer)
            && id.len() > 24
        {
            // Hexadecimal, as they were.
            id.truncate(id.len() - run.len());
            id.push_str(run);
        }
    }
    // The cases are no whole run of an agent: each line a run of its own, so that no number is missing between two.
    if source["boot_id"].is_string() {
        source["boot_id"] = json!(format!("{run}-{}", document.id));
    }
    source["@timestamp"] = json!(time);
    let index =
        span.replace(&document.index, |found: &Captures<'_>| time[..found[0].len()].replace('-', "."));
    let index = index.into_owned();
    Ok(Document { id: format!("{run}-{}", document.id), index, source })
}

/// Adds them as Logstash does, and waits until they can be found.
pub(super) fn add(stack: &Stack, documents: &[Document]) -> Result<(), String> {
    let lines = documents.iter().map(|document| {
        let action = json!({"create": {"_index": document.index, "_id": document.id}});
        format!("{action}\n{}\n", document.source)
    });
    let body: String = lines.collect();
    let user = "agent_logs_writer";
    let request = client()
        .post(format!("{}/_bulk", stack.elasticsearch))
        .basic_auth(user, Some(stack.elasticsearch_password(user)?))
        .header("content-type", "application/x-ndjson");
    let answer = send(request.body(body))?.json()?;
    let items = answer["items"].as_array().ok_or_else(|| format!("_bulk: {answer}"))?;
    let refused: Vec<_> = items.iter().filter(|item| item["create"]["status"] != 201).collect();
    if !refused.is_empty() {
        return Err(format!("{} of {} refused: {:.500}", refused.len(), items.len(), json!(refused)));
    }
    let ids: BTreeSet<_> = documents.iter().map(|document| document.id.as_str()).collect();
    until("the documents can be found", SOON, || {
        let query = json!({"size": 0, "track_total_hits": true, "query": {"ids": {"values": ids}}});
        let found = search(stack, "elastic", "agent-*", &query)?["hits"]["total"]["value"].as_u64();
        if found == Some(documents.len() as u64) { Ok(()) } else { Err(format!("{found:?}")) }
    })
}

/// What a search gives to a user.
pub(super) fn search(stack: &Stack, user: &str, indices: &str, query: &Value) -> Result<Value, String> {
    let path = format!("POST /{indices}/_search?ignore_unavailable=true&allow_no_indices=true");
    let answer = stack.elasticsearch_as(user, &path, Some(query))?;
    if answer.status == 200 {
        answer.json()
    } else {
        Err(format!("{path} as {user}: {}: {:.300}", answer.status, answer.text))
    }
}

/// The ids of what a query in Lucene's language finds, of those that were loaded.
pub(super) fn found(
    stack: &Stack,
    user: &str,
    indices: &str,
    query: &str,
    among: &[Document],
) -> Result<BTreeSet<String>, String> {
    let ids: Vec<_> = among.iter().map(|document| document.id.as_str()).collect();
    let query = json!({"size": 10_000, "_source": false, "query": {"bool": {"filter": [
        {"query_string": {"query": query, "analyze_wildcard": true}}, {"ids": {"values": ids}}]}}});
    let answer = search(stack, user, indices, &query)?;
    let hits = answer["hits"]["hits"].as_array().into_iter().flatten();
    Ok(hits.filter_map(|hit| hit["_id"].as_str().map(str::to_owned)).collect())
}
