//! What can be set, by flags or by the environment.
use std::net::SocketAddr;

use clap::Parser;

/// Summarises texts, and tells of it as the agent observability kit wants it.
#[derive(Clone, Debug, Parser)]
#[command(name = "instrumenting-rust", version)]
pub struct Settings {
    /// Where callers ask.
    #[arg(long, env = "API_ADDR", default_value = "127.0.0.1:8080")]
    pub api_addr: SocketAddr,
    /// Where Prometheus scrapes: not for callers, so a port of its own.
    #[arg(long, env = "ADMIN_ADDR", default_value = "127.0.0.1:8000")]
    pub admin_addr: SocketAddr,
    /// The service's name in lines and spans.
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "summaries")]
    pub service_name: String,
    /// The collector, OTLP over HTTP. Without one no span leaves the process, but lines have their trace ids all the same.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// The model's provider, an OpenAI-compatible API.
    #[arg(long, env = "LLM_BASE_URL", default_value = "http://127.0.0.1:8081/v1")]
    pub llm_base_url: reqwest::Url,
    /// The model.
    #[arg(long, env = "LLM_MODEL", default_value = "sim-small")]
    pub llm_model: String,
}
