//! The health check of a container whose image has no curl.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use command_line::http;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the agent that listens on this admin address. The error is one line.
pub async fn healthcheck(mut admin: SocketAddr) -> Result<(), String> {
    // An address to listen on everywhere is none to connect to.
    if admin.ip().is_unspecified() {
        admin.set_ip(match admin.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let url = format!("http://{admin}/healthz");
    // Always plain HTTP, so there is no address to take certificates for.
    let client = http::client([]).timeout(TIMEOUT).no_proxy().build().map_err(|e| http::cannot_build(&e))?;
    let response = client.get(&url).send().await.map_err(|e| {
        let reason = if e.is_timeout() { "no answer within 2 s" } else { "no connection" };
        format!("{url}: {reason}: is the agent running, and AGENT_ADMIN_ADDR the same?")
    })?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("{url}: answered {status}")),
    }
}
