//! The same endpoint in Python, as a process like the agent.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cost::Variant,
    process::{Server, free_ports},
    servers::{Collector, provider},
};

/// Everything that the agent has on is on there.
pub const NAME: &str = "Python, metrics, logs, traces";

/// Starts it out of this virtual environment; `requests` in each of its turns.
pub fn start(environment: &Path, requests: u64) -> Result<Variant, String> {
    let failed = |e| format!("cannot start the fixture's surroundings: {e}");
    let [address] = free_ports().map_err(failed)?;
    let mut command = Command::new(environment.join("bin/uvicorn"));
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python");
    command.arg("--app-dir").arg(folder).args(["--no-access-log", "--log-level", "warning", "--port"]);
    command.arg(address.port().to_string()).arg("app:app").env_clear();
    // Nothing is written beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("LLM_BASE_URL", provider().map_err(failed)?);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", Collector::start().map_err(failed)?.url());
    Ok(Variant::new(NAME, Server::start(command, [address, address])?, requests))
}
