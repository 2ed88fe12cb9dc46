//! Kibana's searches and charts, asked of Elasticsearch directly.

use std::{collections::BTreeSet, fs, path::Path};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::{
    super::{ensure, expect},
    documents::{self, Document},
};
use crate::{
    clients::{client, send},
    stack::Stack,
};

/// What each search must find.
type Wanted = fn(&Document) -> bool;
const SEARCHES: [(&str, Wanted); 5] = [
    ("agent-errors", |d| !d.is_audit() && d.is_usable() && d.text("/log/level") == "ERROR"),
    ("agent-slow-requests", |d| {
        let slow = d.source["duration_seconds"].as_f64().is_some_and(|seconds| seconds >= 2.0);
        !d.is_audit() && d.is_usable() && d.text("/message") == "request completed" && slow
    }),
    ("agent-request", |d| !d.text("/request_id").is_empty()),
    ("agent-audit-trail", |d| d.is_audit() && d.is_usable() && !d.text("/action").is_empty()),
    ("agent-unusable-lines", |d| !d.is_usable()),
];

fn objects() -> Result<Vec<Value>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kibana/saved-objects.ndjson");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|e| format!("{}: {e}", path.display())))
        .collect()
}

/// The indices behind the data view that an object refers to.
fn indices(objects: &[Value], object: &Value) -> Result<String, String> {
    let view =
        objects.iter().find(|o| o["type"] == "index-pattern" && o["id"] == object["references"][0]["id"]);
    let title = view.and_then(|view| view["attributes"]["title"].as_str());
    title.map(str::to_owned).ok_or_else(|| format!("{} has no data view", object["id"]))
}

/// KQL as Lucene has it, as far as the kit's queries go.
fn lucene(kuery: &str) -> String {
    let compare = Regex::new(r"(\S+)\s*(>=|<=|>|<)\s*(\S+)").expect("a constant pattern");
    let colon = Regex::new(r"\s*:\s*").expect("a constant pattern");
    let query = compare.replace_all(kuery, "$1:$2$3").replace(" and ", " AND ").replace(" or ", " OR ");
    let query = colon.replace_all(&query, ":").into_owned();
    if query.is_empty() { "*".into() } else { query }
}

/// As the user that may see everything: who asks in Kibana is for its owner to say.
const USER: &str = "elastic";

pub(super) fn searches_find_what_they_say(stack: &Stack) -> Result<(), String> {
    let (documents, objects) = (documents::loaded(stack)?, objects()?);
    let searches: Vec<_> = objects.iter().filter(|object| object["type"] == "search").collect();
    expect("searches", searches.len(), SEARCHES.len())?;
    for (id, wanted) in SEARCHES {
        let search = searches.iter().find(|search| search["id"] == id).ok_or(format!("no search {id}"))?;
        let source = &search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"];
        let source: Value =
            serde_json::from_str(source.as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
        let query = lucene(source["query"]["query"].as_str().unwrap_or_default());
        let found = documents::found(stack, USER, &indices(&objects, search)?, &query, documents)?;
        let wanted: BTreeSet<_> = documents.iter().filter(|d| wanted(d)).map(|d| d.id.clone()).collect();
        ensure(!wanted.is_empty(), || format!("no case has a line for {id}: it proves nothing"))?;
        ensure(found == wanted, || {
            let (more, less) = (found.difference(&wanted).count(), wanted.difference(&found).count());
            format!("{id} ({query}): {more} too many and {less} too few of {}", wanted.len())
        })?;
    }
    Ok(())
}

/// What the setup has imported is there, with all it refers to, and Discover opens with the log.
pub(super) fn has_what_it_was_given(stack: &Stack) -> Result<(), String> {
    let objects = objects()?;
    let ids = |objects: &[Value]| -> BTreeSet<String> {
        let named = objects.iter().filter(|object| object["id"].is_string());
        named.map(|object| format!("{}/{}", object["type"], object["id"])).collect()
    };
    let wanted: Vec<_> =
        objects.iter().map(|object| json!({"type": object["type"], "id": object["id"]})).collect();
    let ask = |request: reqwest::blocking::RequestBuilder| -> Result<String, String> {
        let request = request.basic_auth(USER, Some(stack.elasticsearch_password(USER)?));
        let answer = send(request.header("kbn-xsrf", "kit"))?;
        expect(&format!("{:.300}", answer.text), answer.status, 200)?;
        Ok(answer.text)
    };
    let export = client().post(format!("{}/api/saved_objects/_export", stack.kibana));
    // An export fails where a reference leads nowhere.
    let exported = ask(export.json(&json!({"objects": wanted, "excludeExportDetails": true})))?;
    let exported = exported.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    expect("objects", ids(&exported.map_err(|e| e.to_string())?), ids(&objects))?;
    let default = ask(client().get(format!("{}/api/data_views/default", stack.kibana)))?;
    let default: Value = serde_json::from_str(&default).map_err(|e| format!("{default}: {e}"))?;
    expect("default data view", default["data_view_id"].as_str(), Some("agent-logs"))
}

/// The aggregation behind a column of a chart.
fn aggregation(column: &Value) -> Result<Value, String> {
    let field = &column["sourceField"];
    Ok(match column["operationType"].as_str() {
        Some("date_histogram") => json!({"date_histogram": {"field": field, "fixed_interval": "1m"}}),
        Some("terms") => json!({"terms": {"field": field, "size": column["params"]["size"]}}),
        Some("percentile") => {
            json!({"percentiles": {"field": field, "percents": [column["params"]["percentile"]]}})
        }
        Some("median") => json!({"percentiles": {"field": field, "percents": [50]}}),
        Some("sum") => json!({"sum": {"field": field}}),
        Some("count") => json!({"value_count": {"field": "@timestamp"}}),
        other => return Err(format!("a column of type {other:?}")),
    })
}

pub(super) fn charts_have_data(stack: &Stack) -> Result<(), String> {
    documents::loaded(stack)?;
    let objects = objects()?;
    let mut columns_seen = 0;
    for chart in objects.iter().filter(|object| object["type"] == "lens") {
        let state = &chart["attributes"]["state"];
        let columns = &state["datasourceStates"]["formBased"]["layers"]["layer"]["columns"];
        let mut aggregations = Map::new();
        for (name, column) in columns.as_object().into_iter().flatten() {
            let own = column["filter"]["query"].as_str().unwrap_or_default();
            let filter = json!({"query_string": {"query": lucene(own)}});
            aggregations
                .insert(name.clone(), json!({"filter": filter, "aggs": {"value": aggregation(column)?}}));
        }
        let query = lucene(state["query"]["query"].as_str().unwrap_or_default());
        let query = json!({"size": 0, "query": {"query_string": {"query": query}}, "aggs": aggregations});
        let answer = documents::search(stack, USER, &indices(&objects, chart)?, &query)?;
        for name in aggregations_of(&query) {
            let value = &answer["aggregations"][&name]["value"];
            let buckets = value["buckets"].as_array().map(Vec::len);
            let number =
                value["value"].as_f64().or_else(|| value["values"].as_object()?.values().next()?.as_f64());
            ensure(buckets.is_some_and(|n| n > 0) || number.is_some_and(|n| n > 0.0), || {
                format!("{}: nothing in column {name}: {value}", chart["id"])
            })?;
            columns_seen += 1;
        }
    }
    ensure(columns_seen > 15, || format!("only {columns_seen} columns"))
}

fn aggregations_of(query: &Value) -> Vec<String> {
    query["aggs"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::lucene;

    #[test]
    fn the_kits_kql_is_put_into_lucene() {
        let kuery = "message : \"request completed\" and duration_seconds >= 2";
        assert_eq!(lucene(kuery), "message:\"request completed\" AND duration_seconds:>=2");
        assert_eq!((lucene(""), lucene("request_id : *")), ("*".into(), "request_id:*".into()));
    }
}
