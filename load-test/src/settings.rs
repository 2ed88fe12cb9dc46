//! Settings: flags, or the environment variables of the same meaning. What is not valid stops the start.
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use command_line::{http_url, some_time};
use reqwest::Url;

/// The fastest rate, in requests a second: beyond, one client is the bottleneck.
const MAX_RATE: f64 = 10_000.0;

/// Sends the agent traffic.
#[derive(Debug, Parser)]
#[command(name = "load-test", version, arg_required_else_help = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Low, steady traffic of several tenants, until it is ended
    Base(Base),
}

/// Settings of `load-test base`.
#[derive(Clone, Debug, Args)]
pub struct Base {
    /// The agent
    #[arg(long, env = "LOAD_TEST_URL", default_value = "http://127.0.0.1:8080", value_parser = http_url)]
    pub url: Url,
    /// Requests a second
    #[arg(long, env = "LOAD_TEST_RATE", default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// When requests are due
    #[arg(long, env = "LOAD_TEST_PATTERN", default_value = "poisson")]
    pub pattern: Pattern,
    /// How long an answer may take
    #[arg(long, env = "LOAD_TEST_TIMEOUT", default_value = "30s", value_parser = some_time)]
    pub timeout: Duration,
    /// Requests that may wait for their answers; what is due beyond them is skipped and counted
    #[arg(long, env = "LOAD_TEST_MAX_IN_FLIGHT", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub max_in_flight: u16,
    /// Makes times, tenants and questions repeatable [default: random]
    #[arg(long, env = "LOAD_TEST_SEED")]
    pub seed: Option<u64>,
    /// End after this time [default: never]
    #[arg(long, env = "LOAD_TEST_DURATION", value_parser = some_time)]
    pub duration: Option<Duration>,
    /// End after this many requests, skipped ones included [default: never]
    #[arg(long, env = "LOAD_TEST_REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// How often a line says how it goes
    #[arg(long, env = "LOAD_TEST_PROGRESS", default_value = "1m", value_parser = some_time)]
    pub progress: Duration,
    /// Allow an agent that is neither on this machine nor in a private network
    #[arg(long, env = "LOAD_TEST_ALLOW_ANY_HOST")]
    pub allow_any_host: bool,
}

/// When requests are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Independently of each other, as many callers make them
    Poisson,
    /// At even distances, with some jitter
    Steady,
}

fn rate(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(rate) if rate > 0.0 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("must be a number above 0, up to {MAX_RATE}")),
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
    fn rates_that_make_no_sense_are_refused() {
        for bad in ["0", "-1", "NaN", "inf", "many", "10001"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
