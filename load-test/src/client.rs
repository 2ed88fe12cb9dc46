//! Sends one question and tells what came of it.
use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use reqwest::{Client, Response, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::json;

use crate::target::{self, Error, Near};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answered {
        /// Whether the agent had it in its cache.
        cached: bool,
    },
    /// 4xx: the agent took the request for a bad one.
    Rejected,
    /// 5xx, an answer that is none, or none in time.
    Failed,
    /// No connection; with the cause.
    Unreachable(String),
}

/// The part of the agent's answer that is looked at.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "answer")]
    _answer: String,
    cached: bool,
}

/// Sends questions to one agent.
#[derive(Clone, Debug)]
pub struct Agent {
    client: Client,
    query_url: Url,
}

impl Agent {
    /// The agent at `url`. Unless `any_host`, it must be near, and connections go only where [`Near`] allows.
    pub async fn at(url: &Url, timeout: Duration, any_host: bool) -> Result<Self, Error> {
        if !any_host {
            target::check(url).await?;
        }
        let mut query_url = url.clone();
        query_url.set_path(&format!("{}/v1/query", url.path().trim_end_matches('/')));
        // No proxy and no redirect: the agent is meant, and nobody else.
        let mut client = Client::builder()
            .user_agent(concat!("load-test/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout);
        if !any_host {
            client = client.dns_resolver(Arc::new(Near));
        }
        let client = client.build().map_err(|e| Error::Failed(format!("cannot make an HTTP client: {e}")))?;
        Ok(Self { client, query_url })
    }

    /// Asks on behalf of a tenant; `traced` under a trace of its own that is to be recorded, else as the agent decides.
    pub async fn ask(&self, tenant_id: &str, query: &str, traced: bool) -> Outcome {
        let mut request = self.client.post(self.query_url.clone());
        if traced {
            request = request.header("traceparent", traceparent());
        }
        match request.json(&json!({"tenant_id": tenant_id, "query": query})).send().await {
            Ok(response) if response.status().is_client_error() => Outcome::Rejected,
            Ok(response) if response.status().is_success() => read(response)
                .await
                .map_or(Outcome::Failed, |Answer { cached, .. }| Outcome::Answered { cached }),
            Err(error) if error.is_connect() => Outcome::Unreachable(cause(&error)),
            Ok(_) | Err(_) => Outcome::Failed,
        }
    }
}

async fn read(mut response: Response) -> Option<Answer> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).ok()
}

/// A W3C `traceparent` with random ids, which zeroes alone would make invalid, and the sampled flag.
fn traceparent() -> String {
    let mut rng = rand::rng();
    let trace_id = rng.random_range(1..=u128::MAX);
    let span_id = rng.random_range(1..=u64::MAX);
    format!("00-{trace_id:032x}-{span_id:016x}-01")
}

/// The innermost cause: the outer ones only repeat the URL.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}
