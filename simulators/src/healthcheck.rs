//! The health check for images that have no curl.
use std::time::Duration;

use command_line::http;
use reqwest::Url;
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
    let client =
        http::client([&url]).timeout(TIMEOUT).no_proxy().build().map_err(|e| http::cannot_build(&e))?;
    let response = client.get(url.clone()).send().await;
    let status = response.map_err(|e| format!("no answer: {}", http::chain(&e)))?.status();
    if status.is_success() { Ok(()) } else { Err(format!("{url} answers {status}")) }
}
