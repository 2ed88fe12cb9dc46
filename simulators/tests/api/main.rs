//! Both simulators over HTTP, and the binary as a process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
mod binary;
mod hostile;
mod llm;
mod slack;
mod trace;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use reqwest::Client;
use simulators::{
    llm::trace::Tracing,
    settings::{Llm, Slack, Telemetry},
};

/// Serves on a free port for as long as the test's runtime lives.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// A provider that answers at once.
async fn llm(tracing: Tracing) -> String {
    let settings = Llm {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        time_scale: 0.0,
        seed: Some(1),
        telemetry: Telemetry { otlp_endpoint: None, service_name: "test".to_owned() },
    };
    serve(simulators::llm::router(&settings, Arc::new(tracing))).await
}

async fn slack(settings: Slack) -> String {
    serve(simulators::slack::router(&settings)).await
}

fn slack_settings() -> Slack {
    Slack { listen: SocketAddr::from(([127, 0, 0, 1], 0)), token: None, rate: 1.0, burst: 100 }
}

fn client() -> Client {
    // A provider is needed even for plain HTTP; an error says that there is one already.
    command_line::http::install_cryptography();
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}
