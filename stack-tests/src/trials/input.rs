//! Bad input gets a 4xx that names the field, and leaves no trace in the label sets.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Case, ensure, expect};
use crate::{
    clients::{Answer, client, send},
    stack::Stack,
};

pub(super) const CASES: &[Case] = &[
    Case::new("input::bad_requests_get_a_4xx_that_names_the_field", &[], bad_requests_name_the_field),
    Case::new("input::a_slow_body_gets_a_408", &[], a_slow_body_gets_a_408),
    Case::new("input::no_caller_can_make_a_label_value", &[], no_caller_can_make_a_label_value),
];

fn post(stack: &Stack, body: impl Into<reqwest::blocking::Body>) -> Result<Answer, String> {
    let request = client().post(format!("{}/v1/query", stack.agent));
    send(request.header("content-type", "application/json").body(body))
}

fn is_refused(what: &str, answer: &Answer, status: u16, field: Option<&str>) -> Result<(), String> {
    expect(&format!("{what}: {:.200}", answer.text), answer.status, status)?;
    let body = answer.json().map_err(|e| format!("{what}: {e}"))?;
    expect(what, body["error"]["field"].as_str(), field)?;
    ensure(body["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), || {
        format!("{what}: no message: {body}")
    })?;
    ensure(body["request_id"].is_string(), || format!("{what}: no request_id: {body}"))
}

fn bad_requests_name_the_field(stack: &Stack) -> Result<(), String> {
    let tenant = |query: Value| json!({"tenant_id": "acme", "query": query}).to_string();
    let cases = [
        ("malformed JSON", "{\"tenant_id\": \"acme\", ".to_owned(), 400, "body"),
        ("not an object", "[1, 2]".to_owned(), 400, "body"),
        ("no tenant", json!({"query": "hello"}).to_string(), 400, "tenant_id"),
        ("no query", json!({"tenant_id": "acme"}).to_string(), 400, "query"),
        ("empty query", tenant(json!("  ")), 400, "query"),
        ("query of another type", tenant(json!(7)), 400, "query"),
        ("control characters", tenant(json!("a\u{0}b\u{1b}[31m")), 400, "query"),
        ("10,000 characters", tenant(json!("x".repeat(10_000))), 400, "query"),
        ("1 MiB", tenant(json!("x".repeat(1 << 20))), 413, "query"),
        (
            "unknown tenant",
            json!({"tenant_id": "nobody-knows-me", "query": "hello"}).to_string(),
            403,
            "tenant_id",
        ),
    ];
    for (what, body, status, field) in cases {
        is_refused(what, &post(stack, body)?, status, Some(field))?;
    }
    is_refused("bytes that are no text", &post(stack, vec![b'{', 0xff, 0xfe, b'}'])?, 400, Some("body"))?;
    is_refused("wrong method", &send(client().get(format!("{}/v1/query", stack.agent)))?, 405, None)?;
    is_refused("wrong path", &send(client().post(format!("{}/v1/queries", stack.agent)))?, 404, None)?;
    let plain = client().post(format!("{}/v1/query", stack.agent)).body("{}");
    is_refused("no content type", &send(plain)?, 415, Some("content-type"))
}

fn a_slow_body_gets_a_408(stack: &Stack) -> Result<(), String> {
    let address = stack.agent.trim_start_matches("http://");
    let io = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = TcpStream::connect(address).map_err(io)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(io)?;
    let head = "POST /v1/query HTTP/1.1\r\nhost: agent\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).map_err(io)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(io)?;
    ensure(answer.starts_with("HTTP/1.1 408 "), || format!("got {answer:?}"))?;
    ensure(answer.contains("\"field\":\"body\""), || format!("names no field: {answer:?}"))
}

fn no_caller_can_make_a_label_value(stack: &Stack) -> Result<(), String> {
    let names = |text: &str| -> BTreeSet<String> {
        let series = text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| Some(l.rsplit_once(' ')?.0.to_owned()));
        series.collect()
    };
    let ask = |n: u32| -> Result<(), String> {
        let marker = format!("made-up-{n}");
        stack.query(&marker, "hello")?;
        send(client().get(format!("{}/{marker}", stack.agent)))?;
        let method = reqwest::Method::from_bytes(format!("X{n}").as_bytes()).expect("letters and digits");
        send(client().request(method, format!("{}/v1/query", stack.agent))).map(drop)
    };
    ask(0)?;
    let before = names(&stack.metrics()?).len();
    (1..=100).try_for_each(ask)?;
    let after = names(&stack.metrics()?);
    ensure(!after.iter().any(|s| s.contains("made-up") || s.contains("X1")), || {
        "a caller's text is in a label".into()
    })?;
    // Base traffic may add a series of a known tenant meanwhile; 300 requests of strangers would add hundreds.
    ensure(after.len() < before + 100, || format!("{before} series, then {}", after.len()))
}
