//! Bodies made up by the hundred, for each route that takes one: answered or refused, and the inbox still shows.
use std::time::Duration;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};
use simulators::{llm::trace::Tracing, settings::Slack};
use tokio::runtime::Runtime;

use super::{client, llm, slack, slack_settings};

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(vec!["user", "assistant", "sim-small", "header", "section", "danger", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((any::<String>(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Paths to all values in a document, for [`Value::pointer_mut`].
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), found));
        }
        Value::Object(fields) => fields.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), found)),
        _ => {}
    }
}

/// Bytes of any kind; a valid body with other values somewhere, or with other bytes.
fn bodies(valid: &Value) -> impl Strategy<Value = Vec<u8>> + use<> {
    let mut places = Vec::new();
    pointers(valid, "", &mut places);
    let (text, valid) = (valid.to_string().into_bytes(), valid.clone());
    let changed = vec((select(places), json_values()), 1..4).prop_map(move |changes| {
        let mut body = valid.clone();
        for (place, value) in changes {
            if let Some(found) = body.pointer_mut(&place) {
                *found = value;
            }
        }
        body.to_string().into_bytes()
    });
    let mutated = vec((any::<Index>(), any::<u8>()), 1..8).prop_map(move |changes| {
        let mut text = text.clone();
        for (index, byte) in changes {
            let at = index.index(text.len());
            text[at] = byte;
        }
        text
    });
    prop_oneof![
        vec(any::<u8>(), 0..300),
        json_values().prop_map(|v| v.to_string().into_bytes()),
        changed,
        mutated
    ]
}

/// Sends made-up bodies. Slack answers in plain words, the provider in JSON; neither with a 5xx.
fn try_all(runtime: &Runtime, request: impl Fn() -> RequestBuilder, valid: &Value, refusals_are_json: bool) {
    let config = Config { cases: 300, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let outcome = TestRunner::new(config).run(&bodies(valid), |body| {
        runtime.block_on(async {
            let request =
                request().header("content-type", "application/json").timeout(Duration::from_secs(20));
            let response = request.body(body).send().await.expect("an answer");
            let status = response.status();
            prop_assert!(status.is_success() || status.is_client_error(), "{}", status);
            let text = response.bytes().await.expect("all of it");
            if status.is_client_error() && refusals_are_json {
                let body: Value = serde_json::from_slice(&text).expect("a refusal is JSON");
                prop_assert!(body["error"]["message"].is_string(), "{}", body);
            }
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn the_provider_answers_or_refuses_bodies_of_any_kind() {
    let runtime = Runtime::new().unwrap();
    let (base, client) =
        runtime.block_on(async { (llm(Tracing::new(None, "test").unwrap()).await, client()) });
    let completion = json!({
        "model": "sim-small",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "q"}]}],
        "max_tokens": 5, "temperature": 1.0, "stream": true, "stream_options": {"include_usage": true}, "n": 1,
    });
    try_all(&runtime, || client.post(format!("{base}/v1/chat/completions")), &completion, true);
    // What happens to be valid does harm, as it should; it comes last, and hanging is left out.
    let faults = json!({"error_ratio": 0.5, "slow_factor": 2.0, "token_factor": 10});
    try_all(&runtime, || client.request(Method::PUT, format!("{base}/faults")), &faults, true);
}

#[test]
fn slack_answers_or_refuses_messages_of_any_kind_and_the_inbox_still_shows() {
    let runtime = Runtime::new().unwrap();
    let settings = Slack { rate: 1e6, burst: 1_000_000, ..slack_settings() };
    let (base, client) = runtime.block_on(async { (slack(settings).await, client()) });
    let attachments = serde_json::from_str(include_str!("alertmanager.json")).unwrap();
    let blocks = json!({"text": "t", "blocks": [
        {"type": "header", "text": {"type": "plain_text", "text": "h"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "*b* <http://a.b|c>"}, "fields": [{"type": "mrkdwn", "text": "f"}]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "e"}]},
        {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "b"}, "url": "http://a.b"}]},
    ]});
    for valid in [&attachments, &blocks] {
        try_all(
            &runtime,
            || client.post(format!("{base}/services/T00000000/B00000000/simulated")),
            valid,
            false,
        );
    }
    let page = runtime.block_on(async {
        client.get(format!("{base}/messages")).send().await.unwrap().text().await.unwrap()
    });
    let lower = page.to_lowercase();
    assert!(lower.len() > 1000, "{page}");
    for harm in ["<script", "<iframe", "<object", "href=\"javascript:"] {
        assert!(!lower.contains(harm), "{harm} in {page}");
    }
}
