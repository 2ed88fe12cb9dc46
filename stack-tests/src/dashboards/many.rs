//! A Prometheus with hours of many tenants in it, made up and back-filled: what dashboards cost there.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    clients::{client, send},
    programs::free_address,
    tools::Tool,
    wait::until,
};

/// Seconds between samples of the counters. Rates over five minutes have five of them: enough for what is measured here,
/// which is the number of series.
const STEP: u64 = 60;
/// Seconds between samples of what is recorded: as often as the rules run.
const RECORDED: &str = "30s";
const LIMIT: Duration = Duration::from_mins(20);
const BUCKETS: [(&str, f64); 9] = [
    ("0.1", 0.55),
    ("0.25", 0.62),
    ("0.5", 0.74),
    ("1.0", 0.9),
    ("2.0", 0.97),
    ("2.5", 0.98),
    ("5.0", 0.995),
    ("10.0", 0.999),
    ("+Inf", 1.0),
];

/// A Prometheus of its own, which ends with this value.
pub struct Many {
    folder: TempDir,
    prometheus: Tool,
    running: Option<Child>,
    /// Its address.
    pub url: String,
}

impl Many {
    /// Back-fills the last `hours` of `tenants`, and what the rules in `repository` record of them.
    ///
    /// # Errors
    /// Says which step failed, and what was printed.
    pub fn of(
        repository: &Path,
        tenants: usize,
        hours: u64,
        now: u64,
        say: &dyn Fn(&str),
    ) -> Result<Self, String> {
        let tool = |name: &str| Tool::find(name).ok_or(format!("{name} is not installed: run make setup"));
        let (promtool, prometheus) = (tool("promtool")?, tool("prometheus")?);
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        fs::write(folder.path().join("prometheus.yml"), "global: {}\n").map_err(|e| e.to_string())?;
        // Whole steps, so that all series have the same moments.
        let (start, end) = ((now - hours * 3600) / STEP * STEP, now / STEP * STEP);
        let samples = folder.path().join("samples.txt");
        let written =
            write(&samples, tenants, start, end).map_err(|e| format!("{}: {e}", samples.display()))?;
        say(&format!("{written} samples of {tenants} tenants"));
        let data = folder.path().join("data").display().to_string();
        promtool.run(
            folder.path(),
            &["tsdb", "create-blocks-from", "openmetrics", "--quiet", &samples.display().to_string(), &data],
        )?;
        fs::remove_file(&samples).map_err(|e| e.to_string())?;
        let mut many = Self { folder, prometheus, running: None, url: String::new() };
        let rules = rules(repository)?;
        let (start, end) = (start.to_string(), end.to_string());
        // What is recorded of what is recorded is there after the second time only.
        let mut first: Vec<PathBuf> = Vec::new();
        for round in 1..=2 {
            many.start()?;
            say(&format!("recording, {round} of 2"));
            let url = many.url.clone();
            let mut arguments =
                vec!["tsdb", "create-blocks-from", "rules", "--url", &url, "--start", &start, "--end", &end];
            arguments.extend(["--eval-interval", RECORDED, "--output-dir", &data]);
            arguments.extend(rules.iter().map(String::as_str));
            let before = super::entries(&many.folder.path().join("data"))?;
            promtool.run(many.folder.path(), &arguments)?;
            many.stop();
            if round == 2 {
                // All of the first time's is in the second's too: twice the same would take twice as long to read.
                first.iter().try_for_each(fs::remove_dir_all).map_err(|e| e.to_string())?;
            } else {
                let blocks = super::entries(&many.folder.path().join("data"))?;
                first = blocks
                    .into_iter()
                    .filter(|block| block.join("meta.json").exists() && !before.contains(block))
                    .collect();
            }
        }
        many.start()?;
        Ok(many)
    }

    fn start(&mut self) -> Result<(), String> {
        let free = free_address()?;
        let log = File::create(self.folder.path().join("prometheus.log")).map_err(|e| e.to_string())?;
        let child = Command::new(self.prometheus.path())
            .current_dir(self.folder.path())
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--storage.tsdb.retention.time=30d",
                // Blocks stay as they were made: which came from where is still to be known.
                "--storage.tsdb.min-block-duration=2h",
                "--storage.tsdb.max-block-duration=2h",
            ])
            .arg(format!("--web.listen-address={free}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("prometheus: {e}"))?;
        self.running = Some(child);
        self.url = format!("http://{free}");
        let ready = format!("{}/-/ready", self.url);
        until("Prometheus is ready", LIMIT, || {
            let status = send(client().get(&ready))?.status;
            if status == 200 { Ok(()) } else { Err(format!("status {status}")) }
        })
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The agent's rules and its thresholds; those of hosts and the stack have nothing to record here.
fn rules(repository: &Path) -> Result<Vec<String>, String> {
    let folder = repository.join("prometheus/rules");
    let is_agents =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("agent"));
    let mut files: Vec<_> = super::entries(&folder)?.into_iter().filter(is_agents).collect();
    files.sort();
    files.push(repository.join("prometheus/thresholds/default.yml"));
    let absolute =
        files.iter().map(|file| fs::canonicalize(file).map_err(|e| format!("{}: {e}", file.display())));
    absolute.map(|file| Ok(file?.display().to_string())).collect()
}

/// Writes counters that grow steadily: a few tenants ask most, as everywhere.
fn write(path: &Path, tenants: usize, start: u64, end: u64) -> std::io::Result<u64> {
    let mut out = BufWriter::new(File::create(path)?);
    let agent = r#"job="example-agent",instance="agent:8000""#;
    let mut written = 0;
    let mut series = |name: &str, labels: &str, at: &dyn Fn(f64) -> f64| -> std::io::Result<()> {
        for time in (start..=end).step_by(STEP as usize) {
            writeln!(out, "{name}{{{agent}{labels}}} {:.4} {time}", at((time - start) as f64))?;
            written += 1;
        }
        Ok(())
    };
    for tenant in 0..tenants {
        let id = format!(r#",tenant_id="tenant-{tenant:04}""#);
        let rate = 20.0 / (tenant + 10) as f64;
        let request = format!(r#",method="POST",endpoint="/v1/query"{id}"#);
        for (status, share) in [("success", 0.97), ("error", 0.01), ("rejected", 0.02)] {
            series("agent_requests_total", &format!(r#"{request},status="{status}""#), &|t| {
                share * rate * t
            })?;
        }
        for (le, share) in BUCKETS {
            series(
                "agent_request_duration_seconds_bucket",
                &format!(r#"{request},status="success",le="{le}""#),
                &|t| share * rate * t,
            )?;
        }
        let answers = format!(r#"{request},status="success""#);
        series("agent_request_duration_seconds_count", &answers, &|t| rate * t)?;
        series("agent_request_duration_seconds_sum", &answers, &|t| 0.4 * rate * t)?;
        for (result, share) in [("hit", 0.7), ("miss", 0.3)] {
            series(
                "agent_cache_requests_total",
                &format!(r#"{id},cache_type="response",result="{result}""#),
                &|t| share * rate * t,
            )?;
        }
        series("agent_api_cost_usd_total", &format!(r#"{id},model="sim-small""#), &|t| 0.0001 * rate * t)?;
        series("agent_errors_total", &format!(r#"{id},error_type="upstream_error""#), &|t| 0.01 * rate * t)?;
        for (direction, tokens) in [("input", 90.0), ("output", 30.0)] {
            series(
                "agent_llm_tokens_total",
                &format!(r#"{id},model="sim-small",direction="{direction}""#),
                &|t| tokens * rate * t,
            )?;
        }
    }
    series("agent_active_connections", "", &|t| 200.0 + 50.0 * (t / 900.0).sin())?;
    series("agent_build_info", r#",version="0.1.0""#, &|_| 1.0)?;
    series("process_start_time_seconds", "", &|_| start as f64 - 3600.0)?;
    series("up", "", &|_| 1.0)?;
    series("ALERTS", r#",alertname="LowCacheHitRate",alertstate="firing",severity="warning""#, &|_| 1.0)?;
    writeln!(out, "# EOF")?;
    out.flush()?;
    Ok(written)
}
