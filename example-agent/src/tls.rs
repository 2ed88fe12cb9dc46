//! TLS for the providers and collectors that want it.
use reqwest::{Certificate, Url};

/// Makes ring the process's cryptography, unless one was chosen already. Clients need one even for plain HTTP.
pub(crate) fn install() {
    // An error only says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The only certificates to trust for this URL; none given means the system's. A client for plain HTTP needs none,
/// and must not fail to start on a machine that has none.
pub(crate) fn certificates(url: &Url) -> Option<[Certificate; 0]> {
    (url.scheme() == "http").then_some([])
}
