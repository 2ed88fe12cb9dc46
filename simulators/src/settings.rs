//! Settings: flags, or the environment variables of the same meaning. What is not valid stops the start.
use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use command_line::http_url;
use reqwest::Url;

/// Plays the agent's outside world: a model provider and Slack.
#[derive(Debug, Parser)]
#[command(name = "simulators", version, arg_required_else_help = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// An OpenAI-compatible model provider: /v1/chat/completions, /v1/models, /faults
    Llm(Llm),
    /// Slack's incoming webhooks, and an inbox page that shows what arrived
    Slack(Slack),
    /// Ask a simulator whether it is healthy: exit code 0 or 1
    Healthcheck {
        /// What must answer 2xx within 2 s
        #[arg(long, env = "SIMULATOR_HEALTH_URL", default_value = "http://127.0.0.1:8081/healthz",
              value_parser = http_url)]
        url: Url,
    },
}

/// Settings of `simulators llm`.
#[derive(Clone, Debug, Args)]
pub struct Llm {
    /// Where to listen
    #[arg(long, env = "SIMULATOR_LLM_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Multiplies every waiting time; 0 answers at once, for benchmarks
    #[arg(long, env = "SIMULATOR_LLM_TIME_SCALE", default_value_t = 1.0, value_parser = time_scale)]
    pub time_scale: f64,
    /// Makes outcomes repeatable: the same requests in the same order fare the same [default: random]
    #[arg(long, env = "SIMULATOR_LLM_SEED")]
    pub seed: Option<u64>,
    /// Where spans go.
    #[command(flatten)]
    pub telemetry: Telemetry,
}

/// Where spans go.
#[derive(Clone, Debug, Args)]
pub struct Telemetry {
    /// Collector for spans, OTLP over HTTP, without /v1/traces [default: no export]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = http_url)]
    pub otlp_endpoint: Option<Url>,
    /// Name of the service in traces
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "llm-simulator")]
    pub service_name: String,
}

/// Settings of `simulators slack`.
#[derive(Clone, Debug, Args)]
pub struct Slack {
    /// Where to listen
    #[arg(long, env = "SIMULATOR_SLACK_LISTEN", default_value = "127.0.0.1:8082")]
    pub listen: SocketAddr,
    /// The token, last part of a webhook's path, that is accepted; others get 403 [default: any]
    #[arg(long, env = "SIMULATOR_SLACK_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Messages a second that each webhook accepts for long, as Slack documents
    #[arg(long, env = "SIMULATOR_SLACK_RATE", default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// Messages that each webhook accepts at once; Slack promises no number
    #[arg(long, env = "SIMULATOR_SLACK_BURST", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub burst: u32,
}

fn time_scale(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(scale) if (0.0..=1000.0).contains(&scale) => Ok(scale),
        _ => Err("must be a number from 0 to 1000".to_owned()),
    }
}

fn rate(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(rate) if rate > 0.0 && rate <= 1_000_000.0 => Ok(rate),
        _ => Err("must be a number above 0, up to 1000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scales_and_rates_that_make_no_sense_are_refused() {
        for bad in ["-1", "NaN", "inf", "fast", "1001"] {
            assert!(time_scale(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "NaN", "inf", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
