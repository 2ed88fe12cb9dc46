//! Spans, from Jaeger's query API.
use reqwest::{Client, Url};
use serde_json::{Map, Value, json};

use crate::http;

/// The agent's name in traces, unless it was given another; see `OTEL_SERVICE_NAME`.
const SERVICE: &str = "example-agent";

/// One trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Parents before their children, children in the order of their starts.
    pub spans: Vec<Span>,
}

/// One span.
#[derive(Clone, Debug)]
pub struct Span {
    /// How many spans are above it.
    pub depth: usize,
    /// Its name.
    pub name: String,
    /// The service that recorded it.
    pub service: String,
    /// Microseconds since 1970.
    pub start: u64,
    /// Microseconds.
    pub duration: u64,
    /// Its attributes.
    pub tags: Map<String, Value>,
}

/// Whether an id has the shape of a trace's.
pub fn is_id(id: &str) -> bool {
    id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())
}

/// The traces with these ids, as far as Jaeger has them.
pub async fn by_id(client: &Client, jaeger: &Url, ids: &[&str]) -> Result<Vec<Trace>, String> {
    let mut traces = Vec::new();
    for id in ids {
        let url = join(jaeger, &format!("api/traces/{id}"));
        let Some(answer) = http::json_if_there(client.get(url)).await? else { continue };
        traces.extend(answer["data"].as_array().into_iter().flatten().filter_map(Trace::from_jaeger));
    }
    Ok(traces)
}

/// The traces in which the agent has this request: for one whose lines cannot be found.
pub async fn of_request(client: &Client, jaeger: &Url, id: &str) -> Result<Vec<Trace>, String> {
    let mut url = join(jaeger, "api/traces");
    let tags = json!({"request.id": id}).to_string();
    url.query_pairs_mut().extend_pairs([
        ("service", SERVICE),
        ("tags", &tags),
        ("lookback", "2d"),
        ("limit", "5"),
    ]);
    let answer = http::json(client.get(url)).await?;
    Ok(answer["data"].as_array().into_iter().flatten().filter_map(Trace::from_jaeger).collect())
}

fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let above = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{above}/{path}"));
    url
}

impl Trace {
    fn from_jaeger(trace: &Value) -> Option<Self> {
        let id = trace["traceID"].as_str()?.to_owned();
        let spans = trace["spans"].as_array()?;
        let mut ordered = Vec::new();
        let known = |id: &str| spans.iter().any(|span| span["spanID"] == id);
        // Roots: those without a parent, and those whose parent is not here (a caller's own span).
        let mut roots: Vec<_> =
            spans.iter().filter(|span| parent(span).is_none_or(|id| !known(id))).collect();
        roots.sort_by_key(|span| span["startTime"].as_u64());
        for root in roots {
            collect(root, 0, spans, &trace["processes"], &mut ordered);
        }
        (!ordered.is_empty()).then_some(Self { id, spans: ordered })
    }
}

fn collect(span: &Value, depth: usize, all: &[Value], processes: &Value, ordered: &mut Vec<Span>) {
    // A span that is its own ancestor, from whoever sent such a thing, ends here.
    if ordered.len() >= all.len() {
        return;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tags = span["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    ordered.push(Span {
        depth,
        name: text(&span["operationName"]),
        service: text(&processes[text(&span["processID"])]["serviceName"]),
        start: span["startTime"].as_u64().unwrap_or_default(),
        duration: span["duration"].as_u64().unwrap_or_default(),
        tags: tags.iter().map(|tag| (text(&tag["key"]), tag["value"].clone())).collect(),
    });
    let id = span["spanID"].as_str();
    let mut children: Vec<_> = all.iter().filter(|child| id.is_some() && parent(child) == id).collect();
    children.sort_by_key(|child| child["startTime"].as_u64());
    for child in children {
        collect(child, depth + 1, all, processes, ordered);
    }
}

fn parent(span: &Value) -> Option<&str> {
    let references = span["references"].as_array()?;
    references.iter().find(|r| r["refType"] == "CHILD_OF").and_then(|r| r["spanID"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stand_below_their_parents_in_the_order_of_their_starts() {
        let span = |id: &str, parent: &str, start: u64| {
            json!({"spanID": id, "operationName": id, "processID": "p1", "startTime": start, "duration": 5,
                "references": if parent.is_empty() { json!([]) } else { json!([{"refType": "CHILD_OF", "spanID": parent}]) },
                "tags": [{"key": "cache.hit", "value": false}]})
        };
        let trace = json!({"traceID": "t", "processes": {"p1": {"serviceName": "example-agent"}}, "spans": [
            span("call_llm", "root", 30), span("chat", "call_llm", 35), span("check_cache", "root", 20),
            span("root", "of-the-caller", 10)]});
        let trace = Trace::from_jaeger(&trace).unwrap();
        let tree: Vec<_> = trace.spans.iter().map(|span| (span.depth, span.name.as_str())).collect();
        assert_eq!(tree, [(0, "root"), (1, "check_cache"), (1, "call_llm"), (2, "chat")]);
        assert_eq!(trace.spans[0].service, "example-agent");
        assert!(Trace::from_jaeger(&json!({"traceID": "t", "spans": []})).is_none());
    }

    #[test]
    fn a_base_address_with_a_path_keeps_it() {
        let base: Url = "http://host/jaeger/".parse().unwrap();
        assert_eq!(join(&base, "api/traces/x").as_str(), "http://host/jaeger/api/traces/x");
    }
}
