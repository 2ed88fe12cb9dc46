//! Programs that a trial starts by itself, and asks over HTTP.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{self, Child},
    sync::atomic::{AtomicU16, Ordering},
};

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

/// The ports below are given out from here on: below those that the kernel gives to whoever wants any.
const FIRST_PORT: u16 = 20_000;
/// How many of them there are.
const PORTS: u16 = 10_000;

/// A loopback address, `127.0.0.1:PORT`, that nobody listens on, and that no one else is given. Not one of the kernel's: until a
/// program listens there, which may take it a minute, any other test could get the same.
///
/// # Errors
/// That all are taken.
pub fn free_address() -> Result<String, String> {
    Ok(format!("{}:{}", Ipv4Addr::LOCALHOST, free_port()?))
}

/// The port of such an address.
///
/// # Errors
/// That all are taken.
pub fn free_port() -> Result<u16, String> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Each process begins elsewhere.
    let begin = process::id().wrapping_mul(97);
    let next = |_| {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed).into());
        FIRST_PORT + (number % u32::from(PORTS)) as u16
    };
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..PORTS).map(next).find(is_free).ok_or(format!("no port from {FIRST_PORT} on is free"))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_is_given_once_and_none_that_is_taken() {
        let ports: BTreeSet<_> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        let next = *ports.last().unwrap() + 1;
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, next));
        assert!((0..50).all(|_| free_port().unwrap() != next));
    }
}
