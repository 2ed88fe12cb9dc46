//! Settings: flags, or the environment variables of the same meaning. What is not valid stops the start.
use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use command_line::{http_url, some_time};
use reqwest::Url;

use crate::profile::Stages;

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
    /// A load test: so many requests a second, or so many callers, for a while; then what came of it
    Run(Run),
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

/// Settings of `load-test run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The agent
    #[arg(long, env = "LOAD_TEST_URL", default_value = "http://127.0.0.1:8080", value_parser = http_url)]
    pub url: Url,
    /// Requests a second, due whatever becomes of the ones before (an open model); with stages the rate at the start
    #[arg(long, default_value_t = 20.0, value_parser = rate_or_none, conflicts_with = "callers")]
    pub rate: f64,
    /// Rates to go to in turn, each reached evenly within its time, as 30s:200,1m:200,10s:0
    #[arg(long, value_parser = str::parse::<Stages>, conflicts_with_all = ["callers", "duration"])]
    pub stages: Option<Stages>,
    /// When requests are due
    #[arg(long, default_value = "poisson")]
    pub pattern: Pattern,
    /// Instead of a rate: so many callers, each of whom waits for an answer before it asks again (a closed model)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub callers: Option<u16>,
    /// How long a caller thinks before it asks again [default: not at all]
    #[arg(long, value_parser = some_time, requires = "callers")]
    pub think: Option<Duration>,
    /// How long
    #[arg(long, default_value = "1m", value_parser = some_time)]
    pub duration: Duration,
    /// End after this many requests too [default: only after the time]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// How long an answer may take
    #[arg(long, default_value = "30s", value_parser = some_time)]
    pub timeout: Duration,
    /// Requests that may wait for their answers; what is due beyond them is not sent, and counts as not answered
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_in_flight: u16,
    /// Share of the questions that nobody has asked before; the others repeat, the popular ones often
    #[arg(long, default_value = "20%", value_parser = share)]
    pub fresh: f64,
    /// Makes times, tenants and questions repeatable [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// How often a line says how it goes
    #[arg(long, default_value = "5s", value_parser = some_time)]
    pub progress: Duration,
    /// Folder for load.json and load.html [default: no files]
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Limit: half of the answers come within
    #[arg(long, value_parser = some_time)]
    pub p50: Option<Duration>,
    /// Limit: 95 of 100 answers come within
    #[arg(long, value_parser = some_time)]
    pub p95: Option<Duration>,
    /// Limit: 99 of 100 answers come within
    #[arg(long, value_parser = some_time)]
    pub p99: Option<Duration>,
    /// Limit: this share of what was due was not answered, for whatever reason, as 1%
    #[arg(long, value_parser = share)]
    pub errors: Option<f64>,
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

/// A rate that may be 0.
pub(crate) fn rate_or_none(value: &str) -> Result<f64, String> {
    if value.parse() == Ok(0.0) {
        Ok(0.0)
    } else {
        rate(value).map_err(|_| format!("must be a rate from 0 to {MAX_RATE}"))
    }
}

/// Reads `1%` or `0.01`.
fn share(value: &str) -> Result<f64, String> {
    let (number, whole) = value.strip_suffix('%').map_or((value, 1.0), |number| (number, 100.0));
    match number.trim().parse::<f64>().map(|number| number / whole) {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a share, as 1% or 0.01".to_owned()),
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
        assert_eq!(rate_or_none("0"), Ok(0.0));
        assert!(rate_or_none("-1").is_err());
    }

    #[test]
    fn a_share_is_a_part_of_the_whole() {
        assert_eq!(
            (share("1%"), share("0.25"), share("100 %"), share("0")),
            (Ok(0.01), Ok(0.25), Ok(1.0), Ok(0.0))
        );
        for bad in ["101%", "1.1", "-1%", "%", "some", "NaN"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
