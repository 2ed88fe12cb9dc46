//! More than one model: routes by tier, the one that takes over, and the one that answers in another's place.
use std::time::Duration;

use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};

use crate::helpers::{Agent, Provider, TestApp, serve, spawn_app};

/// A provider whose models behave as they are called.
async fn complete(Json(body): Json<Value>) -> Response {
    let model = body["model"].as_str().unwrap();
    let error =
        |status: u16, body: &'static str| (StatusCode::from_u16(status).unwrap(), body).into_response();
    match model {
        "hangs" => std::future::pending().await,
        "refuses" => error(400, "context_length_exceeded"),
        "has-no-money" => error(429, r#"{"error":{"code":"insufficient_quota"}}"#),
        "breaks-off" => {
            let text =
                "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\ndata: {\"error\":\"x\"}\n\n";
            ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
        }
        "is-another" => answer("gpt-4o-mini-2024-07-18", "stop"),
        "is-cut" => answer("is-cut", "length"),
        model => answer(model, "stop"),
    }
}

fn answer(model: &str, finish: &str) -> Response {
    Json(json!({
        "model": model,
        "choices": [{ "message": { "content": format!("I am {model}") }, "finish_reason": finish }],
        "usage": { "prompt_tokens": 1000, "completion_tokens": 1000 },
    }))
    .into_response()
}

async fn provider() -> Provider {
    Provider::at(serve(Router::new().route("/v1/chat/completions", post(complete))).await)
}

async fn app(more: &[&str]) -> TestApp {
    spawn_app(&provider().await, &[&["--llm-fallback-model=gpt-5-nano"], more].concat()).await
}

async fn answer_of(app: &TestApp, tenant: &str) -> (u16, Value) {
    let (status, _, body) = app.ask_as(tenant, "Who are you?").await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn each_tier_is_answered_by_its_model_at_its_price() {
    let app = app(&["--llm-model=gpt-5-mini", "--llm-tier-models=vip=gpt-5,free=gpt-5-nano"]).await;
    for (tenant, model, cost) in
        [("acme", "gpt-5", 0.01125), ("globex", "gpt-5-mini", 0.00225), ("hooli", "gpt-5-nano", 0.00045)]
    {
        let (status, body) = answer_of(&app, tenant).await;
        assert_eq!((status, &body["model"], &body["cost_usd"]), (200, &json!(model), &json!(cost)), "{body}");
        assert_eq!(
            (&body["answer"], &body["finish_reason"]),
            (&json!(format!("I am {model}")), &json!("stop"))
        );
        let again = answer_of(&app, tenant).await.1;
        assert_eq!((&again["model"], &again["cached"]), (&json!(model), &json!(true)), "{again}");
        let series =
            format!("agent_llm_tokens_total{{model=\"{model}\",tenant_id=\"{tenant}\",direction=\"input\"}}");
        assert_eq!(app.metric(&series).await.as_deref(), Some("1000"));
    }
    assert!(
        !app.metrics().await.contains("model=\"gpt-5\",tenant_id=\"hooli\""),
        "no series that stays at 0"
    );
}

#[tokio::test]
async fn another_model_takes_over_from_one_that_fails_refuses_or_hangs() {
    for model in ["refuses", "has-no-money", "hangs"] {
        let app = app(&[&format!("--llm-model={model}"), "--llm-timeout=4s"]).await;
        let (status, body) = answer_of(&app, "acme").await;
        assert_eq!((status, &body["model"]), (200, &json!("gpt-5-nano")), "{model}: {body}");
        assert_eq!(body["cost_usd"], 0.00045, "{model}");
        let fallbacks = format!("agent_llm_fallbacks_total{{from=\"{model}\",to=\"gpt-5-nano\"}}");
        assert_eq!(app.metric(&fallbacks).await.as_deref(), Some("1"), "{model}");
        let errors = app.metrics().await;
        assert!(
            errors.contains("agent_errors_total{error_type=\"upstream_error\",tenant_id=\"acme\"} 0\n"),
            "{model}"
        );
    }
    let app = app(&["--llm-model=breaks-off"]).await;
    assert_eq!(answer_of(&app, "acme").await.0, 502, "the caller may have seen text");
}

#[tokio::test]
async fn both_models_share_the_time_of_one_request() {
    let app = spawn_app(
        &provider().await,
        &[
            "--llm-model=hangs",
            "--llm-fallback-model=hangs",
            "--llm-tier-models=vip=hangs-too",
            "--llm-timeout=1s",
        ],
    )
    .await;
    let started = std::time::Instant::now();
    let (status, body) = answer_of(&app, "globex").await;
    assert_eq!((status, &body["error"]["type"]), (504, &json!("upstream_timeout")));
    assert!(started.elapsed() < Duration::from_secs(20), "it does not end");
}

#[tokio::test]
async fn the_model_that_answers_is_priced_and_a_cut_answer_is_told_and_not_kept() {
    let app = app(&["--llm-model=is-another", "--llm-tier-models=free=is-cut"]).await;
    let (_, body) = answer_of(&app, "globex").await;
    assert_eq!((&body["model"], &body["cost_usd"]), (&json!("is-another"), &json!(0.00075)), "{body}");
    let metric = async |series: &str| app.metric(series).await;
    assert_eq!(metric("agent_llm_substituted_calls_total{model=\"is-another\"}").await.as_deref(), Some("1"));
    assert_eq!(metric("agent_llm_unpriced_calls_total{model=\"is-another\"}").await.as_deref(), Some("0"));
    for _ in 0..2 {
        let (status, body) = answer_of(&app, "hooli").await;
        assert_eq!((status, &body["finish_reason"], &body["cached"]), (200, &json!("length"), &json!(false)));
    }
    assert_eq!(
        metric("agent_llm_finish_total{model=\"is-cut\",reason=\"length\"}").await.as_deref(),
        Some("2")
    );
}

#[tokio::test]
async fn what_is_taken_over_and_how_it_ends_is_in_the_log() {
    let settings = [("AGENT_LLM_MODEL", "refuses"), ("AGENT_LLM_FALLBACK_MODEL", "gpt-5-nano")];
    let mut agent = Agent::start(&provider().await, &settings).await;
    assert_eq!(answer_of(&agent.app, "globex").await.0, 200);
    agent.signal("TERM");
    agent.exit_code().await;
    let lines = agent.last_lines();
    let line = |message: &str| {
        lines.iter().find(|line| line["msg"] == message).unwrap_or_else(|| panic!("{message}"))
    };
    let fallback = line("llm fallback");
    assert_eq!((&fallback["failed_model"], &fallback["model"]), (&json!("refuses"), &json!("gpt-5-nano")));
    let completed = line("llm call completed");
    assert_eq!(
        (&completed["finish_reason"], &completed["response_model"]),
        (&json!("stop"), &json!("gpt-5-nano"))
    );
}
