//! Programs that ask: the bench's own client, the kit's `load-test`, and `wrk`, which is not ours.
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use crate::load::{Kind, Load};

/// Callers that each wait for an answer before they ask again.
pub(super) const CALLERS: u16 = 8;
/// How long each is measured.
pub(super) const TIME: Duration = Duration::from_secs(5);
/// Requests after which the bench's own client looks at the clock.
const BATCH: u64 = 800;

/// A program that asks.
#[derive(Clone, Debug)]
pub enum Generator {
    /// Threads and as much of HTTP as the agent's answers need.
    Bench,
    /// The program behind `make load`.
    LoadTest(PathBuf),
    /// <https://github.com/wg/wrk>
    Wrk(PathBuf),
}

/// What it measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Measured {
    /// Answers a second.
    pub per_second: f64,
    /// Half of them came within, in milliseconds; the bench's own client does not look.
    pub p50_ms: Option<f64>,
}

impl Generator {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bench => "bench",
            Self::LoadTest(_) => "load-test",
            Self::Wrk(_) => "wrk",
        }
    }

    /// Asks as fast as it is answered.
    pub(super) fn ask(&self, api: SocketAddr, kind: Kind, folder: &Path) -> Result<Measured, String> {
        match self {
            Self::Bench => {
                let load = Load { api, kind, connections: CALLERS.into() };
                let (mut requests, mut took) = (0, Duration::ZERO);
                while took < TIME {
                    took += load.as_fast_as_answered(BATCH)?;
                    requests += BATCH;
                }
                Ok(Measured { per_second: requests as f64 / took.as_secs_f64(), p50_ms: None })
            }
            Self::LoadTest(program) => {
                let fresh = if kind == Kind::Cached { "0%" } else { "100%" };
                let (callers, time) = (CALLERS.to_string(), format!("{}s", TIME.as_secs()));
                let flags = ["--callers", &callers, "--duration", &time, "--fresh", fresh];
                let (_, report) = load_test(program, api, &flags, folder)?;
                let number = |value: &Value| value.as_f64().ok_or("load-test's report lacks a figure");
                let answered = number(&report["total"]["answered"])?;
                Ok(Measured {
                    per_second: answered / number(&report["seconds"])?,
                    p50_ms: Some(number(&report["total"]["p50_ms"])?),
                })
            }
            Self::Wrk(program) => wrk(program, api, kind, folder),
        }
    }
}

/// Runs `load-test run`; gives back whether all limits were kept, and its report.
pub(super) fn load_test(
    program: &Path,
    api: SocketAddr,
    flags: &[&str],
    folder: &Path,
) -> Result<(bool, Value), String> {
    let report = folder.join("load");
    let mut command = Command::new(program);
    command.args(["run", "--url", &format!("http://{api}"), "--progress", "1h", "--report"]).arg(&report);
    let ended = command.args(flags).stdin(Stdio::null()).output();
    let ended = ended.map_err(|e| format!("{}: {e}", program.display()))?;
    let kept = match ended.status.code() {
        Some(0) => true,
        Some(2) => false,
        _ => return Err(format!("load-test: {}", String::from_utf8_lossy(&ended.stderr).trim())),
    };
    let file = report.join("load.json");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok((kept, serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?))
}

fn wrk(program: &Path, api: SocketAddr, kind: Kind, folder: &Path) -> Result<Measured, String> {
    // As many known questions as the bench's own client has; or each one new.
    let number = if kind == Kind::Cached { "n % 16" } else { "n" };
    let script = format!(
        "local n = 0\nlocal headers = {{ [\"content-type\"] = \"application/json\" }}\nfunction request()\n  n = n + 1\n  \
         return wrk.format(\"POST\", \"/v1/query\", headers, '{{\"tenant_id\":\"globex\",\"query\":\"Why was wrk slow? (' .. ({number}) .. ')\"}}')\nend\n"
    );
    let file = folder.join("wrk.lua");
    fs::write(&file, script).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut command = Command::new(program);
    command.args([
        "--threads=1",
        &format!("--connections={CALLERS}"),
        &format!("--duration={}s", TIME.as_secs()),
    ]);
    command.args(["--latency", "--script"]).arg(&file).arg(format!("http://{api}/v1/query"));
    let ended = command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", program.display()))?;
    let said = String::from_utf8_lossy(&ended.stdout);
    if !ended.status.success() || said.contains("Non-2xx") {
        return Err(format!("wrk: {}: {said}{}", ended.status, String::from_utf8_lossy(&ended.stderr)));
    }
    read_wrk(&said).ok_or(format!("wrk says neither how many answers nor how fast: {said}"))
}

fn read_wrk(said: &str) -> Option<Measured> {
    let after = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    Some(Measured {
        per_second: after("Requests/sec:")?.parse().ok()?,
        p50_ms: Some(humantime::parse_duration(&whole(after("50%")?)?).ok()?.as_secs_f64() * 1e3),
    })
}

/// `1.25ms`, which has a fraction, as whole nanoseconds.
fn whole(time: &str) -> Option<String> {
    let end = time.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = time.split_at(end);
    let nanoseconds = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(format!("{:.0}ns", number.parse::<f64>().ok()? * nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let said = "Running 5s test @ http://127.0.0.1:1/v1/query\n  Latency Distribution\n     50%    1.25ms\n     75%  \
                    380.00us\n  100 requests in 5.10s, 1.02MB read\nRequests/sec:    392.12\nTransfer/sec:    205.26KB\n";
        let measured = read_wrk(said).unwrap();
        assert_eq!((measured.per_second, measured.p50_ms), (392.12, Some(1.25)));
        assert!(read_wrk("Requests/sec: many\n").is_none());
        assert!(read_wrk("Requests/sec: 1.0\n 50% 1.0h\n").is_none());
    }
}
