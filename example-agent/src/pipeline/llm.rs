//! The model provider: any that speaks OpenAI's chat completions.
use std::{
    path::Path,
    time::{Duration, Instant},
};

use command_line::http;
use opentelemetry_http::HeaderInjector;
use reqwest::{StatusCode, Url, header};
use serde::Deserialize;
use serde_json::json;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{cost::Usage, delivery::Delivery, sse::EventStream};
use crate::{error::ErrorType, settings::Settings};

/// A longer answer than any model gives is a defect of the provider, not an answer.
const MAX_RESPONSE_BYTES: usize = 1 << 20;
/// More tokens than any context window has are nonsense, and would distort cost for good.
const MAX_TOKENS: u64 = 1_000_000_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What of a provider's error body goes to the log.
const PREVIEW_CHARS: usize = 200;
/// A provider cannot keep our callers away for longer than this.
const MAX_RETRY_AFTER_SECONDS: u64 = 60;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// No connection, or it broke before there was a response.
    #[error("cannot reach the model provider")]
    Unreachable(#[source] reqwest::Error),
    /// No complete answer in the time a call may take.
    #[error("no complete answer from the model provider within {0:?}")]
    TimedOut(Duration),
    /// HTTP 429, with the seconds of its `retry-after`.
    #[error("the model provider is rate limiting (retry-after: {retry_after:?} s): {body}")]
    RateLimited {
        /// Seconds, where the provider said so.
        retry_after: Option<u64>,
        /// Start of the body.
        body: String,
    },
    /// Any other status than 200, or an error object in the stream.
    #[error("the model provider answered with an error (status {status}): {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Start of the body.
        body: String,
    },
    /// Status 200, but not the protocol.
    #[error("the model provider's answer is not a chat completion: {0}")]
    Invalid(String),
    /// The response broke off.
    #[error("the model provider's answer broke off")]
    BrokenOff(#[source] reqwest::Error),
}

impl LlmError {
    /// How the failure is counted and answered.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::Unreachable(_) => ErrorType::UpstreamUnavailable,
            Self::TimedOut(_) => ErrorType::UpstreamTimeout,
            Self::RateLimited { .. } => ErrorType::UpstreamRateLimited,
            Self::Refused { .. } => ErrorType::UpstreamError,
            Self::Invalid(_) | Self::BrokenOff(_) => ErrorType::UpstreamInvalidResponse,
        }
    }

    /// Seconds the provider wants to be left alone for, as it says.
    pub fn retry_after_header(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Seconds after which the caller may try again.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. } => {
                Some(retry_after.unwrap_or(1).clamp(1, MAX_RETRY_AFTER_SECONDS))
            }
            _ => None,
        }
    }
}

/// What the model is sent.
#[derive(Debug)]
pub struct Prompt<'a> {
    /// What it should know, where there is something.
    pub instructions: Option<String>,
    /// The question.
    pub query: &'a str,
}

impl Prompt<'_> {
    /// How many characters the model has to read.
    pub(super) fn chars(&self) -> usize {
        let texts = self.instructions.as_deref().into_iter().chain([self.query]);
        texts.map(|text| text.chars().count()).sum()
    }

    fn messages(&self) -> Vec<serde_json::Value> {
        let system = self.instructions.iter().map(|text| json!({ "role": "system", "content": text }));
        system.chain([json!({ "role": "user", "content": self.query })]).collect()
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Completion {
    /// What the model said; may be empty.
    pub text: String,
    /// The model that answered, by the provider's name for it.
    pub response_model: Option<String>,
    /// As the provider reports it, or estimated.
    pub usage: Usage,
    /// Whether the provider has not reported it.
    pub usage_estimated: bool,
    /// Until the first piece of text.
    pub time_to_first_token: Duration,
    /// Until the first piece of any kind, where the answer came as a stream.
    pub time_to_first_chunk: Option<Duration>,
    /// Until the end.
    pub duration: Duration,
}

/// A client for one provider and one model.
#[derive(Debug)]
pub struct LlmClient {
    http: reqwest::Client,
    url: Url,
    key: Option<header::HeaderValue>,
    provider: String,
    model: String,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Chunk {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<ReportedUsage>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    // `delta` in a stream, `message` in a plain response.
    #[serde(alias = "message")]
    delta: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    content: Option<String>,
}

#[derive(Deserialize)]
struct ReportedUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl LlmClient {
    /// A client as the settings say. Connects to nothing yet. The error is one line.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let http = http::client([&settings.llm_base_url])
            .connect_timeout(CONNECT_TIMEOUT)
            // A provider that moves is a setting to change; the key goes nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("example-agent/", env!("CARGO_PKG_VERSION")));
        let http = http.build().map_err(|e| format!("AGENT_LLM_BASE_URL: {}", http::cannot_build(&e)))?;
        let url = format!("{}/chat/completions", settings.llm_base_url.as_str().trim_end_matches('/'));
        Ok(Self {
            http,
            url: url.parse().map_err(|e| format!("AGENT_LLM_BASE_URL: {url:?}: {e}"))?,
            key: settings.llm_api_key_file.as_deref().map(read_key).transpose()?.flatten(),
            provider: settings.llm_provider.clone(),
            model: settings.llm_model.clone(),
            timeout: settings.llm_timeout,
        })
    }

    /// The provider, as OpenTelemetry's conventions name it.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The model asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Host of the provider, for spans.
    pub fn server_address(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Port of the provider, for spans.
    pub fn server_port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// How long a request may wait for the model, all attempts together.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks the model once, with this much of the time left. The answer grows in `draft`, which is worth something also if it
    /// is not finished. The current span becomes the parent of whatever the provider traces.
    pub async fn complete(
        &self,
        prompt: &Prompt<'_>,
        left: Duration,
        draft: &mut Draft,
        delivery: &mut Delivery<'_>,
    ) -> Result<Completion, LlmError> {
        let started = Instant::now();
        let call = self.call(prompt, draft, delivery, started);
        tokio::time::timeout(left, call).await.unwrap_or(Err(LlmError::TimedOut(self.timeout)))?;
        draft.finish(prompt, started)
    }

    async fn call(
        &self,
        prompt: &Prompt<'_>,
        draft: &mut Draft,
        delivery: &mut Delivery<'_>,
        started: Instant,
    ) -> Result<(), LlmError> {
        let mut headers = header::HeaderMap::new();
        let context = tracing::Span::current().context();
        opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
        });
        if let Some(key) = &self.key {
            headers.insert(header::AUTHORIZATION, key.clone());
        }
        let body = json!({
            "model": self.model,
            "stream": true,
            "stream_options": { "include_usage": true },
            "messages": prompt.messages(),
        });
        let response = self
            .http
            .post(self.url.clone())
            .headers(headers)
            .json(&body)
            .send()
            .await
            .map_err(|e| LlmError::Unreachable(e.without_url()))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => {
                let value = response.headers().get(header::RETRY_AFTER);
                let retry_after = value.and_then(|v| v.to_str().ok()?.trim().parse().ok());
                return Err(LlmError::RateLimited { retry_after, body: error_body(response).await });
            }
            status => {
                return Err(LlmError::Refused { status: status.as_u16(), body: error_body(response).await });
            }
        }
        read_answer(response, draft, delivery, started).await
    }
}

async fn read_answer(
    mut response: reqwest::Response,
    draft: &mut Draft,
    delivery: &mut Delivery<'_>,
    started: Instant,
) -> Result<(), LlmError> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let streamed =
        content_type.is_some_and(|v| v.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"));
    let mut received = 0;
    let (mut events, mut plain) = (EventStream::default(), Vec::new());
    while let Some(bytes) = response.chunk().await.map_err(|e| LlmError::BrokenOff(e.without_url()))? {
        if streamed {
            draft.time_to_first_chunk.get_or_insert_with(|| started.elapsed());
        }
        received += bytes.len();
        if received > MAX_RESPONSE_BYTES {
            return Err(LlmError::Invalid(format!("longer than {MAX_RESPONSE_BYTES} bytes")));
        }
        if streamed {
            for data in events.push(&bytes) {
                draft.add(&data, started)?;
            }
            delivery.show(&draft.text).await;
        } else {
            plain.extend_from_slice(&bytes);
        }
    }
    let rest = if streamed { events.finish() } else { Some(plain) };
    if let Some(data) = rest {
        draft.add(&data, started)?;
    }
    // A plain one is all there or is no JSON.
    draft.ended |= !streamed && draft.usage.is_some();
    Ok(())
}

/// An answer as its pieces arrive.
#[derive(Debug, Default)]
pub struct Draft {
    text: String,
    model: Option<String>,
    usage: Option<Usage>,
    /// Whether the provider has said that the answer is complete.
    ended: bool,
    time_to_first_token: Option<Duration>,
    time_to_first_chunk: Option<Duration>,
}

impl Draft {
    /// Tokens of an answer that has begun, and whether they are estimated; none before the first piece of text.
    pub(super) fn usage(&self, prompt: &Prompt<'_>) -> Option<(Usage, bool)> {
        let estimate = || Usage::estimate(prompt.chars(), self.text.chars().count());
        match self.usage {
            Some(usage) => Some((usage, false)),
            None => (!self.text.is_empty()).then(|| (estimate(), true)),
        }
    }

    fn add(&mut self, data: &[u8], started: Instant) -> Result<(), LlmError> {
        if data.trim_ascii() == b"[DONE]" {
            self.ended = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|e| {
            LlmError::Invalid(format!("{e} in {:?}", preview(&String::from_utf8_lossy(data))))
        })?;
        if let Some(error) = chunk.error.filter(|e| !e.is_null()) {
            return Err(LlmError::Refused { status: 200, body: preview(&error.to_string()) });
        }
        if let Some(ReportedUsage { prompt_tokens, completion_tokens }) = chunk.usage {
            let usage = Usage { input: prompt_tokens, output: completion_tokens };
            if usage.input > MAX_TOKENS || usage.output > MAX_TOKENS {
                return Err(LlmError::Invalid(format!("it reports {usage:?}, more than a model can take")));
            }
            self.usage = Some(usage);
            // Some report it with each piece; alone it comes last.
            self.ended |= chunk.choices.is_empty();
        }
        let choice = chunk.choices.into_iter().next();
        self.ended |= choice.as_ref().is_some_and(|choice| choice.finish_reason.is_some());
        let text = choice.and_then(|choice| choice.delta?.content);
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.time_to_first_token.get_or_insert_with(|| started.elapsed());
            self.text.push_str(&text);
        }
        self.model = chunk.model.or(self.model.take());
        Ok(())
    }

    fn finish(&mut self, prompt: &Prompt<'_>, started: Instant) -> Result<Completion, LlmError> {
        if !self.ended {
            return Err(LlmError::Invalid("it has no end".to_owned()));
        }
        let (usage, usage_estimated) =
            self.usage(prompt).unwrap_or((Usage::estimate(prompt.chars(), 0), true));
        let duration = started.elapsed();
        Ok(Completion {
            text: std::mem::take(&mut self.text),
            response_model: self.model.take(),
            usage,
            usage_estimated,
            time_to_first_token: self.time_to_first_token.unwrap_or(duration),
            time_to_first_chunk: self.time_to_first_chunk,
            duration,
        })
    }
}

/// The start of an error's body, without reading more of it than is shown.
async fn error_body(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < PREVIEW_CHARS * 4 {
        match response.chunk().await {
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            _ => break,
        }
    }
    preview(&String::from_utf8_lossy(&body))
}

fn preview(text: &str) -> String {
    text.trim().chars().take(PREVIEW_CHARS).collect()
}

/// The authorization header; none where the file is empty: Compose mounts one whether or not the provider wants a key.
fn read_key(path: &Path) -> Result<Option<header::HeaderValue>, String> {
    let key = std::fs::read_to_string(path)
        .map_err(|e| format!("AGENT_LLM_API_KEY_FILE: cannot read {}: {e}", path.display()))?;
    if key.trim().is_empty() {
        return Ok(None);
    }
    let mut value = header::HeaderValue::try_from(format!("Bearer {}", key.trim()))
        .map_err(|_| format!("AGENT_LLM_API_KEY_FILE: {} has characters no key has", path.display()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
