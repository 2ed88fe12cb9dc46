//! Which lines are written: whole requests by trace, details by tier, both changeable while the agent runs.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};

use crate::helpers::{Agent, Behaviour, Collector, Provider, document, eventually, hex, parts, table_rows};

const UNFINISHED: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"It is\"}}]}\n\n";

/// The messages of a request's lines, in order.
async fn messages(agent: &Agent, request_id: &str) -> Vec<String> {
    eventually("the request is completed", async || {
        let mut lines = agent.lines();
        lines.retain(|line| line["request_id"] == request_id);
        let messages: Vec<_> = lines.iter().map(|line| line["msg"].as_str().unwrap().to_owned()).collect();
        (messages.last()? == "request completed").then_some(messages)
    })
    .await
}

async fn ask(agent: &Agent, tenant: &str, query: &str) -> String {
    let (status, headers, _) = agent.app.ask_as(tenant, query).await;
    assert_eq!(status, 200);
    headers["x-request-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn sampled_requests_have_all_their_lines_the_others_none_and_they_are_those_of_the_sampled_traces() {
    let (provider, collector) = (Provider::start(Behaviour::Stream).await, Collector::start(false).await);
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_TRACES_SAMPLER_ARG", "0.4"),
        ("AGENT_LOG_SAMPLE_RATIO", "0.4"),
        // A slow one would be kept, sampled or not.
        ("AGENT_SLOW_REQUEST", "1h"),
    ];
    let agent = Agent::start(&provider, &settings).await;
    for number in 0..100 {
        ask(&agent, "globex", &format!("q{number}")).await;
    }
    // The caller decides for its own trace, in logs as in spans. All queues keep the order.
    let last = "0000000000000000000000000000000f";
    let url = format!("{}/v1/query", agent.app.api);
    let request = agent.app.http.post(url).json(&json!({ "tenant_id": "globex", "query": "last" }));
    let request = request.header("traceparent", format!("00-{last}-b7ad6b7169203331-01"));
    assert_eq!(request.send().await.unwrap().status(), 200);

    let traces = eventually("the last trace has arrived", async || {
        let spans = collector.spans();
        let requests = spans.iter().filter(|span| span.name == "process_request");
        let traces: BTreeSet<_> = requests.map(|span| hex(&span.trace_id)).collect();
        traces.contains(last).then_some(traces)
    })
    .await;
    let requests = eventually("the last line has arrived", async || {
        let mut requests = BTreeMap::<String, Vec<String>>::new();
        for line in agent.lines() {
            if let Some(trace) = line["trace_id"].as_str() {
                requests.entry(trace.to_owned()).or_default().push(line["msg"].as_str()?.to_owned());
            }
        }
        (requests.get(last)?.len() == 3).then_some(requests)
    })
    .await;
    assert_eq!(requests.keys().cloned().collect::<BTreeSet<_>>(), traces);
    for lines in requests.values() {
        assert_eq!(lines, &["request started", "llm call completed", "request completed"]);
    }
    assert!((10..90).contains(&requests.len()), "{}", requests.len());
}

#[tokio::test]
async fn what_fails_is_logged_though_no_request_is_sampled() {
    let agent = Agent::start(&Provider::absent(), &[("AGENT_LOG_SAMPLE_RATIO", "0")]).await;
    let (status, headers, _) = agent.app.ask_as("acme", "q").await;
    assert_eq!(status, 502);
    let id = headers["x-request-id"].to_str().unwrap();
    assert_eq!(messages(&agent, id).await, ["request failed", "request completed"]);
}

#[tokio::test]
async fn details_are_for_the_tiers_that_have_them_and_the_policy_changes_while_the_agent_runs() {
    let provider = Provider::start(Behaviour::Stream).await;
    let agent = Agent::start(&provider, &[]).await;
    let url = format!("{}/log-policy", agent.app.admin);
    let put = async |policy: &Value| {
        parts(agent.app.http.put(&url).body(policy.to_string()).send().await.unwrap()).await
    };
    let brief = ["request started", "llm call completed", "request completed"];
    let detailed = [
        "request started",
        "cache miss",
        "passages found",
        "llm call started",
        "llm call completed",
        "answer kept",
        "request completed",
    ];
    let (vip, standard) = (ask(&agent, "acme", "1").await, ask(&agent, "globex", "1").await);
    assert_eq!(messages(&agent, &vip).await, detailed);
    assert_eq!(messages(&agent, &standard).await, brief);

    let swapped = json!({ "sample_ratio": 1.0,
        "tier_levels": { "vip": "off", "standard": "debug", "free": "off" } });
    let (status, _, body) = put(&swapped).await;
    assert_eq!((status.as_u16(), &body), (200, &swapped));
    for (bad, field) in [
        (json!({ "sample_ratio": 7 }), "sample_ratio"),
        (json!({ "tier_levels": { "gold": "debug" } }), "tier_levels"),
        (json!("x".repeat(1 << 20)), "body"),
        (json!([1]), "body"),
    ] {
        let (status, _, body) = put(&bad).await;
        assert!(status.is_client_error(), "{status}");
        assert_eq!(body["error"]["field"], field, "{body}");
    }
    let (_, _, current) = parts(agent.app.http.get(&url).send().await.unwrap()).await;
    assert_eq!(current, swapped);
    let (vip, standard) = (ask(&agent, "acme", "2").await, ask(&agent, "globex", "2").await);
    assert_eq!(messages(&agent, &vip).await, brief);
    assert_eq!(messages(&agent, &standard).await, detailed);

    assert_eq!(put(&json!({})).await.2["tier_levels"]["vip"], "debug", "as at the start");
    let (status, headers, _) = parts(agent.app.http.post(&url).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), headers["allow"].to_str().unwrap()), (405, "GET,HEAD,PUT"));
    let (status, ..) =
        parts(agent.app.http.get(format!("{}/log-policy", agent.app.api)).send().await.unwrap()).await;
    assert_eq!(status, 404, "callers of the API have no say in it");
}

/// The name of a level, by bunyan's number.
fn level(line: &Value) -> &'static str {
    match line["level"].as_u64() {
        Some(20) => "DEBUG",
        Some(30) => "INFO",
        Some(40) => "WARN",
        Some(50) => "ERROR",
        other => panic!("no level: {other:?}"),
    }
}

/// Names in a cell: those always there, and those with a question mark.
fn names(cell: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let names = cell.split(", ").filter(|name| !name.is_empty());
    let (sometimes, always): (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with('?'));
    let plain = |name: &str| name.trim_end_matches('?').trim_matches('`').to_owned();
    (always.into_iter().map(plain).collect(), sometimes.into_iter().map(plain).collect())
}

#[tokio::test]
async fn the_documentation_has_each_line_with_its_level_and_its_fields() {
    let page = document("logs.md");
    let column = |title: &str| -> BTreeSet<String> {
        table_rows(&page, title).into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
    };
    let (common, of_request) = (column("common field"), column("request field"));
    let rows = |title: &str| {
        let rows = table_rows(&page, title).into_iter().map(|row| {
            let [event, levels, fields, _] = row.try_into().unwrap();
            (event.trim_matches('`').to_owned(), (names(&levels).0, names(&fields)))
        });
        rows.collect::<BTreeMap<_, _>>()
    };
    let (events, messages) = (rows("event"), rows("message"));

    let provider = Provider::start(Behaviour::Stream).await;
    let mut agent = Agent::start(&provider, &[("AGENT_LLM_MODEL", "unheard-of")]).await;
    for tenant in ["acme", "acme", "nobody"] {
        agent.app.ask_as(tenant, "q").await;
    }
    agent.app.ask_as("acme", "An insider tip?").await;
    let rating = json!({ "request_id": "01933b1e-7b5c-7000-8000-000000000001", "rating": "up" });
    agent.app.http.post(format!("{}/v1/feedback", agent.app.api)).json(&rating).send().await.unwrap();
    agent.app.http.put(format!("{}/log-policy", agent.app.admin)).body("{}").send().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[tenant]]\nid = \"acme\"\ntier = \"vip\"\nbudget_usd_per_day = 1e-9\n")
        .unwrap();
    let tenants = [("AGENT_TENANTS_FILE", file.path().to_str().unwrap())];
    let mut spending = Agent::start(&provider, &tenants).await;
    spending.app.ask_as("acme", "q").await;
    let mut failing = Agent::start(&Provider::absent(), &[("AGENT_LLM_FALLBACK_MODEL", "gpt-5-nano")]).await;
    failing.app.ask_as("acme", "q").await;
    let mut breaking =
        Agent::start(&Provider::start(Behaviour::Body("text/event-stream", UNFINISHED)).await, &[]).await;
    breaking.app.ask_as("acme", "q").await;
    let mut lines = Vec::new();
    for agent in [&mut agent, &mut spending, &mut failing, &mut breaking] {
        agent.signal("TERM");
        assert_eq!(agent.exit_code().await, Some(0));
        lines.extend(agent.last_lines());
    }

    let mut seen = BTreeMap::<_, (BTreeSet<_>, BTreeSet<_>)>::new();
    for line in &lines {
        let message = line["msg"].as_str().unwrap();
        let fields: BTreeSet<_> = line.as_object().unwrap().keys().cloned().collect();
        assert!(fields.is_superset(&common), "{line}");
        let in_request = fields.contains("request_id");
        let (levels, (always, sometimes)) = if in_request { &events } else { &messages }
            .get(message)
            .unwrap_or_else(|| panic!("docs/logs.md does not have {line}"));
        assert!(levels.contains(level(line)), "{line}");
        let mut own: BTreeSet<_> = fields.difference(&common).cloned().collect();
        if in_request {
            assert!(own.is_superset(&of_request), "{line}");
            own = own.difference(&of_request).cloned().collect();
            let (levels, fields) = seen.entry(message.to_owned()).or_default();
            levels.insert(level(line).to_owned());
            fields.extend(own.iter().cloned());
        }
        assert!(own.is_superset(always), "{line}: {always:?}");
        assert!(own.iter().all(|name| always.contains(name) || sometimes.contains(name)), "{line}");
    }
    for (event, (levels, (always, sometimes))) in &events {
        let (seen_levels, seen_fields) = seen.get(event).unwrap_or_else(|| panic!("{event} was not seen"));
        assert_eq!(levels, seen_levels, "{event}");
        assert_eq!(&always.union(sometimes).cloned().collect::<BTreeSet<_>>(), seen_fields, "{event}");
    }
}

#[test]
fn the_documentation_has_each_message_of_the_sources() {
    let page = document("logs.md");
    let column =
        |title: &str| table_rows(&page, title).into_iter().map(|row| row[0].trim_matches('`').to_owned());
    let documented: BTreeSet<_> = column("event").chain(column("message")).collect();
    let mut written = BTreeSet::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in directory.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                written.extend(messages_in(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert_eq!(documented, written);
}

/// The last string of each call of a logging macro: its message.
fn messages_in(source: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for name in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
        for (at, _) in source.match_indices(name) {
            let (mut depth, mut quoted, mut message) = (1, false, String::new());
            for c in source[at + name.len()..].chars() {
                match c {
                    '"' => {
                        quoted = !quoted;
                        if quoted {
                            message.clear();
                        }
                    }
                    _ if quoted => message.push(c),
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            messages.push(message);
        }
    }
    messages
}
