//! Answers of real providers, byte by byte, each with what is right. `recorded/NAME.json` is an answer, or several for calls
//! that follow one another; `recorded/expect.json` says what the agent makes of it.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::helpers::{Agent, Provider, eventually};

const PRICES: &str = "as_of = \"2026-12-01\"\n[models.m-small]\ninput = 1\noutput = 2\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/recorded")
}

fn read(name: &str) -> Value {
    let path = folder().join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .unwrap()
}

/// When each case was asked for.
type Calls = Arc<Mutex<BTreeMap<String, Vec<Instant>>>>;

/// Replays the case that a question names as `case:NAME`.
async fn replay(calls: Calls) -> Provider {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = Provider::at(listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            // An agent that hangs up is no failure of the provider.
            tokio::spawn(answer(connection, calls.clone()));
        }
    });
    provider
}

async fn answer(mut connection: TcpStream, calls: Calls) -> std::io::Result<()> {
    while let Some(question) = question(&mut connection).await? {
        let name = question.split_once("case:").unwrap().1.to_owned();
        let number = {
            let mut calls = calls.lock().unwrap();
            let times = calls.entry(name.clone()).or_default();
            times.push(Instant::now());
            times.len() - 1
        };
        let mut case = read(&name);
        if let Some(attempts) = case["attempts"].as_array() {
            case = attempts[number.min(attempts.len() - 1)].clone();
        }
        if !send(&mut connection, &case).await? {
            break;
        }
    }
    Ok(())
}

/// The question of the next request, if there is one.
async fn question(connection: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut received = Vec::new();
    loop {
        if connection.read_buf(&mut received).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&received);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        // Complete once it is JSON.
        let Ok(body) = serde_json::from_str::<Value>(body) else { continue };
        let question = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
        return Ok(Some(question.to_owned()));
    }
}

/// Sends an answer, and says whether the connection can be used again.
async fn send(connection: &mut TcpStream, case: &Value) -> std::io::Result<bool> {
    let parts: Vec<_> = case["parts"].as_array().unwrap().iter().map(|part| (part, bytes(part))).collect();
    let chunked = case["framing"].as_str().unwrap_or("chunked") == "chunked";
    let mut headers = BTreeMap::from([("content-type", "text/event-stream")]);
    headers.extend(
        case["headers"].as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap())),
    );
    let length = parts.iter().map(|(_, bytes)| bytes.len()).sum::<usize>().to_string();
    match case["framing"].as_str() {
        None | Some("chunked") => headers.insert("transfer-encoding", "chunked"),
        Some("length") => headers.insert("content-length", &length),
        _ => headers.insert("connection", "close"),
    };
    let mut head = format!("HTTP/1.1 {} X\r\n", case["status"].as_u64().unwrap_or(200));
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    connection.write_all((head + "\r\n").as_bytes()).await?;
    for (part, bytes) in parts {
        if let Some(seconds) = part["wait"].as_f64() {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        if chunked {
            connection.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
        }
        connection.write_all(&bytes).await?;
        if chunked {
            connection.write_all(b"\r\n").await?;
        }
        connection.flush().await?;
    }
    match case["close"].as_str() {
        Some("hold") => std::future::pending().await,
        Some("reset") => {
            // What was sent has to arrive before the connection breaks.
            tokio::time::sleep(Duration::from_millis(100)).await;
            connection.set_zero_linger()?;
            return Ok(false);
        }
        _ => {}
    }
    if chunked {
        connection.write_all(b"0\r\n\r\n").await?;
    }
    Ok(case["framing"] != "close")
}

fn bytes(part: &Value) -> Vec<u8> {
    if let Some(hex) = part["hex"].as_str() {
        return (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
    }
    if let Some(text) = part["repeat"].as_str() {
        return text.repeat(part["times"].as_u64().unwrap() as usize).into_bytes();
    }
    part["text"].as_str().unwrap().as_bytes().to_vec()
}

/// What was seen of one case.
struct Seen {
    status: u16,
    body: Value,
    /// The cost, and whether it is marked as an estimate.
    cost: f64,
    estimated: bool,
    took: Duration,
    calls: usize,
}

fn differences(expected: &Value, seen: &Seen) -> Vec<&'static str> {
    let cost = seen.cost;
    let status = match &expected["status"] {
        Value::Null => true,
        Value::String(class) => class == "5xx" && seen.status >= 500,
        status => status.as_u64() == Some(u64::from(seen.status)),
    };
    let text = expected["text"].is_null() || expected["text"] == seen.body["answer"];
    let paid = match &expected["cost"] {
        Value::Null => true,
        Value::Number(number) => (cost - number.as_f64().unwrap()).abs() < 1e-9 && !seen.estimated,
        Value::String(rule) => match rule.as_str() {
            "estimated" => cost > 0.0 && seen.estimated,
            "more than 0" => cost > 0.0,
            rule => (0.0..=rule.strip_prefix("at most ").unwrap().parse().unwrap()).contains(&cost),
        },
        other => panic!("{other}"),
    };
    let calls = expected["calls"].is_null() || expected["calls"] == seen.calls;
    // A wait that is longer than sensible is passed on.
    let waited = expected.get("not_before_seconds").is_none_or(|_| seen.calls == 1 && seen.status >= 500);
    let words = [(status, "status"), (text, "text"), (paid, "cost"), (calls, "calls"), (waited, "wait")];
    words.into_iter().filter(|(right, _)| !right).map(|(_, word)| word).collect()
}

#[tokio::test]
async fn every_recorded_answer_is_read_as_it_should_be() {
    let prices = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(prices.path(), PRICES).unwrap();
    let calls = Calls::default();
    let provider = replay(calls.clone()).await;
    let settings = [
        ("AGENT_LLM_MODEL", "m-small"),
        ("AGENT_PRICES_FILE", prices.path().to_str().unwrap()),
        ("AGENT_RAG_PASSAGES", "0"),
    ];
    let agent = Agent::start(&provider, &settings).await;
    let expected = read("expect");
    let mut wrong = Vec::new();
    for (name, expected) in expected.as_object().unwrap() {
        let asked = || calls.lock().unwrap().get(name).map_or(0, Vec::len);
        let started = Instant::now();
        let (status, headers, body) = agent.app.ask_as("acme", &format!("case:{name}")).await;
        let took = started.elapsed();
        let request_id = headers["x-request-id"].to_str().unwrap();
        let line = |message: &str| {
            let lines = agent.lines().into_iter();
            lines.rev().find(|line| line["request_id"] == request_id && line["msg"] == message)
        };
        let completed = eventually("the line of its end", async || line("request completed")).await;
        let call = line("llm call completed").or_else(|| line("llm call unfinished"));
        let seen = Seen {
            status: status.as_u16(),
            cost: completed["cost_usd"].as_f64().unwrap(),
            estimated: call.is_some_and(|call| call["usage_estimated"] == true),
            took,
            calls: asked(),
            body,
        };
        let mut different = differences(expected, &seen);
        let (before, kept) = (asked(), &expected["kept"]);
        if let Some(kept) = kept.as_bool() {
            agent.app.ask_as("acme", &format!("case:{name}")).await;
            if kept != (asked() == before) {
                different.push("kept");
            }
        }
        if !different.is_empty() {
            let Seen { status, body, cost, estimated, took, calls } = seen;
            wrong.push(format!("{name}: {different:?}: {status} {body}, {cost} USD (estimated {estimated}), {calls} calls, {took:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = agent.lines().iter().map(Value::to_string).collect::<String>();
    assert!(!log.contains("AAAABBBB"), "a key that the provider repeats is in the log");
}
