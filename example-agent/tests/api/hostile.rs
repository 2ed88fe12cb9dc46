//! What somebody could make up to hurt the agent, made up by the hundred: requests, headers, bodies, a provider's answers and
//! files of settings. Nothing of it may panic, hang, be answered as the agent's own fault, add a series or break a log line.
use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderName, HeaderValue};
use example_agent::{
    evaluate::Golden,
    pipeline::{compliance::Rules, prices::Prices},
    tenants::Tenants,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestCaseError, TestRunner},
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
    time::timeout,
};

use crate::{
    bad_input::series,
    helpers::{Agent, Behaviour, Provider, spawn_app},
};

/// Longer than any answer here takes, and than the agent waits for a provider in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Checks so many inputs of a kind, and shrinks the first that is not taken well.
fn for_each<S: Strategy>(
    runtime: &Runtime,
    cases: u32,
    inputs: &S,
    check: impl AsyncFn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let outcome = TestRunner::new(config).run(inputs, |input| runtime.block_on(check(input)));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(vec!["acme", "other", "up", "9b2f", "", "1s", "debug"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((any::<String>(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Bytes of any kind; JSON of any kind; an almost valid body with other fields, cut short, or with other bytes.
fn bodies(valid: &Value) -> impl Strategy<Value = Vec<u8>> + use<> {
    let fields: Vec<String> = valid.as_object().unwrap().keys().cloned().collect();
    let text = valid.to_string().into_bytes();
    let length = text.len();
    let changed = {
        let valid = valid.clone();
        vec((select(fields), json_values()), 1..3).prop_map(move |changes| {
            let mut body = valid.clone();
            for (field, value) in changes {
                body[field] = value;
            }
            body.to_string().into_bytes()
        })
    };
    prop_oneof![
        vec(any::<u8>(), 0..300),
        json_values().prop_map(|value| value.to_string().into_bytes()),
        changed,
        (0..length).prop_map({
            let text = text.clone();
            move |end| text[..end].to_vec()
        }),
        mutations(text),
    ]
}

/// Some bytes of a text replaced by any others.
fn mutations(text: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    vec((any::<Index>(), any::<u8>()), 1..8).prop_map(move |changes| {
        let mut text = text.clone();
        for (index, byte) in changes {
            let at = index.index(text.len());
            text[at] = byte;
        }
        text
    })
}

fn header_values() -> impl Strategy<Value = HeaderValue> {
    let visible = vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..120);
    let traceparent = "[0-9a-f]{2}-[0-9a-f]{0,33}-[0-9a-f]{0,17}-[0-9a-f]{2}".prop_map(String::into_bytes);
    prop_oneof![visible, traceparent, "[a-z/*;=,q.0-9 ]{0,60}".prop_map(String::into_bytes)]
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

/// A refusal says what is wrong as JSON; nothing a caller sends is the agent's fault.
async fn taken_well(response: reqwest::Response) -> Result<(), TestCaseError> {
    let status = response.status();
    prop_assert!(status.is_success() || status.is_client_error(), "{status}");
    let body = response.bytes().await.map_err(|error| TestCaseError::fail(format!("{status}: {error}")))?;
    if status.is_client_error() {
        let body: Value = serde_json::from_slice(&body)
            .map_err(|error| TestCaseError::fail(format!("{status}: {error}: {body:?}")))?;
        prop_assert!(body["error"]["type"].is_string() && body["error"]["message"].is_string(), "{body}");
        prop_assert!(body.to_string().len() < 2000, "{status}: so long an answer: {body}");
    }
    Ok(())
}

#[test]
fn bodies_of_any_kind_are_answered_or_refused() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(async { spawn_app(&Provider::start(Behaviour::Stream).await, &[]).await });
    let id = "6f0c7f0e-3d0c-4f7b-9a57-3c1f5f0a0b11";
    let routes = [
        (
            Method::POST,
            format!("{}/v1/query", app.api),
            json!({"tenant_id": "acme", "query": "q", "stream": true}),
        ),
        (Method::POST, format!("{}/v1/feedback", app.api), json!({"request_id": id, "rating": "up"})),
        (
            Method::PUT,
            format!("{}/log-policy", app.admin),
            json!({"sample_ratio": 0.5, "tier_levels": {"vip": "debug"}}),
        ),
        // Last: what happens to be valid here does harm, as it should.
        (
            Method::PUT,
            format!("{}/faults", app.admin),
            json!({"error_ratio": 0.3, "slow_seconds": 1, "seconds": 60}),
        ),
    ];
    let before = runtime.block_on(series(&app));
    for (method, url, valid) in routes {
        for_each(&runtime, 200, &bodies(&valid), async |body| {
            let request = app.http.request(method.clone(), &url).header("content-type", "application/json");
            let answer = timeout(PATIENCE, request.body(body).send()).await;
            taken_well(answer.expect("an answer in time").expect("an answer")).await
        });
    }
    let known = ["/v1/query", "/v1/feedback"];
    for new in runtime.block_on(series(&app)).difference(&before) {
        assert!(
            !new.contains("endpoint=")
                || known.iter().any(|path| new.contains(&format!("endpoint=\"{path}\""))),
            "a series that a caller made: {new}"
        );
        assert!(
            !new.contains("tenant_id=")
                || new.contains("tenant_id=\"acme\"")
                || new.contains("tenant_id=\"other\""),
            "a series that a caller made: {new}"
        );
    }
}

#[test]
fn headers_of_any_kind_change_nothing_but_what_they_are_for() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(async { spawn_app(&Provider::start(Behaviour::Stream).await, &[]).await });
    let names = [
        "traceparent",
        "tracestate",
        "baggage",
        "x-request-id",
        "user-agent",
        "accept",
        "accept-encoding",
        "cookie",
        "x-forwarded-for",
        "range",
        "if-none-match",
        "authorization",
        "origin",
        "x-actor",
        "content-language",
    ];
    let headers = vec((select(names.to_vec()), header_values()), 1..6);
    for_each(&runtime, 300, &headers, async |headers| {
        let body = json!({"tenant_id": "acme", "query": "q"});
        for request in [
            app.http.post(format!("{}/v1/query", app.api)).json(&body),
            app.http.get(format!("{}/healthz", app.api)),
            app.http.get(format!("{}/metrics", app.admin)),
        ] {
            let mut request = request;
            for (name, value) in &headers {
                request = request.header(HeaderName::from_static(name), value.clone());
            }
            let response =
                timeout(PATIENCE, request.send()).await.expect("an answer in time").expect("an answer");
            let status = response.status();
            prop_assert!(status.is_success() || status.is_client_error(), "{status}");
            if let Some(id) = response.headers().get("x-request-id") {
                let id = id.to_str().expect("an id is plain text");
                prop_assert!(id.len() <= 128 && id.chars().all(|c| c.is_ascii_graphic()), "{id:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn bytes_of_any_kind_end_in_an_answer_or_a_closed_connection() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(async { spawn_app(&Provider::start(Behaviour::Stream).await, &[]).await });
    let body = r#"{"tenant_id":"acme","query":"q"}"#;
    let whole = format!(
        "POST /v1/query HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = "PUT /faults HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n";
    let requests = prop_oneof![
        vec(any::<u8>(), 1..300),
        mutations(whole.clone().into_bytes()),
        mutations(chunked.into()),
        (1..whole.len()).prop_map(move |end| whole.as_bytes()[..end].to_vec()),
    ];
    let panics = count_panics();
    for_each(&runtime, 300, &(requests, any::<bool>()), async |(bytes, admin)| {
        let side = if admin { &app.admin } else { &app.api };
        let answer = async {
            let mut socket = TcpStream::connect(side.trim_start_matches("http://")).await.unwrap();
            // The agent may close before all is written: that is an answer too.
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer).await;
            answer
        };
        let answer = timeout(PATIENCE, answer).await.expect("closed in time");
        if !answer.is_empty() {
            let head = String::from_utf8_lossy(&answer[..answer.len().min(13)]).into_owned();
            let refused = head.starts_with("HTTP/1.1 2") || head.starts_with("HTTP/1.1 4");
            prop_assert!(
                refused || head.starts_with("HTTP/1.0 2") || head.starts_with("HTTP/1.0 4"),
                "{head:?}"
            );
        }
        Ok(())
    });
    let (status, _, body) = runtime.block_on(app.ask_as("acme", "still there?"));
    assert_eq!(status, 200, "{body}");
    assert_eq!(panics.load(Ordering::SeqCst), 0, "a task of the agent panicked");
}

/// Counts panics on threads of a runtime: they end a connection without a word, and no test.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static HOOKED: Mutex<bool> = Mutex::new(false);
    let mut hooked = HOOKED.lock().unwrap();
    if !*hooked {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("tokio")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(panic);
        }));
        *hooked = true;
    }
    &PANICS
}

#[tokio::test]
async fn too_many_and_too_long_headers_are_refused() {
    let app = spawn_app(&Provider::absent(), &[]).await;
    let many = (0..200).fold(String::new(), |text, n| text + &format!("x-{n}: 1\r\n"));
    let long = format!("x-long: {}\r\n", "x".repeat(200 << 10));
    let address = format!("GET /healthz?{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(200 << 10));
    for side in [&app.api, &app.admin] {
        for (name, request, expected) in [
            ("many", format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{many}\r\n"), "431"),
            ("long", format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{long}\r\n"), "431"),
            ("address", address.clone(), "414"),
        ] {
            let mut socket = TcpStream::connect(side.trim_start_matches("http://")).await.unwrap();
            let _ = socket.write_all(request.as_bytes()).await;
            let mut answer = Vec::new();
            // Bytes that nobody read may reset the connection behind the answer.
            let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("closed in time");
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {expected} ")) || answer.starts_with("HTTP/1.1 431 "),
                "{name}: {answer:?}"
            );
        }
        assert_eq!(app.http.get(format!("{side}/healthz")).send().await.unwrap().status(), 200);
    }
}

#[test]
fn a_line_of_the_log_stays_a_line_whatever_a_caller_says() {
    let runtime = Runtime::new().unwrap();
    let provider = runtime.block_on(Provider::start(Behaviour::Stream));
    let agent = runtime.block_on(Agent::start(&provider, &[]));
    let inputs = (any::<String>(), any::<String>(), header_values());
    for_each(&runtime, 200, &inputs, async |(tenant, query, value)| {
        for tenant in ["acme", tenant.as_str()] {
            let request = agent.app.http.post(format!("{}/v1/query", agent.app.api));
            let request = request.header("x-request-id", value.clone()).header("user-agent", value.clone());
            taken_well(request.json(&json!({"tenant_id": tenant, "query": query})).send().await.unwrap())
                .await?;
        }
        Ok(())
    });
    // Each line is parsed on the way out of here.
    let lines = agent.lines();
    assert!(lines.iter().any(|line| line["msg"] == "request completed"), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line["msg"].is_string() && line["time"].is_string()));
}

#[test]
fn whatever_a_provider_answers_the_caller_gets_an_answer_or_is_told_whose_fault_it_was() {
    let runtime = Runtime::new().unwrap();
    let said = std::sync::Arc::new(Mutex::new((200, "", Vec::new())));
    let provider = runtime.block_on(Provider::start(Behaviour::Says(said.clone())));
    let settings = ["--llm-max-attempts=1", "--llm-timeout=5s", "--cache-ttl=0s"];
    let app = runtime.block_on(spawn_app(&provider, &settings));
    let stream = crate::helpers::STREAM.as_bytes().to_vec();
    let whole = json!({"model": "m", "choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
    let event = json_values().prop_map(|value| format!("data: {value}\n\n").into_bytes());
    let delta = (json_values(), json_values()).prop_map(|(delta, usage)| {
        let chunk = json!({"choices": [{"delta": delta}], "usage": usage});
        format!("data: {chunk}\n\ndata: [DONE]\n\n").into_bytes()
    });
    let answers = (
        prop_oneof![8 => Just(200_u16), 1 => 201..600_u16],
        select(vec!["text/event-stream", "application/json", "text/html", ""]),
        prop_oneof![mutations(stream), bodies(&whole), event, delta],
        any::<bool>(),
    );
    let panics = count_panics();
    for_each(&runtime, 300, &answers, async |(status, content_type, body, streamed)| {
        *said.lock().unwrap() = (status, content_type, body);
        let body = json!({"tenant_id": "acme", "query": "q", "stream": streamed});
        let request = app.http.post(format!("{}/v1/query", app.api)).json(&body);
        let response =
            timeout(PATIENCE, request.send()).await.expect("an answer in time").expect("an answer");
        let status = response.status().as_u16();
        prop_assert!([200, 422, 429, 500, 502, 503, 504].contains(&status), "{status}");
        let text = timeout(PATIENCE, response.text()).await.expect("all of it in time").expect("all of it");
        if status != 200 {
            let body: Value =
                serde_json::from_str(&text).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            prop_assert!(body["error"]["type"].is_string(), "{body}");
            prop_assert!(status != 500, "not the agent's own fault: {body}");
        }
        Ok(())
    });
    assert_eq!(panics.load(Ordering::SeqCst), 0, "a task of the agent panicked");
}

#[test]
fn settings_files_of_any_kind_are_read_or_refused_in_one_line() {
    fn one_line<T>(name: &str, outcome: Result<T, String>) -> Result<(), TestCaseError> {
        let Err(message) = outcome else { return Ok(()) };
        prop_assert!(!message.is_empty() && !message.contains('\n'), "{}: {:?}", name, message);
        Ok(())
    }
    let built_in = [
        include_str!("../../config/tenants.toml"),
        include_str!("../../config/prices.toml"),
        include_str!("../../config/compliance.toml"),
        include_str!("../../config/golden.toml"),
    ];
    let changed = (select(built_in.to_vec()), vec((any::<Index>(), any::<char>()), 1..6)).prop_map(
        |(text, changes)| {
            let mut text: Vec<char> = text.chars().collect();
            for (index, other) in changes {
                let at = index.index(text.len());
                text[at] = other;
            }
            text.into_iter().collect()
        },
    );
    let runtime = Runtime::new().unwrap();
    for_each(&runtime, 400, &prop_oneof![changed, any::<String>()], async |text: String| {
        one_line("tenants", Tenants::parse(&text))?;
        one_line("prices", Prices::parse(&text))?;
        one_line("compliance", Rules::parse(&text))?;
        one_line("golden", Golden::parse(&text))
    });
}
