//! Settings: flags, or the environment variables of the same meaning. What is not valid stops the start.
use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use command_line::{http_url, some_time};
use reqwest::Url;

/// Looks at the log path from outside: how fresh, how complete, and one request's whole story.
#[derive(Debug, Parser)]
#[command(name = "log-watch", version, arg_required_else_help = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask agents, Logstash and Elasticsearch again and again; show what comes out as metrics
    Serve(Serve),
    /// Print one request's log lines, audit lines, spans, tokens and cost, in order
    Story(Story),
    /// Ask a running log-watch whether it is healthy: exit code 0 or 1
    Healthcheck {
        /// What must answer 2xx
        #[arg(long, env = "LOG_WATCH_HEALTH_URL", default_value = "http://127.0.0.1:9598/healthz",
              value_parser = http_url)]
        url: Url,
    },
}

/// Settings of `log-watch serve`.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where to listen
    #[arg(long, env = "LOG_WATCH_LISTEN", default_value = "127.0.0.1:9598")]
    pub listen: SocketAddr,
    /// How often to ask
    #[arg(long, env = "LOG_WATCH_EVERY", default_value = "10s", value_parser = some_time)]
    pub every: Duration,
    /// How long a line may take from the agent's file to Elasticsearch before it counts as missing
    #[arg(long, env = "LOG_WATCH_PATIENCE", default_value = "1m", value_parser = some_time)]
    pub patience: Duration,
    /// Over how long a time lines written and lines indexed are compared
    #[arg(long, env = "LOG_WATCH_WINDOW", default_value = "1h", value_parser = some_time)]
    pub window: Duration,
    /// Whether somebody ships lines to Elasticsearch at all; off: they stop at the file, and none is missing
    #[arg(long, env = "LOG_WATCH_SHIPPING", default_value = "on")]
    pub shipping: Switch,
    /// Where the metrics of the agents are that write the lines, separated by commas
    #[arg(long, env = "LOG_WATCH_AGENT_URLS", default_value = "http://127.0.0.1:8000/metrics",
          value_delimiter = ',', value_parser = http_url)]
    pub agent_urls: Vec<Url>,
    /// Logstash's API [default: there is no Logstash]
    #[arg(long, env = "LOG_WATCH_LOGSTASH_URL", value_parser = http_url)]
    pub logstash_url: Option<Url>,
    /// Elasticsearch.
    #[command(flatten)]
    pub elasticsearch: Elasticsearch,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Where Elasticsearch is, and as whom to ask.
#[derive(Clone, Debug, Args)]
pub struct Elasticsearch {
    /// Elasticsearch
    #[arg(long = "elasticsearch-url", env = "LOG_WATCH_ELASTICSEARCH_URL", default_value = "http://127.0.0.1:9200",
          value_parser = http_url)]
    pub url: Url,
    /// A user that may read the agents' indices
    #[arg(long = "elasticsearch-user", env = "LOG_WATCH_ELASTICSEARCH_USER", default_value = "log_watch")]
    pub user: String,
    /// The file with that user's password [default: ask without]
    #[arg(long = "elasticsearch-password-file", env = "LOG_WATCH_ELASTICSEARCH_PASSWORD_FILE",
          value_parser = password)]
    pub password: Option<Password>,
}

/// Settings of `log-watch story`.
#[derive(Clone, Debug, Args)]
pub struct Story {
    /// The id of a request (header x-request-id) or of a trace (header x-trace-id)
    #[arg(value_parser = id)]
    pub id: String,
    /// Jaeger's query side
    #[arg(long, env = "LOG_WATCH_JAEGER_URL", default_value = "http://127.0.0.1:16686", value_parser = http_url)]
    pub jaeger_url: Url,
    /// The agent's log files: read where Elasticsearch has no line [default: none]
    #[arg(long, env = "LOG_WATCH_LOG_DIR")]
    pub log_dir: Option<PathBuf>,
    /// Elasticsearch.
    #[command(flatten)]
    pub elasticsearch: Elasticsearch,
}

/// A password, which no debug output shows.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Reads the file, without the newline that editors leave at its end.
fn password(path: &str) -> Result<Password, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() { Err("the file is empty".to_owned()) } else { Ok(Password(text.to_owned())) }
}

fn id(value: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if value.is_empty() || value.len() > 128 || !value.chars().all(plain) {
        return Err("must be the id of a request or a trace: up to 128 letters, digits and -_.:".to_owned());
    }
    Ok(value.to_owned())
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
    fn what_is_no_id_is_refused() {
        for bad in ["", "a b", "*", "x\" OR \"y", &"a".repeat(129)] {
            assert!(id(bad).is_err(), "{bad}");
        }
        assert!(id("0193c0de-0000-7000-8000-000000000001").is_ok());
    }

    #[test]
    fn a_password_is_a_files_text_without_its_newline_and_shows_nowhere() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert!(password(path).is_err(), "empty");
        fs::write(path, "a b$\"\n").unwrap();
        let read = password(path).unwrap();
        assert_eq!(read.0, "a b$\"");
        assert!(!format!("{read:?}").contains('$'));
        assert!(password("/no/such/file").is_err());
    }
}
