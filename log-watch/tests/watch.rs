//! The server and the story against stand-ins of all they ask.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here, and says where")]
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use clap::Parser as _;
use log_watch::{
    serve,
    settings::{self, Cli, Command},
    story,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What agent, Logstash, Elasticsearch and Jaeger say.
#[derive(Default)]
struct World {
    written: AtomicU64,
    indexed: AtomicU64,
    down: AtomicBool,
    asked: Mutex<Vec<(String, String)>>,
}

type Shared = State<Arc<World>>;

/// All of them at one address.
async fn world() -> (Arc<World>, String) {
    let world = Arc::<World>::default();
    let router = Router::new()
        .route("/metrics", get(agent))
        .route("/_node/stats/pipelines", get(logstash))
        .route("/{index}/_search", post(elasticsearch))
        .route("/api/traces/{id}", get(jaeger))
        .with_state(Arc::clone(&world));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (world, url)
}

async fn agent(State(world): Shared) -> String {
    let lines = world.written.load(Ordering::Relaxed);
    format!(
        "agent_log_lines_written_total{{stream=\"app\"}} {lines}\n\
         agent_log_lines_written_total{{stream=\"audit\"}} {lines}\nprocess_start_time_seconds 1\n"
    )
}

async fn logstash() -> Json<Value> {
    Json(json!({"pipelines": {"agent-logs": {"events": {"in": 5, "out": 4},
        "queue": {"events_count": 1, "queue_size_in_bytes": 10, "max_queue_size_in_bytes": 100}}}}))
}

async fn elasticsearch(
    State(world): Shared,
    Path(index): Path<String>,
    headers: HeaderMap,
    Json(query): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    if world.down.load(Ordering::Relaxed) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    // agent_logs:secret
    if headers.get("authorization").is_none_or(|value| value != "Basic YWdlbnRfbG9nczpzZWNyZXQ=") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    world.asked.lock().unwrap().push((index, query.to_string()));
    Ok(Json(if query["size"] == 1 {
        json!({"hits": {"hits": [{"sort": [1_790_000_000_500_u64]}]}})
    } else if query["size"] == 0 {
        let lines = world.indexed.load(Ordering::Relaxed);
        json!({"hits": {"hits": []}, "aggregations": {
            "span": {"doc_count": lines}, "unparsed": {"doc_count": 2}, "dead": {"doc_count": 0},
            "runs": {"buckets": [
                {"key": "a", "first": {"value": 1.0}, "last": {"value": 9.0}, "numbers": {"value": 9}},
                {"key": "b", "first": {"value": 4.0}, "last": {"value": 9.0}, "numbers": {"value": 3}}]}}})
    } else {
        let hits: &[Value] = if query.to_string().contains("\"r1\"") {
            &[json!({"_index": "agent-logs-2026.11.24", "_source": {"@timestamp": "2026-11-24T10:00:00.1Z",
                "message": "llm call completed", "log": {"level": "INFO"}, "trace": {"id": TRACE}, "request_id": "r1",
                "tenant_id": "acme", "model": "sim-small", "input_tokens": 57, "output_tokens": 120, "cost_usd": 0.0125}})]
        } else {
            &[]
        };
        json!({"hits": {"hits": hits}})
    }))
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn jaeger(Path(id): Path<String>) -> Result<Json<Value>, StatusCode> {
    if id != TRACE {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Json(
        json!({"data": [{"traceID": TRACE, "processes": {"p1": {"serviceName": "example-agent"}}, "spans": [
        {"spanID": "a", "operationName": "process_request", "processID": "p1", "startTime": 1000, "duration": 5000, "tags": []},
        {"spanID": "b", "operationName": "call_llm", "processID": "p1", "startTime": 2000, "duration": 3000,
            "references": [{"refType": "CHILD_OF", "spanID": "a"}],
            "tags": [{"key": "gen_ai.usage.output_tokens", "value": 120}]}]}]}),
    ))
}

fn password() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    file
}

fn cli(arguments: &[&str]) -> Command {
    command_line::http::install_cryptography();
    Cli::try_parse_from([&["log-watch"], arguments].concat()).unwrap().command
}

/// The metrics, once they hold what is waited for.
async fn eventually(url: &str, wanted: &str) -> String {
    let mut text = String::new();
    for _ in 0..600 {
        if let Ok(answer) = reqwest::get(url).await {
            text = answer.text().await.unwrap();
            if text.contains(wanted) {
                return text;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {wanted} in {text}");
}

#[tokio::test]
async fn a_lost_line_is_missing_a_late_one_arrives_and_an_elasticsearch_that_is_down_shows() {
    let (world, url) = world().await;
    let password = password();
    let Command::Serve(settings) = cli(&[
        "serve",
        "--every",
        "20ms",
        "--patience",
        "100ms",
        "--agent-urls",
        &format!("{url}/metrics"),
        "--logstash-url",
        &url,
        "--elasticsearch-url",
        &url,
        "--elasticsearch-user",
        "agent_logs",
        "--elasticsearch-password-file",
        password.path().to_str().unwrap(),
    ]) else {
        unreachable!()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics = format!("http://{}/metrics", listener.local_addr().unwrap());
    tokio::spawn(async move { serve::serve(listener, &settings).await });

    let first = eventually(&metrics, "log_lines_missing{stream=\"app\"} 0\n").await;
    for line in [
        "log_watch_shipping 1\n",
        "log_newest_line_timestamp_seconds{stream=\"audit\"} 1790000000.5\n",
        "log_lines_unusable{stream=\"app\",reason=\"unparsed\"} 2\n",
        "log_audit_events_missing 3\n",
        "logstash_queue_limit_bytes{pipeline=\"agent-logs\"} 100\n",
        "log_watch_source_up{source=\"agent\"} 1\n",
    ] {
        assert!(first.contains(line), "no {line} in {first}");
    }
    world.written.store(1, Ordering::Relaxed);
    eventually(&metrics, "log_lines_missing{stream=\"audit\"} 1\n").await;
    world.indexed.store(1, Ordering::Relaxed);
    eventually(&metrics, "log_lines_missing{stream=\"audit\"} 0\n").await;
    world.down.store(true, Ordering::Relaxed);
    let down = eventually(&metrics, "log_watch_source_up{source=\"elasticsearch\"} 0\n").await;
    assert!(down.contains("log_lines_missing{stream=\"app\"} NaN\n"), "{down}");
    assert!(down.contains("log_audit_events_missing NaN\n"), "{down}");
    assert!(down.contains("log_newest_line_timestamp_seconds{stream=\"app\"} 1790000000.5\n"), "{down}");
    world.down.store(false, Ordering::Relaxed);
    eventually(&metrics, "log_watch_source_up{source=\"elasticsearch\"} 1\n").await;
    let asked = world.asked.lock().unwrap();
    assert!(asked.iter().any(|(index, _)| index == "agent-audit-*"), "{asked:?}");
}

#[tokio::test]
async fn where_lines_stop_at_the_file_none_is_expected_and_nobody_else_is_asked() {
    let (_, url) = world().await;
    let password = password();
    let Command::Serve(settings) = cli(&[
        "serve",
        "--every",
        "20ms",
        "--shipping",
        "off",
        "--agent-urls",
        "http://127.0.0.1:1/metrics",
        "--logstash-url",
        "http://127.0.0.1:1",
        "--elasticsearch-url",
        &url,
        "--elasticsearch-user",
        "agent_logs",
        "--elasticsearch-password-file",
        password.path().to_str().unwrap(),
    ]) else {
        unreachable!()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics = format!("http://{}/metrics", listener.local_addr().unwrap());
    tokio::spawn(async move { serve::serve(listener, &settings).await });
    let text = eventually(&metrics, "log_newest_line_timestamp_seconds").await;
    assert!(
        text.contains("log_watch_shipping 0\n") && text.contains("log_audit_events_missing 3\n"),
        "{text}"
    );
    for absent in ["log_lines_missing{", "logstash_", "source=\"agent\"", "source=\"logstash\""] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

fn story_settings(url: &str, id: &str, password: &str, logs: &str) -> settings::Story {
    let Command::Story(settings) = cli(&[
        "story",
        id,
        "--elasticsearch-url",
        url,
        "--elasticsearch-user",
        "agent_logs",
        "--elasticsearch-password-file",
        password,
        "--jaeger-url",
        url,
        "--log-dir",
        logs,
    ]) else {
        unreachable!()
    };
    settings
}

#[tokio::test]
async fn a_story_has_lines_audit_spans_tokens_and_cost_from_wherever_they_are() {
    let (world, url) = world().await;
    let (password, logs) = (password(), tempfile::tempdir().unwrap());
    let audit = format!(
        r#"{{"time":"2026-11-24T10:00:00.2Z","level":30,"msg":"access decision","request_id":"r1","trace_id":"{TRACE}","outcome":"allowed"}}"#
    );
    std::fs::write(logs.path().join("audit.2026-11-24.ndjson"), audit).unwrap();
    let settings =
        story_settings(&url, "r1", password.path().to_str().unwrap(), logs.path().to_str().unwrap());
    let told = story::tell(&settings).await.unwrap();
    let text = story::render::text("r1", &told);
    let order: Vec<_> =
        ["llm call completed", "access decision", "process_request", "call_llm", "0.012500 USD"]
            .iter()
            .map(|part| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}")))
            .collect();
    assert!(order.is_sorted(), "{order:?} in {text}");
    assert!(text.contains("1 from Elasticsearch, 1 from the agent's files"), "{text}");
    assert!(text.contains("57 input + 120 output tokens"), "{text}");

    // Elasticsearch is gone: what is in the files, and the trace that they name.
    world.down.store(true, Ordering::Relaxed);
    let told = story::tell(&settings).await.unwrap();
    assert_eq!((told.lines.len(), told.traces.len()), (1, 1));
    assert!(story::render::text("r1", &told).contains("AUDIT"));
}

#[tokio::test]
async fn what_nobody_knows_is_one_line_that_says_where_it_was_looked_for() {
    let (_, url) = world().await;
    let (password, logs) = (password(), tempfile::tempdir().unwrap());
    let id = "0123456789abcdef0123456789abcdef";
    let settings = story_settings(&url, id, password.path().to_str().unwrap(), logs.path().to_str().unwrap());
    let error = story::print(&settings).await.unwrap_err();
    for part in [id, "Elasticsearch", "no line", "no file", "Jaeger", "no trace"] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}
