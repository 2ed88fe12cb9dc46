//! What is refused: with a 4xx, a JSON body that names the field, and no new series.
use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::helpers::{Behaviour, Provider, TestApp, eventually, parts, spawn_app};

/// The series of the route's own metrics.
pub(crate) async fn series(app: &TestApp) -> BTreeSet<String> {
    let metrics = app.metrics().await;
    let series = metrics.lines().filter(|line| line.starts_with("agent_"));
    series.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn each_bad_body_is_refused_by_name_and_leaves_no_new_series() {
    let provider = Provider::start(Behaviour::Stream).await;
    let app = spawn_app(&provider, &[]).await;
    let before = series(&app).await;
    let ask =
        |tenant: Value, query: Value| json!({ "tenant_id": tenant, "query": query }).to_string().into_bytes();
    let cases: Vec<(&str, Vec<u8>, u16, &str, &str)> = vec![
        ("empty", vec![], 400, "invalid_request", "body"),
        ("not JSON", b"{\"tenant_id\": ".to_vec(), 400, "invalid_request", "body"),
        ("not UTF-8", b"{\"tenant_id\": \"\xff\"}".to_vec(), 400, "invalid_request", "body"),
        ("deep", "[".repeat(5000).into_bytes(), 400, "invalid_request", "body"),
        (
            "lone surrogate",
            br#"{"tenant_id":"acme","query":"\ud800"}"#.to_vec(),
            400,
            "invalid_request",
            "body",
        ),
        ("an array", b"[]".to_vec(), 400, "invalid_request", "body"),
        ("no fields", b"{}".to_vec(), 400, "invalid_request", "tenant_id"),
        ("no query", br#"{"tenant_id":"acme"}"#.to_vec(), 400, "invalid_request", "query"),
        ("null tenant", ask(Value::Null, json!("q")), 400, "invalid_request", "tenant_id"),
        ("null query", ask(json!("acme"), Value::Null), 400, "invalid_request", "query"),
        ("number", ask(json!(7), json!("q")), 400, "invalid_request", "tenant_id"),
        ("object", ask(json!("acme"), json!({})), 400, "invalid_request", "query"),
        ("empty tenant", ask(json!(""), json!("q")), 400, "invalid_request", "tenant_id"),
        ("blank query", ask(json!("acme"), json!(" \n\t ")), 400, "invalid_request", "query"),
        ("NUL in query", ask(json!("acme"), json!("a\0b")), 400, "invalid_request", "query"),
        ("escape in query", ask(json!("acme"), json!("a\u{1b}[2J")), 400, "invalid_request", "query"),
        ("line break in tenant", ask(json!("acme\n"), json!("q")), 400, "invalid_request", "tenant_id"),
        ("long query", ask(json!("acme"), json!("ü".repeat(8001))), 400, "invalid_request", "query"),
        ("1 MiB query", ask(json!("acme"), json!("x".repeat(1 << 20))), 413, "payload_too_large", "query"),
        ("10 MiB query", ask(json!("acme"), json!("x".repeat(10 << 20))), 413, "payload_too_large", "query"),
        ("unknown tenant", ask(json!("Nobody\"{}"), json!("q")), 403, "unknown_tenant", "tenant_id"),
        ("stand-in as tenant", ask(json!("other"), json!("q")), 403, "unknown_tenant", "tenant_id"),
        ("long tenant", ask(json!("x".repeat(10_000)), json!("q")), 403, "unknown_tenant", "tenant_id"),
    ];
    let count = cases.len();
    for (name, body, expected, kind, field) in cases {
        if body.len() > 8 << 20 {
            // Beyond what is read of it the connection may close while the caller writes: either is an answer.
            let request =
                app.http.post(format!("{}/v1/query", app.api)).header("content-type", "application/json");
            if let Ok(response) = request.body(body).send().await {
                assert_eq!(response.status(), expected, "{name}");
            }
            continue;
        }
        let (status, headers, body) = app.ask(body).await;
        assert_eq!(status, expected, "{name}: {body}");
        assert_eq!(body["error"]["type"], kind, "{name}: {body}");
        assert_eq!(body["error"]["field"], field, "{name}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().len() < 400, "{name}: {body}");
        assert_eq!(body["request_id"], headers["x-request-id"].to_str().unwrap(), "{name}");
    }
    assert_eq!(series(&app).await, before);
    assert!(provider.calls().is_empty());
    let rejected = "agent_requests_total{method=\"POST\",endpoint=\"/v1/query\",status=\"rejected\",tenant_id=\"other\"}";
    eventually("all are counted", async || (app.metric(rejected).await? == count.to_string()).then_some(()))
        .await;
}

#[tokio::test]
async fn the_longest_allowed_question_is_answered() {
    let app = spawn_app(&Provider::start(Behaviour::Stream).await, &[]).await;
    let (status, _, body) = app.ask_as("acme", &format!("{}\r\n\t", "🦀".repeat(7997))).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn wrong_routes_methods_and_types_are_refused_as_json() {
    let app = spawn_app(&Provider::absent(), &[]).await;
    for side in [&app.api, &app.admin] {
        let (status, _, body) = parts(app.http.get(format!("{side}/nope?{{}}")).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), &body["error"]["type"]), (404, &json!("not_found")));
        let (status, headers, body) =
            parts(app.http.put(format!("{side}/healthz")).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), &body["error"]["type"]), (405, &json!("method_not_allowed")));
        assert_eq!(headers["allow"], "GET,HEAD");
    }
    let url = format!("{}/v1/query", app.api);
    let (status, headers, _) = parts(app.http.get(&url).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), headers["allow"].to_str().unwrap()), (405, "POST"));
    let invented = app.http.request("BREW".parse().unwrap(), &url).send().await.unwrap();
    assert_eq!(invented.status(), 405);
    let form = app.http.post(&url).header("content-type", "text/plain").body("{}").send().await.unwrap();
    let (status, _, body) = parts(form).await;
    assert_eq!((status.as_u16(), &body["error"]["field"]), (415, &json!("content-type")));
    let metrics = app.metrics().await;
    assert!(
        metrics.contains("method=\"other\",endpoint=\"/v1/query\",status=\"rejected\",tenant_id=\"other\"")
    );
    for invention in ["BREW", "nope"] {
        assert!(!metrics.contains(invention));
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let app = spawn_app(&Provider::absent(), &["--body-timeout=200ms"]).await;
    let mut socket = TcpStream::connect(app.api.trim_start_matches("http://")).await.unwrap();
    let head = "POST /v1/query HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{\"te";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"field\":\"body\""), "{answer}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_counted_with_its_duration() {
    let provider = Provider::start(Behaviour::Hang).await;
    let app = spawn_app(&provider, &[]).await;
    let request =
        app.http.post(format!("{}/v1/query", app.api)).json(&json!({"tenant_id": "hooli", "query": "q"}));
    tokio::select! {
        answer = request.send() => panic!("{answer:?}"),
        () = eventually("the model is asked", async || (provider.calls().len() == 1).then_some(())) => {}
    }
    let labels = "method=\"POST\",endpoint=\"/v1/query\"";
    eventually("the hang-up is counted", async || {
        let rejected = format!("agent_requests_total{{{labels},status=\"rejected\",tenant_id=\"hooli\"}}");
        (app.metric(&rejected).await? == "1").then_some(())
    })
    .await;
    let durations =
        format!("agent_request_duration_seconds_count{{{labels},status=\"rejected\",tenant_id=\"hooli\"}}");
    assert_eq!(app.metric(&durations).await.as_deref(), Some("1"));
}
