//! How the kit's programs read their settings: flags, or the environment variables of the same meaning. A bad one ends
//! the process with one line on standard error and exit code 64.
use std::time::Duration;

use clap::{
    Command, Parser,
    builder::Resettable,
    error::{ContextKind, ContextValue},
};
use reqwest::Url;

pub mod http;

/// The exit code for bad settings (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// Reads flags and environment. A bad one, or a request for help, ends the process.
pub fn parse<T: Parser>() -> T {
    parse_but(|_| false)
}

/// Like [`parse`], but for variables for which to be empty means something: those count as set.
pub fn parse_but<T: Parser>(empty_is_a_value: fn(&str) -> bool) -> T {
    let command = without_empty_variables(T::command(), empty_is_a_value);
    let parsed = command.try_get_matches().and_then(|matches| T::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        fail::<T>(EXIT_USAGE, &one_line(&error, &T::command()))
    })
}

/// Ends the process with one line on standard error.
#[expect(clippy::print_stderr, reason = "there may be no log, and the line is for whoever typed the command")]
pub fn fail<T: Parser>(code: u8, message: &str) -> ! {
    eprintln!("{}: {}", T::command().get_name(), message.replace(['\n', '\r'], " "));
    std::process::exit(code.into())
}

/// A variable that is set but empty counts as unset: Compose passes `VAR=` for what `.env` leaves out.
fn without_empty_variables(command: Command, empty_is_a_value: fn(&str) -> bool) -> Command {
    let command = command.mut_args(|arg| {
        let name = arg.get_env().filter(|name| !empty_is_a_value(&name.to_string_lossy()));
        let empty = name.and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if empty { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(|subcommand| without_empty_variables(subcommand, empty_is_a_value))
}

/// What is wrong, without the usage that follows, and with the variable behind the flag: clap names only the flag.
fn one_line(error: &clap::Error, command: &Command) -> String {
    let text = error.to_string();
    let line: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let line = line.join(" ");
    let line = line.trim_start_matches("error: ");
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return line.to_owned() };
    let long = flag.trim_start_matches("--").split(' ').next();
    let subcommands = command.get_subcommands().flat_map(Command::get_arguments);
    let mut arguments = command.get_arguments().chain(subcommands);
    let variable = arguments.find(|arg| arg.get_long() == long).and_then(|arg| arg.get_env());
    variable
        .map_or_else(|| line.to_owned(), |name| format!("{line} (environment variable {})", name.display()))
}

/// Takes an `http` or `https` address, for clap's `value_parser`.
pub fn http_url(value: &str) -> Result<Url, String> {
    let url: Url = value.parse().map_err(|e| format!("{e} (for example http://127.0.0.1:8080)"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must start with http:// or https:// and name a host".to_owned());
    }
    Ok(url)
}

/// Takes a time longer than nothing, such as `500ms` or `5m`, for clap's `value_parser`.
pub fn some_time(value: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(value).map_err(|e| format!("{e} (for example 30s or 5m)"))?;
    if time.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use clap::{Args, CommandFactory as _, Subcommand};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Cli {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Debug, Subcommand)]
    enum Verb {
        Run(Run),
    }

    #[derive(Debug, Args)]
    struct Run {
        #[arg(long, env = "PROGRAM_EVERY", value_parser = some_time)]
        every: Duration,
    }

    #[test]
    fn an_error_is_one_line_that_names_flag_value_and_variable() {
        let error = Cli::try_parse_from(["program", "run", "--every", "soon"]).unwrap_err();
        let line = one_line(&error, &Cli::command());
        assert!(!line.contains('\n') && !line.starts_with("error"), "{line}");
        for part in ["--every", "soon", "PROGRAM_EVERY"] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn addresses_and_times_that_make_no_sense_are_refused() {
        for bad in ["ftp://host", "host:80", "http://", "/path"] {
            assert!(http_url(bad).is_err(), "{bad}");
        }
        for bad in ["0s", "soon", "5", "-5s"] {
            assert!(some_time(bad).is_err(), "{bad}");
        }
    }
}
