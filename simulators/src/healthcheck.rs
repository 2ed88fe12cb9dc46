//! The health check for images that have no curl.
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::runtime;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Succeeds when `url` answers 2xx in time. The error is one line.
pub fn run(url: Url) -> Result<(), String> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start the runtime: {e}"))?;
    runtime.block_on(check(url))
}

async fn check(url: Url) -> Result<(), String> {
    // No proxy: what is asked is in the same container.
    let client = Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .build()
        .map_err(|e| format!("cannot make a client: {e}"))?;
    let response = client.get(url.clone()).send().await;
    let status = response.map_err(|e| format!("{url} does not answer: {}", cause(&e)))?.status();
    if status.is_success() { Ok(()) } else { Err(format!("{url} answers {status}")) }
}

/// The innermost cause: the outer ones only repeat the URL.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}
