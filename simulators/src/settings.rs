//! Settings: flags, or the environment variables of the same meaning. What is not valid stops the start.
use std::net::SocketAddr;

use clap::{
    Args, Command as ClapCommand, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::Resettable,
    error::{ContextKind, ContextValue},
};
use reqwest::Url;

use crate::serve;

/// The exit code for bad settings (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

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

impl Cli {
    /// Reads flags and environment. A bad one, or a request for help, ends the process.
    pub fn parse_or_exit() -> Self {
        let parsed = without_empty_variables(Self::command())
            .try_get_matches()
            .and_then(|matches| Self::from_arg_matches(&matches));
        parsed.unwrap_or_else(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            let text = error.to_string();
            let line: Vec<_> = text.lines().take_while(|l| !l.is_empty()).map(str::trim).collect();
            let line = line.join(" ");
            serve::fail(EXIT_USAGE, &format!("{}{}", line.trim_start_matches("error: "), variable_of(&error)))
        })
    }
}

/// A variable that is set but empty counts as unset: Compose passes `VAR=` for what `.env` leaves out.
fn without_empty_variables(command: ClapCommand) -> ClapCommand {
    let command = command.mut_args(|arg| {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if empty { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

/// The environment variable behind the flag of an error: clap names only the flag.
fn variable_of(error: &clap::Error) -> String {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return String::new() };
    let long = flag.trim_start_matches("--").split(' ').next();
    let command = Cli::command();
    let mut args = command.get_subcommands().flat_map(ClapCommand::get_arguments);
    args.find(|arg| arg.get_long() == long)
        .and_then(|arg| arg.get_env())
        .map_or_else(String::new, |name| format!(" (environment variable {})", name.display()))
}

fn http_url(value: &str) -> Result<Url, String> {
    let url: Url = value.parse().map_err(|e| format!("{e} (for example http://127.0.0.1:8081/healthz)"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must start with http:// or https:// and name a host".to_owned());
    }
    Ok(url)
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
