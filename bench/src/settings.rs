//! Settings: flags. What is not valid stops the start.
use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use command_line::some_time;

/// Measures what the agent's telemetry costs, and that requests do not notice when it fails.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// CPU time by how much telemetry is on, beside Python; scrapes; disturbances. Exit code 2 where a bound is broken
    Run {
        /// Rounds in which each variant has a turn
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..=1000))]
        rounds: u16,
        /// The Python fixture's virtual environment [default: without it]
        #[arg(long)]
        python: Option<PathBuf>,
    },
    /// Load for a long time while collector and log reader come and go. Exit code 2 where a bound is broken
    Soak {
        /// How long
        #[arg(long, default_value = "30m", value_parser = some_time)]
        time: Duration,
    },
    /// Serve what `run` compares with: a service that does nothing
    #[command(hide = true)]
    Floor {
        /// Where
        #[arg(long)]
        address: SocketAddr,
    },
    /// How much it holds, and how what it takes grows. Exit code 2 where a bound is broken
    Capacity {
        /// The simulators
        #[arg(long, default_value = "target/release/simulators")]
        simulators: PathBuf,
        /// The load test
        #[arg(long, default_value = "target/release/load-test")]
        load_test: PathBuf,
        /// Prometheus [default: without it]
        #[arg(long)]
        prometheus: Option<PathBuf>,
        /// wrk, to compare the load test with [default: without it]
        #[arg(long)]
        wrk: Option<PathBuf>,
    },
}

/// Where things are.
#[derive(Debug, Args)]
pub struct Places {
    /// The agent
    #[arg(long, default_value = "target/release/example-agent", global = true)]
    pub agent: PathBuf,
    /// What is written: summary.json, soak.json or capacity.json, logs of the agents
    #[arg(long, default_value = "target/bench", global = true)]
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
