//! Where load may go: this machine and private networks, unless someone says otherwise.
use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::{net::lookup_host, time::timeout};

/// How long the start waits for a name to resolve.
const LOOKUP: Duration = Duration::from_secs(5);

/// Why a run cannot start.
#[derive(Debug)]
pub enum Error {
    /// What was asked for is not allowed.
    Refused(String),
    /// Something on this machine does not work.
    Failed(String),
}

/// Whether load may go to an address without further permission: loopback, and what is routed only privately.
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Refuses a URL whose host is, or resolves to, an address that is not near. A name that does not resolve yet is let
/// pass: its container may not be there yet, and [`Near`] looks again at each connection.
pub async fn check(url: &Url) -> Result<(), Error> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    // A URL has brackets round an IPv6 address, a look-up has not.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(Ok(addresses)) = timeout(LOOKUP, lookup_host((bare, port))).await else { return Ok(()) };
    match far(addresses) {
        Some(address) => Err(Error::Refused(format!(
            "{host} is {address}, which is neither on this machine nor in a private network; \
             --allow-any-host sends load there all the same"
        ))),
        None => Ok(()),
    }
}

fn far(mut addresses: impl Iterator<Item = SocketAddr>) -> Option<IpAddr> {
    addresses.find(|address| !is_near(address.ip())).map(|address| address.ip())
}

/// Resolves names, but not to addresses that are not near.
#[derive(Clone, Copy, Debug)]
pub struct Near;

impl Resolve for Near {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is replaced by that of the URL.
            let addresses: Vec<_> = lookup_host((name.as_str(), 0)).await?.collect();
            match far(addresses.iter().copied()) {
                Some(address) => Err(io::Error::other(format!(
                    "{} is {address}, which is neither on this machine nor in a private network",
                    name.as_str()
                ))
                .into()),
                None => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_this_machine_and_private_networks() {
        for near in [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.5",
            "172.17.0.2",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::5",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["8.8.8.8", "172.32.0.1", "192.169.0.1", "0.0.0.0", "2001:db8::1", "::", "::ffff:8.8.8.8"]
        {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    #[tokio::test]
    async fn addresses_in_the_url_are_checked_and_unknown_names_let_pass() {
        let check = async |url: &str| check(&url.parse().unwrap()).await;
        for fine in
            ["http://127.0.0.1:8080", "http://[::1]:8080", "http://10.1.2.3", "http://no-such-host.invalid"]
        {
            assert!(check(fine).await.is_ok(), "{fine}");
        }
        for refused in ["http://192.0.2.1", "https://[2001:db8::1]:8080"] {
            let Err(Error::Refused(message)) = check(refused).await else { panic!("{refused} was let pass") };
            assert!(message.contains("--allow-any-host"), "{message}");
        }
    }

    #[tokio::test]
    async fn names_are_checked_at_each_connection() {
        assert!(
            Near.resolve("localhost".parse().unwrap()).await.unwrap().all(|address| is_near(address.ip()))
        );
    }
}
