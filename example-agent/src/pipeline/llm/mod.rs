//! The model provider: any that speaks OpenAI's chat completions.
mod answer;
mod body;
mod error;
mod redact;
mod usage;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use command_line::http;
use opentelemetry_http::HeaderInjector;
use reqwest::{Url, header};
use serde_json::json;
use tokio::time::timeout_at;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{cost::Usage, delivery::Delivery};
use crate::settings::Settings;
pub use answer::{Draft, FinishReason};
pub use body::Limits;
pub use error::LlmError;
use redact::Secret;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of an error's body is read: more than is shown, so that a key in it is seen whole.
const MAX_ERROR_BYTES: usize = 4096;
/// The header of a key where Azure's API takes one.
const AZURE_KEY: header::HeaderName = header::HeaderName::from_static("api-key");
/// The query parameter by which Azure's base URLs are known.
const AZURE_VERSION: &str = "api-version";
const CHAT_COMPLETIONS: [&str; 2] = ["chat", "completions"];

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
    /// Why the answer ends, where the provider says so.
    pub finish: Option<FinishReason>,
    /// The model that answered, by the provider's name for it.
    pub response_model: Option<String>,
    /// As the provider reports it, or estimated.
    pub usage: Usage,
    /// Whether the provider has not reported all of it.
    pub usage_estimated: bool,
    /// Until the first piece of text.
    pub time_to_first_token: Duration,
    /// Until the first piece of any kind, where the answer came as a stream.
    pub time_to_first_chunk: Option<Duration>,
    /// Until the end.
    pub duration: Duration,
}

/// A client for one provider.
#[derive(Debug)]
pub struct LlmClient {
    http: reqwest::Client,
    url: Url,
    key: Option<Key>,
    provider: String,
    timeout: Duration,
}

#[derive(Debug)]
struct Key {
    name: header::HeaderName,
    value: header::HeaderValue,
    /// The key itself, to keep it out of logs.
    secret: Secret,
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
        let url = chat_completions(&settings.llm_base_url);
        let azure = url.query_pairs().any(|(name, _)| name == AZURE_VERSION);
        let key = settings.llm_api_key_file.as_deref().map(|path| Key::read(path, azure)).transpose()?;
        Ok(Self {
            http,
            url,
            key: key.flatten(),
            provider: settings.llm_provider.clone(),
            timeout: settings.llm_timeout,
        })
    }

    /// The provider, as OpenTelemetry's conventions name it.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Host of the provider, for spans.
    pub fn server_address(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Port of the provider, for spans.
    pub fn server_port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// How long a request may wait for its answer, all attempts together.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks a model once. The answer grows in `draft`, which has cost money also if it is not finished. The current span becomes
    /// the parent of whatever the provider traces.
    pub async fn complete(
        &self,
        model: &str,
        prompt: &Prompt<'_>,
        limits: &Limits,
        draft: &mut Draft,
        delivery: &mut Delivery<'_>,
    ) -> Result<Completion, LlmError> {
        let call = self.call(model, prompt, draft, delivery, limits);
        let in_time = timeout_at(limits.end.into(), call).await;
        match in_time {
            Ok(result) => result?,
            Err(_) if draft.is_complete() => {}
            Err(_) => return Err(LlmError::TimedOut(limits.end.duration_since(limits.started))),
        }
        draft.finish(prompt, limits.started)
    }

    async fn call(
        &self,
        model: &str,
        prompt: &Prompt<'_>,
        draft: &mut Draft,
        delivery: &mut Delivery<'_>,
        limits: &Limits,
    ) -> Result<(), LlmError> {
        let mut headers = header::HeaderMap::new();
        let context = tracing::Span::current().context();
        opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
        });
        // Compressed, pieces would wait for each other.
        headers.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
        let secret = self.key.as_ref().map(|key| &key.secret);
        if let Some(key) = &self.key {
            headers.insert(key.name.clone(), key.value.clone());
            draft.key = Some(key.secret.clone());
        }
        let body = json!({
            "model": model,
            "stream": true,
            "stream_options": { "include_usage": true },
            "messages": prompt.messages(),
        });
        let request = self.http.post(self.url.clone()).headers(headers).json(&body).send();
        let response =
            limits.wait(draft, request).await?.map_err(|e| LlmError::Unreachable(e.without_url()))?;
        let status = response.status();
        if status.is_success() {
            return body::read(response.bytes_stream(), draft, delivery, limits).await;
        }
        let retry_after = error::retry_after(response.headers(), SystemTime::now());
        let body = limits.wait(draft, error_body(response)).await.unwrap_or_default();
        Err(LlmError::of_status(status.as_u16(), retry_after, &body, secret))
    }
}

/// The URL of chat completions below a base URL, whose query is kept: Azure's has the version of its API.
fn chat_completions(base: &Url) -> Url {
    let mut url = base.clone();
    let path = url.path().trim_end_matches('/');
    if !path.ends_with(&CHAT_COMPLETIONS.join("/"))
        && let Ok(mut segments) = url.path_segments_mut()
    {
        segments.pop_if_empty().extend(CHAT_COMPLETIONS);
    }
    url
}

/// The start of an error's body.
async fn error_body(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BYTES {
        match response.chunk().await {
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            _ => break,
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

impl Key {
    /// The key of a file; none where the file is empty: Compose mounts one whether or not the provider wants a key.
    fn read(path: &Path, azure: bool) -> Result<Option<Self>, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("AGENT_LLM_API_KEY_FILE: cannot read {}: {e}", path.display()))?;
        let key = text.trim();
        if key.is_empty() {
            return Ok(None);
        }
        let (name, text) = if azure {
            (AZURE_KEY, key.to_owned())
        } else {
            (header::AUTHORIZATION, format!("Bearer {key}"))
        };
        let mut value = header::HeaderValue::try_from(text)
            .map_err(|_| format!("AGENT_LLM_API_KEY_FILE: {} has characters no key has", path.display()))?;
        value.set_sensitive(true);
        Ok(Some(Self { name, value, secret: Secret(key.into()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_below_the_base_url_and_its_query_is_kept() {
        for (base, expected) in [
            ("http://host/v1", "http://host/v1/chat/completions"),
            ("http://host/v1/", "http://host/v1/chat/completions"),
            ("http://host", "http://host/chat/completions"),
            ("http://host/v1/chat/completions", "http://host/v1/chat/completions"),
            (
                "https://me.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
                "https://me.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            ),
        ] {
            assert_eq!(chat_completions(&base.parse().unwrap()).as_str(), expected);
        }
    }
}
