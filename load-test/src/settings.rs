//! Settings: flags, or the environment variables of the same meaning. What is not valid stops the start.
use std::time::Duration;

use clap::{
    Args, Command as ClapCommand, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    builder::Resettable,
    error::{ContextKind, ContextValue},
};
use reqwest::Url;

/// The exit code for bad settings (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

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
            fail(EXIT_USAGE, &format!("{}{}", line.trim_start_matches("error: "), variable_of(&error)))
        })
    }
}

/// Ends the process with one line on standard error.
#[expect(clippy::print_stderr, reason = "the line is for whoever typed the command")]
pub fn fail(code: u8, message: &str) -> ! {
    eprintln!("load-test: {}", message.replace(['\n', '\r'], " "));
    std::process::exit(code.into())
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
    let url: Url = value.parse().map_err(|e| format!("{e} (for example http://127.0.0.1:8080)"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must start with http:// or https:// and name a host".to_owned());
    }
    Ok(url)
}

fn rate(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(rate) if rate > 0.0 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("must be a number above 0, up to {MAX_RATE}")),
    }
}

fn some_time(value: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(value).map_err(|e| format!("{e} (for example 30s or 5m)"))?;
    if time.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_and_times_that_make_no_sense_are_refused() {
        for bad in ["0", "-1", "NaN", "inf", "many", "10001"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["0s", "soon", "5", "-5s"] {
            assert!(some_time(bad).is_err(), "{bad}");
        }
    }
}
