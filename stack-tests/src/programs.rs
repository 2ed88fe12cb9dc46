//! Programs that a trial starts by itself, and asks over HTTP.

use std::{net::TcpListener, process::Child};

use reqwest::Url;
use serde_json::Value;

use crate::clients;

/// A process that ends with its owner.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A loopback address, `127.0.0.1:PORT`, that nobody listens on.
pub fn free_address() -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map(|address| address.to_string()).map_err(|e| e.to_string())
}

/// Asks for JSON.
///
/// # Errors
/// Why there is no answer, or what it is instead.
pub fn ask(url: &str, query: &[(&str, &str)]) -> Result<Value, String> {
    let url = Url::parse_with_params(url, query).map_err(|e| format!("{url}: {e}"))?;
    let answer = clients::send(clients::client().get(url))?;
    answer.json()
}

/// What a server with Prometheus' API answers to an expression, at the time of asking or at that Unix time: series, each with its
/// value as text.
pub fn query(server: &str, expression: &str, at: Option<&str>) -> Result<Vec<(Value, String)>, String> {
    let mut parameters = vec![("query", expression)];
    parameters.extend(at.map(|at| ("time", at)));
    let answer = ask(&format!("{server}/api/v1/query"), &parameters)?;
    let samples = answer["data"]["result"].as_array().ok_or_else(|| answer.to_string())?;
    let pair = |sample: &Value| Some((sample["metric"].clone(), sample["value"][1].as_str()?.to_owned()));
    samples.iter().map(|sample| pair(sample).ok_or_else(|| answer.to_string())).collect()
}
