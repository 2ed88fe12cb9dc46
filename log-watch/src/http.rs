//! HTTP as all the questions here need it: bounded in time and size, and errors in one line.
use std::{error::Error, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::Value;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How large one answer may be: a story of ten thousand long lines.
const MAX_BYTES: usize = 64 << 20;

/// Returns a client for these addresses that uses no proxy: all of them are on the stack's own network.
pub fn client<'a>(addresses: impl IntoIterator<Item = &'a Url>) -> Result<Client, String> {
    let client = command_line::http::client(addresses).timeout(TIMEOUT).no_proxy();
    client.build().map_err(|e| command_line::http::cannot_build(&e))
}

/// The answer's body, if it was 2xx. The error is one line that names the address.
pub async fn text(request: RequestBuilder) -> Result<String, String> {
    let (status, url, body) = answer(request).await?;
    if status.is_success() {
        return Ok(body);
    }
    let start: String = body.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(format!("{url} answers {status}: {start}"))
}

/// The answer as JSON.
pub async fn json(request: RequestBuilder) -> Result<Value, String> {
    serde_json::from_str(&text(request).await?).map_err(|e| format!("not JSON: {e}"))
}

/// The answer as JSON; nothing where there is no such thing (404).
pub async fn json_if_there(request: RequestBuilder) -> Result<Option<Value>, String> {
    match answer(request).await? {
        (StatusCode::NOT_FOUND, ..) => Ok(None),
        (status, url, body) if status.is_success() => {
            serde_json::from_str(&body).map(Some).map_err(|e| format!("{url}: not JSON: {e}"))
        }
        (status, url, _) => Err(format!("{url} answers {status}")),
    }
}

/// What answered, with its address as it is worth telling.
async fn answer(request: RequestBuilder) -> Result<(StatusCode, String, String), String> {
    let mut response = request.send().await.map_err(|e| cause(&e))?;
    let (status, url) = (response.status(), address(response.url()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| cause(&e))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err(format!("{url} answers with more than {MAX_BYTES} bytes"));
        }
    }
    Ok((status, url, String::from_utf8_lossy(&body).into_owned()))
}

/// The address, and the innermost cause: what is between only repeats.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match error.url() {
        Some(url) => format!("{}: {innermost}", address(url)),
        None => innermost.to_string(),
    }
}

/// Without what was asked for.
fn address(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
