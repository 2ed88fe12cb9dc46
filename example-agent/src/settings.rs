//! Settings: flags, or the environment variables of the same meaning. What is not valid stops the start.
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use command_line::{http_url, some_time};
use reqwest::Url;

use crate::{
    console::{ConsoleSettings, LINK_VARIABLES},
    evaluate::Golden,
    pipeline::{compliance, models::TierModels, prices::Prices},
    telemetry::{Scope, log_policy::TierLevels, logs::LogLevels},
    tenants::Tenants,
};

/// A multi-tenant question-answering LLM service that can be seen in metrics, logs and traces.
#[derive(Debug, Parser)]
#[command(name = "example-agent", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings, before or after the subcommand.
    #[command(flatten)]
    pub settings: Settings,
}

/// Subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Answer questions until SIGTERM or SIGINT (the default).
    Serve,
    /// Ask the agent that listens on the admin address whether it is healthy: exit code 0 or 1.
    Healthcheck,
    /// Ask a running agent questions with known answers, and push the share of right ones: exit code 0, 1 or 2.
    Evaluate(Box<Evaluation>),
}

/// The settings of an evaluation.
#[derive(Clone, Debug, Args)]
pub struct Evaluation {
    /// The API of the agent to ask
    #[arg(long, env = "AGENT_EVALUATE_URL", default_value = "http://127.0.0.1:8080", value_parser = http_url)]
    pub url: Url,
    /// Questions with known answers, TOML [default: built in]
    #[arg(long, env = "AGENT_GOLDEN_FILE")]
    pub golden_file: Option<PathBuf>,
    /// Pushgateway for the accuracy [default: it is only shown]
    #[arg(long, env = "AGENT_PUSHGATEWAY_URL", value_parser = http_url)]
    pub pushgateway_url: Option<Url>,
    /// The `job` label of what is pushed
    #[arg(long, env = "AGENT_EVALUATE_JOB", default_value = "agent_evaluation", value_parser = plain_name)]
    pub job: String,
    /// An accuracy below this ends in exit code 2
    #[arg(long, env = "AGENT_MIN_ACCURACY", default_value = "0", value_parser = ratio)]
    pub min_accuracy: f64,
    /// Evaluate again after this long, such as 24h, until SIGTERM [default: once]
    #[arg(long, env = "AGENT_EVALUATE_EVERY", value_parser = some_time)]
    pub every: Option<Duration>,
}

impl Evaluation {
    /// The golden file, or the built-in one. The error is one line.
    pub fn golden(&self) -> Result<Golden, String> {
        let built_in = include_str!("../config/golden.toml");
        parse_file("AGENT_GOLDEN_FILE", self.golden_file.as_deref(), built_in, Golden::parse)
    }
}

/// All settings of the agent.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where the API listens
    #[arg(long, env = "AGENT_API_ADDR", default_value = "127.0.0.1:8080", global = true)]
    pub api_addr: SocketAddr,
    /// Where /metrics and the admin side listen
    #[arg(long, env = "AGENT_ADMIN_ADDR", default_value = "127.0.0.1:8000", global = true)]
    pub admin_addr: SocketAddr,
    /// Connections each of the two accepts at a time; further ones wait
    #[arg(long, env = "AGENT_MAX_CONNECTIONS", default_value_t = 4096, global = true,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,
    /// Questions that are worked on at a time; further ones are refused with 503
    #[arg(long, env = "AGENT_MAX_REQUESTS_IN_FLIGHT", default_value_t = 512, global = true,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_requests_in_flight: u32,
    /// How long a request's body may take to arrive
    #[arg(long, env = "AGENT_BODY_TIMEOUT", default_value = "10s", value_parser = some_time, global = true)]
    pub body_timeout: Duration,
    /// How long a caller may take nothing of an answer before its connection is closed
    #[arg(long, env = "AGENT_WRITE_TIMEOUT", default_value = "30s", value_parser = some_time, global = true)]
    pub write_timeout: Duration,
    /// How long the end may take in all: open requests, then logs and spans
    #[arg(long, env = "AGENT_SHUTDOWN_TIMEOUT", default_value = "5s", value_parser = some_time, global = true)]
    pub shutdown_timeout: Duration,
    /// The model provider: the base URL of an OpenAI-compatible API
    #[arg(long, env = "AGENT_LLM_BASE_URL", default_value = "http://127.0.0.1:8081/v1", value_parser = http_url,
          global = true)]
    pub llm_base_url: Url,
    /// File with the provider's API key; an empty file is no key [default: no key]
    #[arg(long, env = "AGENT_LLM_API_KEY_FILE", global = true)]
    pub llm_api_key_file: Option<PathBuf>,
    /// The provider's name in telemetry, as OpenTelemetry's conventions have it
    #[arg(long, env = "AGENT_LLM_PROVIDER", default_value = "openai", value_parser = plain_name, global = true)]
    pub llm_provider: String,
    /// The model to ask; without a price in the catalogue or the price file its calls count as free
    #[arg(long, env = "AGENT_LLM_MODEL", default_value = "sim-small", global = true)]
    pub llm_model: String,
    /// Models for tiers of tenants in place of that one, as vip=gpt-5,free=gpt-5-nano
    #[arg(long, env = "AGENT_LLM_TIER_MODELS", default_value = "", hide_default_value = true, global = true,
          value_parser = str::parse::<TierModels>)]
    pub llm_tier_models: TierModels,
    /// The model that takes over when another one fails or refuses, within the same time [default: none]
    #[arg(long, env = "AGENT_LLM_FALLBACK_MODEL", global = true)]
    pub llm_fallback_model: Option<String>,
    /// How long a request may wait for the model, all attempts together
    #[arg(long, env = "AGENT_LLM_TIMEOUT", default_value = "30s", value_parser = some_time, global = true)]
    pub llm_timeout: Duration,
    /// How often the model is asked for one request at most; 1 is no retry
    #[arg(long, env = "AGENT_LLM_MAX_ATTEMPTS", default_value_t = 3, global = true,
          value_parser = clap::value_parser!(u32).range(1..=10))]
    pub llm_max_attempts: u32,
    /// Share of the calls that may be retries, 0 to 1
    #[arg(long, env = "AGENT_LLM_RETRY_BUDGET", default_value = "0.1", value_parser = ratio, global = true)]
    pub llm_retry_budget: f64,
    /// Passages of the documentation that go with a question to the model; 0 is none
    #[arg(long, env = "AGENT_RAG_PASSAGES", default_value_t = 3, global = true,
          value_parser = clap::value_parser!(u8).range(0..=10))]
    pub rag_passages: u8,
    /// How long answers are kept; 0s keeps none
    #[arg(long, env = "AGENT_CACHE_TTL", default_value = "5m", value_parser = humantime::parse_duration, global = true)]
    pub cache_ttl: Duration,
    /// How much memory the kept answers may take
    #[arg(long, env = "AGENT_CACHE_MAX_BYTES", default_value_t = 64 << 20, global = true)]
    pub cache_max_bytes: u64,
    /// Tenants file, TOML [default: built in]
    #[arg(long, env = "AGENT_TENANTS_FILE", global = true)]
    pub tenants_file: Option<PathBuf>,
    /// Price file, TOML; its prices win over those of the built-in catalogue [default: built in]
    #[arg(long, env = "AGENT_PRICES_FILE", global = true)]
    pub prices_file: Option<PathBuf>,
    /// What questions and answers must not say, TOML [default: built in]
    #[arg(long, env = "AGENT_COMPLIANCE_FILE", global = true)]
    pub compliance_file: Option<PathBuf>,
    /// How much is told at all; less than all is for measuring what it costs
    #[arg(long, env = "AGENT_TELEMETRY", default_value = "all", global = true)]
    pub telemetry: Scope,
    /// What is logged: a level, or target=level pairs
    #[arg(long, env = "AGENT_LOG", default_value = "info", value_parser = str::parse::<LogLevels>, global = true)]
    pub log: LogLevels,
    /// Share of requests whose lines below WARN are written, 0 to 1
    #[arg(long, env = "AGENT_LOG_SAMPLE_RATIO", default_value = "1.0", value_parser = ratio, global = true)]
    pub log_sample_ratio: f64,
    /// Tiers of tenants whose requests are logged in more detail than the rest
    #[arg(long, env = "AGENT_LOG_TIER_LEVELS", default_value = "vip=debug", global = true,
          value_parser = str::parse::<TierLevels>)]
    pub log_tier_levels: TierLevels,
    /// Directory for hourly log files [default: standard output only]
    #[arg(long, env = "AGENT_LOG_DIR", global = true)]
    pub log_dir: Option<PathBuf>,
    /// Of how many hours the log files are kept
    #[arg(long, env = "AGENT_LOG_FILES", default_value_t = 48, global = true,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub log_files: u16,
    /// Bytes of all log files together: beyond that the oldest is removed
    #[arg(long, env = "AGENT_LOG_MAX_BYTES", default_value_t = 1 << 30, global = true,
          value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub log_max_bytes: u64,
    /// Collector for spans, OTLP over HTTP, without /v1/traces [default: no export]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = http_url, global = true)]
    pub otlp_endpoint: Option<Url>,
    /// Share of traces to record where the caller has not decided, 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1.0", value_parser = ratio, global = true)]
    pub trace_ratio: f64,
    /// From when on a request is slow: its trace is kept whatever the ratio, and its last log line is a warning
    #[arg(long, env = "AGENT_SLOW_REQUEST", default_value = "2s", value_parser = some_time, global = true)]
    pub slow_request: Duration,
    /// Name of the service in logs and traces
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "example-agent", global = true)]
    pub service_name: String,
    /// The console page
    #[command(flatten)]
    pub console: ConsoleSettings,
}

impl Cli {
    /// Reads flags and environment. A bad one, or a request for help, ends the process.
    pub fn parse_or_exit() -> Self {
        // Empty, the console's links are taken away.
        command_line::parse_but(|variable| variable.starts_with(LINK_VARIABLES))
    }
}

impl Settings {
    /// The tenants file, or the built-in one. The error is one line.
    pub fn tenants(&self) -> Result<Tenants, String> {
        let built_in = include_str!("../config/tenants.toml");
        parse_file("AGENT_TENANTS_FILE", self.tenants_file.as_deref(), built_in, Tenants::parse)
    }

    /// The compliance file, or the built-in one. The error is one line.
    pub fn compliance_rules(&self) -> Result<compliance::Rules, String> {
        let built_in = include_str!("../config/compliance.toml");
        parse_file(
            "AGENT_COMPLIANCE_FILE",
            self.compliance_file.as_deref(),
            built_in,
            compliance::Rules::parse,
        )
    }

    /// The price file, or the built-in one. The error is one line.
    pub fn prices(&self) -> Result<Prices, String> {
        let built_in = include_str!("../config/prices.toml");
        let prices = parse_file("AGENT_PRICES_FILE", self.prices_file.as_deref(), built_in, Prices::parse);
        prices.map(|prices| prices.of_provider(&self.llm_provider))
    }
}

fn parse_file<T>(
    variable: &str,
    path: Option<&Path>,
    built_in: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, String> {
    let Some(path) = path else { return parse(built_in) };
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("{variable}: cannot read {}: {e}", path.display()))?;
    parse(&text).map_err(|e| format!("{variable}: {}: {e}", path.display()))
}

fn plain_name(value: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if value.len() <= 64 && value.chars().all(plain) {
        Ok(value.to_owned())
    } else {
        Err("must be at most 64 ASCII letters, digits, '-', '_' or '.'".to_owned())
    }
}

fn ratio(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}
