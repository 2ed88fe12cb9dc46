//! The call of the model, and its span.
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};
use opentelemetry_http::HeaderInjector;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{line, metrics, request::Request, settings::Settings, traces};

/// What the model costs, in US dollars for a million tokens. A price list belongs into a dated file: example-agent/config/prices.toml.
const INPUT_PRICE: f64 = 0.15;
const OUTPUT_PRICE: f64 = 0.6;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ModelError {
    /// It could not be connected to, or broke off.
    #[error("the model's provider does not answer")]
    Unavailable(#[source] reqwest::Error),
    /// It took too long.
    #[error("the model's provider took too long")]
    Timeout(#[source] reqwest::Error),
    /// It has a limit of its own.
    #[error("the model's provider refuses: its rate limit is reached")]
    RateLimited,
    /// It answered with another error.
    #[error("the model's provider answered with status {0}")]
    Status(StatusCode),
    /// It is no answer.
    #[error("the model's answer cannot be understood")]
    Invalid(#[source] reqwest::Error),
}

impl ModelError {
    /// The values of the label `error_type`: those of the kit's agent, so that one panel shows both.
    pub const TYPES: [&'static str; 5] = [
        "upstream_unavailable",
        "upstream_timeout",
        "upstream_rate_limited",
        "upstream_error",
        "upstream_invalid_response",
    ];

    /// One of [`Self::TYPES`].
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "upstream_unavailable",
            Self::Timeout(_) => "upstream_timeout",
            Self::RateLimited => "upstream_rate_limited",
            Self::Status(_) => "upstream_error",
            Self::Invalid(_) => "upstream_invalid_response",
        }
    }
}

/// What the provider says a call has used.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Usage {
    /// Tokens of the question.
    #[serde(rename = "prompt_tokens")]
    pub input_tokens: u64,
    /// Tokens of the answer.
    #[serde(rename = "completion_tokens")]
    pub output_tokens: u64,
}

impl Usage {
    /// In US dollars, at list prices.
    pub fn cost_usd(self) -> f64 {
        (self.input_tokens as f64 * INPUT_PRICE + self.output_tokens as f64 * OUTPUT_PRICE) / 1e6
    }
}

/// An answer.
#[derive(Debug, Deserialize)]
pub struct Completion {
    /// The model that answered, as the provider names it.
    pub model: String,
    choices: Vec<Choice>,
    /// What it has used.
    pub usage: Usage,
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: String,
}

impl Completion {
    /// Its text.
    pub fn text(&self) -> &str {
        self.choices.first().map_or("", |choice| &choice.message.content)
    }
}

/// The provider, and the model of it.
#[derive(Debug)]
pub struct Model {
    http: reqwest::Client,
    base_url: reqwest::Url,
    name: String,
}

impl Model {
    /// Calls that take longer are given up.
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// As the settings have it.
    pub fn new(settings: &Settings) -> Self {
        let (base_url, name) = (settings.llm_base_url.clone(), settings.llm_model.clone());
        Self { http: reqwest::Client::new(), base_url, name }
    }

    /// Has it summarise a text, in a span of its own below the request's.
    pub async fn summarise(
        &self,
        request: &Request,
        tenant: &'static str,
        text: &str,
    ) -> Result<Completion, ModelError> {
        let span = info_span!(parent: &request.span, "call_llm", otel.kind = "client");
        for (name, value) in [
            ("llm.model", self.name.clone()),
            ("gen_ai.operation.name", "chat".to_owned()),
            ("gen_ai.provider.name", "openai".to_owned()),
            ("gen_ai.request.model", self.name.clone()),
            ("server.address", self.base_url.host_str().unwrap_or_default().to_owned()),
        ] {
            span.set_attribute(name, value);
        }
        span.set_attribute("llm.attempt", 1);
        span.set_attribute("server.port", i64::from(self.base_url.port_or_known_default().unwrap_or(0)));
        let started = Instant::now();
        let result = self.ask(&span, text).instrument(span.clone()).await;
        let duration_seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(completion) => {
                let Usage { input_tokens, output_tokens } = completion.usage;
                let (tokens, cost_usd) = (input_tokens + output_tokens, completion.usage.cost_usd());
                metrics::used(&self.name, tenant, completion.usage);
                request.costs(cost_usd);
                span.set_attribute("gen_ai.response.model", completion.model.clone());
                span.set_attribute(
                    "gen_ai.usage.input_tokens",
                    i64::try_from(input_tokens).unwrap_or(i64::MAX),
                );
                span.set_attribute(
                    "gen_ai.usage.output_tokens",
                    i64::try_from(output_tokens).unwrap_or(i64::MAX),
                );
                // Without streaming the first text is the whole.
                line!(
                    INFO,
                    request,
                    model = self.name,
                    input_tokens,
                    output_tokens,
                    tokens,
                    cost_usd,
                    ttft_seconds = duration_seconds,
                    duration_seconds,
                    usage_estimated = false,
                    "llm call completed"
                );
            }
            Err(error) => traces::record_failure(&span, error.error_type(), error),
        }
        result
    }

    async fn ask(&self, span: &Span, text: &str) -> Result<Completion, ModelError> {
        // The provider's own spans come below this one.
        let mut headers = HeaderMap::new();
        opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&span.context(), &mut HeaderInjector(&mut headers));
        });
        let question = json!({ "role": "user", "content": format!("Summarise in one sentence: {text}") });
        let url = format!("{}/chat/completions", self.base_url.as_str().trim_end_matches('/'));
        let call = self.http.post(url).timeout(Self::TIMEOUT).headers(headers);
        let response = call.json(&json!({ "model": self.name, "messages": [question] })).send().await;
        let response = response
            .map_err(|e| if e.is_timeout() { ModelError::Timeout(e) } else { ModelError::Unavailable(e) })?;
        match response.status() {
            StatusCode::OK => response.json().await.map_err(ModelError::Invalid),
            StatusCode::TOO_MANY_REQUESTS => Err(ModelError::RateLimited),
            other => Err(ModelError::Status(other)),
        }
    }
}
