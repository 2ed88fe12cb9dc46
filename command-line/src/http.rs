//! HTTP clients of the kit's programs: one place for TLS, so that each program starts in an image without CA certificates.
use std::{error::Error, fmt::Write as _};

use reqwest::{Certificate, ClientBuilder, Url, blocking};

/// Makes ring the cryptography of this process, unless one was chosen before. Every client needs one, also for plain HTTP.
pub fn install_cryptography() {
    // The only error is that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns the builder of a client for these addresses.
///
/// If all of them are plain HTTP, the client trusts no certificate authority and so needs none: `debian:bookworm-slim` has no
/// CA certificates, and `reqwest` fails to build a default client there. With an `https` address it trusts the system's.
pub fn client<'a>(addresses: impl IntoIterator<Item = &'a Url>) -> ClientBuilder {
    install_cryptography();
    let builder = reqwest::Client::builder();
    if all_plain(addresses) { builder.tls_certs_only(NO_CERTIFICATES) } else { builder }
}

/// Returns the builder of a blocking client for these addresses; see [`client`].
pub fn blocking_client<'a>(addresses: impl IntoIterator<Item = &'a Url>) -> blocking::ClientBuilder {
    install_cryptography();
    let builder = blocking::Client::builder();
    if all_plain(addresses) { builder.tls_certs_only(NO_CERTIFICATES) } else { builder }
}

/// An empty list of trusted authorities.
const NO_CERTIFICATES: [Certificate; 0] = [];

fn all_plain<'a>(addresses: impl IntoIterator<Item = &'a Url>) -> bool {
    addresses.into_iter().all(|address| address.scheme() == "http")
}

/// Returns the error of a client that could not be built, with its cause chain and the usual remedy, as one line.
pub fn cannot_build(error: &reqwest::Error) -> String {
    format!("cannot build the HTTP client: {} (are CA certificates installed?)", chain(error))
}

/// Returns an error with the chain of its sources, as one line: `outer: inner: innermost`.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        // Some errors repeat their source in their own text.
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        source = inner.source();
    }
    line.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_source_once() {
        let inner = std::io::Error::other("no such file");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "no such file");
        let error = reqwest::Client::builder().user_agent("a\nb").build().unwrap_err();
        let line = chain(&error);
        assert!(line.starts_with("builder error: ") && !line.contains('\n'), "{line}");
    }
}
