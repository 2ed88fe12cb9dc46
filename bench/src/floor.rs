//! What no service of the agent's HTTP library can be below: one that reads a question and answers always the same. What
//! it takes is the kernel's network and HTTP, none of the agent's work and none of its telemetry.
use std::{env, io, net::SocketAddr, process::Command};

use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    cost::Variant,
    process::{Server, free_ports},
};

/// It is this program itself, as a process of its own.
pub const NAME: &str = "an empty axum service";
/// The subcommand that serves.
pub const COMMAND: &str = "floor";

/// Starts it; `requests` in each of its turns.
pub fn start(requests: u64) -> Result<Variant, String> {
    let failed = |e| format!("cannot start {NAME}: {e}");
    let [address] = free_ports().map_err(failed)?;
    let mut command = Command::new(env::current_exe().map_err(failed)?);
    command.args([COMMAND, "--address", &address.to_string()]);
    Ok(Variant::new(NAME, Server::start(command, [address, address])?, requests))
}

/// Serves until it is killed.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    let answer = async |Json(_question): Json<Value>| {
        Json(json!({
            "request_id": "0199f1f0-0000-7000-8000-000000000000",
            "model": "sim-small",
            "tokens": 0,
            "cost_usd": 0.0,
            "cached": true,
            "answer": "Look at the cache hit rate first.",
        }))
    };
    let routes = Router::new().route("/v1/query", post(answer)).route("/healthz", get(async || "ok"));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        axum::serve(listener, routes).await
    })
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::http::{Connection, post};

    #[test]
    fn it_answers_a_question() {
        let [address] = free_ports().unwrap();
        let server = thread::spawn(move || serve(address));
        let mut connection = loop {
            assert!(!server.is_finished(), "it does not serve: {:?}", server.join());
            match Connection::to(address, Duration::from_secs(20)) {
                Ok(connection) => break connection,
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        let answer =
            connection.ask(&post("/v1/query", "{\"tenant_id\":\"globex\",\"query\":\"?\"}")).unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["cached"], true);
        assert_eq!(connection.ask(&post("/v1/query", "no JSON")).unwrap().status(), 400);
    }
}
