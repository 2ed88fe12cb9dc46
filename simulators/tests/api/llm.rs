use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use simulators::llm::trace::Tracing;

use super::client;

async fn provider() -> String {
    super::llm(Tracing::new(None, "test").unwrap()).await
}

fn question(stream: bool) -> Value {
    let mut body = json!({
        "model": "sim-small",
        "messages": [{"role": "user", "content": "Why is the ninety-fifth percentile up?"}],
        "stream": stream,
    });
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

async fn ask(base: &str, body: &Value) -> reqwest::Response {
    client().post(format!("{base}/v1/chat/completions")).json(body).send().await.unwrap()
}

async fn put_faults(base: &str, faults: Value) {
    let response = client().put(format!("{base}/faults")).json(&faults).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

/// The events of a stream; the last must be `[DONE]`.
fn events(body: &str) -> Vec<Value> {
    let mut frames: Vec<_> = body
        .split_terminator("\n\n")
        .map(|frame| frame.strip_prefix("data: ").expect("an event with data"))
        .collect();
    assert_eq!(frames.pop(), Some("[DONE]"));
    frames.into_iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
}

#[tokio::test]
async fn a_plain_completion_has_openais_shape() {
    let base = provider().await;
    let response = ask(&base, &question(false)).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "sim-small");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["message"]["role"], "assistant");
    let text = choice["message"]["content"].as_str().unwrap();
    let usage = &body["usage"];
    assert_eq!(usage["completion_tokens"], text.split(' ').count());
    assert_eq!(usage["prompt_tokens"], 3 + 4 + 38_u64.div_ceil(4));
    let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
}

#[tokio::test]
async fn a_stream_has_role_text_end_usage_and_done() {
    let base = provider().await;
    let response = ask(&base, &question(true)).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let events = events(&response.text().await.unwrap());
    let [first, text @ .., end, usage] = &events[..] else { panic!("too few events: {events:?}") };
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert_eq!(end["choices"][0]["delta"], json!({}));
    assert_eq!(usage["choices"], json!([]));
    assert!(events[..events.len() - 1].iter().all(|event| event["usage"].is_null()));
    assert!(events.iter().all(|event| event["id"] == first["id"]));
    let parts = text.iter().map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap());
    let whole: String = parts.collect();
    assert_eq!(usage["usage"]["completion_tokens"], whole.split(' ').count());
    assert!(text.len() > 1 && text.len() < whole.split(' ').count(), "several tokens in a chunk");
}

#[tokio::test]
async fn a_stream_without_usage_says_nothing_of_it() {
    let base = provider().await;
    let mut body = question(true);
    body["stream_options"] = Value::Null;
    let events = events(&ask(&base, &body).await.text().await.unwrap());
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn the_callers_limit_ends_an_answer() {
    let base = provider().await;
    let mut body = question(false);
    body["max_completion_tokens"] = json!(3);
    let body: Value = ask(&base, &body).await.json().await.unwrap();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn every_refusal_has_openais_error_shape() {
    let base = provider().await;
    let completions = "/v1/chat/completions";
    let long = format!("{{\"model\": \"{}\"}}", "x".repeat(1 << 20));
    for (method, path, body, status, code) in [
        (Method::POST, completions, "{", 400, None),
        (Method::POST, completions, "\"hi\"", 400, Some("invalid_type")),
        (Method::POST, completions, r#"{"model": "sim-small", "messages": []}"#, 400, Some("empty_array")),
        (
            Method::POST,
            completions,
            r#"{"model": "gpt-9", "messages": [{"role": "user", "content": "hi"}]}"#,
            404,
            Some("model_not_found"),
        ),
        (Method::POST, completions, &long, 413, None),
        (Method::GET, completions, "", 405, None),
        (Method::POST, "/v1/embeddings", "{}", 404, None),
        (Method::PUT, "/faults", "{", 400, None),
        (Method::PUT, "/faults", r#"{"unheard_of": 1}"#, 400, None),
    ] {
        let request = client().request(method.clone(), format!("{base}{path}")).body(body.to_owned());
        let response = request.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["type"], "invalid_request_error", "{method} {path}");
        assert_eq!(error["error"]["code"], json!(code), "{method} {path}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty(), "{method} {path}");
        assert!(error["error"].get("param").is_some(), "{method} {path}");
    }
    let untyped = client().post(format!("{base}{completions}")).body("{}").send().await.unwrap();
    assert_eq!(untyped.status(), 400);
    assert_eq!(untyped.json::<Value>().await.unwrap()["error"]["code"], "unsupported_content_type");
}

#[tokio::test]
async fn models_are_listed_and_health_is_told() {
    let base = provider().await;
    let models: Value = client().get(format!("{base}/v1/models")).send().await.unwrap().json().await.unwrap();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["sim-small", "sim-large", "gpt-5.6-terra", "gpt-5.4-mini", "gpt-5.6-luna"]);
    assert_eq!(client().get(format!("{base}/healthz")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn faults_are_set_shown_and_reset() {
    let base = provider().await;
    let faults = || async {
        client().get(format!("{base}/faults")).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let none = faults().await;
    put_faults(&base, json!({"error_ratio": 1.0})).await;
    put_faults(&base, json!({"token_factor": 3})).await;
    let set = faults().await;
    assert_eq!((&set["error_ratio"], &set["token_factor"]), (&json!(0.0), &json!(3.0)), "all are replaced");
    client().delete(format!("{base}/faults")).send().await.unwrap();
    assert_eq!(faults().await, none);
}

#[tokio::test]
async fn status_faults_answer_as_openai_does() {
    let base = provider().await;
    put_faults(&base, json!({"rate_limited_ratio": 1})).await;
    let response = ask(&base, &question(true)).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "rate_limit_exceeded");

    put_faults(&base, json!({"error_ratio": 1})).await;
    let response = ask(&base, &question(false)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["type"], "server_error");
}

#[tokio::test]
async fn cut_answers_end_with_a_broken_connection() {
    let base = provider().await;
    put_faults(&base, json!({"cut_ratio": 1})).await;
    for stream in [false, true] {
        let mut response = ask(&base, &question(stream)).await;
        assert_eq!(response.status(), 200);
        let mut read = Vec::new();
        let error = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => read.extend(chunk),
                Ok(None) => panic!("the body ended as if it were whole"),
                Err(error) => break error,
            }
        };
        assert!(error.is_body() || error.is_decode() || error.is_request(), "{error:?}");
        assert!(!String::from_utf8_lossy(&read).contains("[DONE]"));
    }
}

#[tokio::test]
async fn nonsense_is_not_the_protocol() {
    let base = provider().await;
    put_faults(&base, json!({"nonsense_ratio": 1})).await;
    for _ in 0..10 {
        let response = ask(&base, &question(false)).await;
        assert_eq!(response.status(), 200);
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
        assert!(body.get("choices").is_none(), "{body}");
    }
}

#[tokio::test]
async fn runaway_usage_is_reported_but_not_sent() {
    let base = provider().await;
    put_faults(&base, json!({"token_factor": 1000, "seed": 4})).await;
    let body: Value = ask(&base, &question(false)).await.json().await.unwrap();
    let words = body["choices"][0]["message"]["content"].as_str().unwrap().split(' ').count();
    assert_eq!(body["usage"]["completion_tokens"], 1000 * words);
}

#[tokio::test]
async fn a_seed_repeats_what_a_sequence_of_requests_gets() {
    let base = provider().await;
    let faults = json!({"rate_limited_ratio": 0.3, "error_ratio": 0.3, "seed": 11});
    let sequence = || async {
        put_faults(&base, faults.clone()).await;
        let mut seen = Vec::new();
        for _ in 0..30 {
            let response = ask(&base, &question(false)).await;
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap();
            seen.push((status, body["id"].clone(), body["choices"].clone(), body["usage"].clone()));
        }
        seen
    };
    let first = sequence().await;
    assert!([200, 429, 500].iter().all(|status| first.iter().any(|(seen, ..)| seen == status)));
    assert_eq!(first, sequence().await);
}

#[tokio::test]
async fn a_caller_who_leaves_a_hanging_request_leaves_no_trace_in_the_way() {
    let base = provider().await;
    put_faults(&base, json!({"hang_ratio": 1})).await;
    let url = format!("{base}/v1/chat/completions");
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(tokio::spawn(client().post(&url).json(&question(false)).send()));
    }
    // Others are served meanwhile.
    assert_eq!(client().get(format!("{base}/healthz")).send().await.unwrap().status(), 200);
    assert!(asked.iter().all(|request| !request.is_finished()));
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    client().delete(format!("{base}/faults")).send().await.unwrap();
    assert_eq!(ask(&base, &question(false)).await.status(), 200);
}
