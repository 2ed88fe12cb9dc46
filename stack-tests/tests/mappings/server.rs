//! A Prometheus with one mapping and the kit's rules, fifteen times as fast.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use stack_tests::{
    programs::{self, Process, free_address},
    wait,
};
use tempfile::TempDir;

/// What durations are divided by: groups of 15 seconds become one of a second, windows of 5 minutes 20 seconds.
const FACTOR: u32 = 15;
/// Some windows, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running one.
pub(crate) struct Prometheus {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it with this mapping; it scrapes `target` as the job `job` each second, with this bearer token.
    pub(crate) fn start(
        repository: &Path,
        program: &Path,
        mapping: &str,
        (job, target, token): (&str, &str, &str),
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        scale_durations::folder(&repository.join("prometheus"), folder.path(), FACTOR)
            .map_err(|e| e.to_string())?;
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [format!("mappings/{mapping}.yml"), "rules/agent*.yml", "thresholds/default.yml"],
            "scrape_configs": [{
                "job_name": job,
                "authorization": { "credentials": token },
                "static_configs": [{ "targets": [target] }],
            }],
        });
        // YAML is a superset of JSON.
        std::fs::write(folder.path().join("with-mapping.yml"), config.to_string())
            .map_err(|e| e.to_string())?;
        let address = free_address()?;
        let process = Command::new(program)
            .current_dir(folder.path())
            .args(["--config.file=with-mapping.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        Ok(Self { url: format!("http://{address}"), _process: Process(process), _folder: folder })
    }

    /// Waits until the expression's answer holds at least one sample, and all of them are as asked.
    pub(crate) fn waits_for(&self, expression: &str, holds: fn(f64) -> bool) -> Result<(), String> {
        wait::until(expression, PATIENCE, || {
            let samples = programs::query(&self.url, expression, None)?;
            let all = samples.iter().all(|(_, value)| value.parse().is_ok_and(holds));
            if all && !samples.is_empty() { Ok(()) } else { Err(format!("{samples:?}")) }
        })
    }

    /// Waits until the alert fires.
    pub(crate) fn waits_for_alert(&self, alert: &str) -> Result<(), String> {
        wait::until(alert, PATIENCE, || {
            let answer = programs::ask(&format!("{}/api/v1/alerts", self.url), &[])?;
            let alerts = answer["data"]["alerts"].as_array().ok_or_else(|| answer.to_string())?;
            let fires = |found: &Value| found["labels"]["alertname"] == alert && found["state"] == "firing";
            if alerts.iter().any(fires) { Ok(()) } else { Err(answer.to_string()) }
        })
    }
}
