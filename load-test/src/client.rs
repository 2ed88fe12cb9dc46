//! Sends one question and tells what came of it.
use std::{fmt, sync::Arc, time::Duration};

use command_line::http;
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
    Failed(Failure),
    /// No connection; with the cause.
    Unreachable(String),
}

/// How a request failed that had reached somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The agent said so, with this status.
    Status(u16),
    /// No answer in time.
    TimedOut,
    /// The connection ended before the answer did.
    Broken,
    /// A success whose body is no answer.
    Unreadable,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Broken => f.write_str("broken"),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
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
        let mut client = http::client([url])
            .user_agent(concat!("load-test/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout);
        if !any_host {
            client = client.dns_resolver(Arc::new(Near));
        }
        let client = client.build().map_err(|e| Error::Failed(http::cannot_build(&e)))?;
        Ok(Self { client, query_url })
    }

    /// Asks on behalf of a tenant; `traced` under a trace of its own that is to be recorded, else as the agent decides.
    pub async fn ask(&self, tenant_id: &str, query: &str, traced: bool) -> Outcome {
        let parent = traced.then(|| traceparent(rand::rng().random_range(1..=u128::MAX)));
        self.ask_under(tenant_id, query, parent).await
    }

    /// Asks on behalf of a tenant, under the caller's own trace if it has one: its `traceparent`.
    pub async fn ask_under(&self, tenant_id: &str, query: &str, parent: Option<String>) -> Outcome {
        let mut request = self.client.post(self.query_url.clone());
        if let Some(parent) = parent {
            request = request.header("traceparent", parent);
        }
        match request.json(&json!({"tenant_id": tenant_id, "query": query})).send().await {
            Ok(response) if response.status().is_client_error() => Outcome::Rejected,
            Ok(response) if response.status().is_success() => match read(response).await {
                Ok(Answer { cached, .. }) => Outcome::Answered { cached },
                Err(failure) => Outcome::Failed(failure),
            },
            Ok(response) => Outcome::Failed(Failure::Status(response.status().as_u16())),
            Err(error) if error.is_connect() => Outcome::Unreachable(cause(&error)),
            Err(error) => Outcome::Failed(broken(&error)),
        }
    }
}

async fn read(mut response: Response) -> Result<Answer, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::Unreadable);
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| Failure::Unreadable)
}

fn broken(error: &reqwest::Error) -> Failure {
    if error.is_timeout() { Failure::TimedOut } else { Failure::Broken }
}

/// A W3C `traceparent` of a trace, whose id is not 0, with a random span, which 0 would make invalid, and the sampled flag.
pub fn traceparent(trace_id: u128) -> String {
    let span_id = rand::rng().random_range(1..=u64::MAX);
    format!("00-{trace_id:032x}-{span_id:016x}-01")
}

/// The innermost cause: the outer ones only repeat the URL.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}
