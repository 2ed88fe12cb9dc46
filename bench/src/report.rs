//! What was measured, as a table to read and as JSON to compare, and whether it keeps the bounds.
use std::{fmt::Write as _, fs, path::Path, process::Command, time::SystemTime};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cost::{ALL, Cost, OFF},
    faults::Latency,
    floor,
    scrape::Scrape,
    soak::Soak,
    statistics::Spread,
};

/// A value and what it may be.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// What is bounded.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// `at most` or `at least`.
    pub relation: &'static str,
    /// This much.
    pub limit: f64,
    /// Whether it is.
    pub kept: bool,
}

impl Bound {
    /// A value that must not be larger.
    pub fn at_most(name: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { name: name.into(), value, relation: "at most", limit, kept: value <= limit }
    }

    /// A value that must not be smaller.
    pub fn at_least(name: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { name: name.into(), value, relation: "at least", limit, kept: value >= limit }
    }
}

/// What an agent holds in memory.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// What is on.
    pub name: &'static str,
    /// After its start, in MiB.
    pub at_rest_mib: f64,
    /// The most it held under load, in MiB.
    pub most_under_load_mib: f64,
}

/// All of `bench run`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Requests whose answers are in the cache.
    pub cached: Vec<Cost>,
    /// Requests that search the documents and ask a model that takes no time.
    pub full: Vec<Cost>,
    /// A service that does nothing, on the cached ones.
    pub floor: Cost,
    /// The Python fixture on the cached ones, where it was there.
    pub python: Option<Cost>,
    /// Rendering the metrics.
    pub scrape: Scrape,
    /// Memory by variant.
    pub memory: Vec<Memory>,
    /// 99th percentiles by disturbance.
    pub disturbed: Vec<Latency>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}

impl Summary {
    /// CPU time that everything on adds to a cached answer, in microseconds.
    pub fn telemetry_added_cpu_us(&self) -> f64 {
        self.of(ALL).map_or(f64::NAN, |cost| cost.added_cpu_us.median)
    }

    /// The same in the CPU time of a service that does nothing, which depends less on the machine and its mood.
    pub fn added_of_floor(&self) -> f64 {
        self.telemetry_added_cpu_us() / self.floor.cpu_us.median
    }

    /// Cached answers a second by the clock on the wall, everything on relative to nothing, callers and agent on the same cores.
    pub fn throughput_kept(&self) -> f64 {
        self.of(ALL).map_or(f64::NAN, |cost| cost.throughput_ratio.median)
    }

    /// The same per second of the agent's CPU time.
    pub fn throughput_kept_by_cpu(&self) -> f64 {
        match (self.of(OFF), self.of(ALL)) {
            (Some(off), Some(all)) => off.cpu_us.median / all.cpu_us.median,
            _ => f64::NAN,
        }
    }

    /// Requests per second of CPU time, relative to the Python fixture's.
    pub fn times_python(&self) -> Option<f64> {
        Some(self.python.as_ref()?.cpu_us.median / self.of(ALL)?.cpu_us.median)
    }

    /// The same of the service that does nothing: the agent cannot have more.
    pub fn most_times_python(&self) -> Option<f64> {
        Some(self.python.as_ref()?.cpu_us.median / self.floor.cpu_us.median)
    }

    fn of(&self, name: &str) -> Option<&Cost> {
        self.cached.iter().find(|cost| cost.name == name)
    }

    /// What the issue asks for.
    pub fn bounds(&self) -> Vec<Bound> {
        let mut bounds = vec![
            Bound::at_most("telemetry_added_cpu_us", self.telemetry_added_cpu_us(), 15.0),
            Bound::at_least("throughput kept with everything on", self.throughput_kept(), 0.6),
            Bound::at_most("rendering 10,000 series, CPU ms", self.scrape.cpu_ms.median, 10.0),
            Bound::at_most(
                "of it on request threads (sending)",
                self.scrape.request_threads_cpu_ms / self.scrape.cpu_ms.median,
                0.25,
            ),
        ];
        bounds.extend(self.times_python().map(|times| Bound::at_least("times Python", times, 25.0)));
        bounds.extend(self.disturbed.iter().skip(1).map(|latency| {
            Bound::at_most(format!("p99 with a {}, relative", latency.disturbance), latency.p99_ratio, 1.1)
        }));
        bounds
    }

    /// For `summary.json`.
    pub fn to_json(&self) -> Value {
        json!({
            "machine": machine(),
            "telemetry_added_cpu_us": self.telemetry_added_cpu_us(),
            "telemetry_added_of_floor": self.added_of_floor(),
            "throughput_kept": self.throughput_kept(),
            "throughput_kept_by_cpu": self.throughput_kept_by_cpu(),
            "times_python": self.times_python(),
            "most_times_python": self.most_times_python(),
            "measured": self,
            "bounds": self.bounds(),
        })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = format!("\nOn {}. Microseconds and their ratios depend on the machine.\n", machine());
        let _ = writeln!(
            text,
            "\n{:<30} {:>26} {:>26} {:>10}",
            "CPU time of a cached answer, µs", "median (quartiles)", "added", "req/s"
        );
        for cost in &self.cached {
            text.push_str(&row(cost));
        }
        text.extend([&self.floor].into_iter().chain(&self.python).map(row));
        let _ = writeln!(
            text,
            "Kept with `{ALL}`: {:.2} of the answers a second, {:.2} by CPU time",
            self.throughput_kept(),
            self.throughput_kept_by_cpu()
        );
        let _ = writeln!(text, "Added by it: {:.2} of what {} takes", self.added_of_floor(), floor::NAME);
        if let (Some(times), Some(most)) = (self.times_python(), self.most_times_python()) {
            let _ = writeln!(
                text,
                "Requests per CPU second, relative to Python: {times:.1} times with it, {most:.1} times for {}",
                floor::NAME
            );
        }
        let _ = writeln!(text, "\nof a full model call, µs");
        text.extend(self.full.iter().map(row));
        let Scrape { series, cpu_ms, open_metrics_cpu_ms, request_threads_cpu_ms } = &self.scrape;
        let _ = writeln!(
            text,
            "\nA scrape of {series} series: {:.2} ms CPU, of it {request_threads_cpu_ms:.2} ms on request threads; OpenMetrics {:.2} ms",
            cpu_ms.median, open_metrics_cpu_ms.median
        );
        let _ = writeln!(text, "\n{:<30} {:>12} {:>12}", "memory, MiB", "at rest", "under load");
        for Memory { name, at_rest_mib, most_under_load_mib } in &self.memory {
            let _ = writeln!(text, "{name:<30} {at_rest_mib:>12.1} {most_under_load_mib:>12.1}");
        }
        let _ = writeln!(
            text,
            "\n{:<30} {:>12} {:>12} {:>12}",
            "disturbed by", "p99 µs", "relative", "longest µs"
        );
        for Latency { disturbance, p99_us, p99_ratio, max_us } in &self.disturbed {
            let _ = writeln!(text, "{disturbance:<30} {p99_us:>12.0} {p99_ratio:>12.2} {max_us:>12.0}");
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "skipped: {skipped}");
        }
        text + &bounds_text(&self.bounds())
    }
}

impl Soak {
    /// What the issue asks for.
    pub fn bounds(&self) -> Vec<Bound> {
        vec![
            // Allocators keep a little more or less of what they have had: two medians do not end on the same byte.
            Bound::at_most("growth of memory, MiB", self.growth_mib(), 2.0),
            Bound::at_most("longest request, ms", self.longest_ms, 1000.0),
            Bound::at_most("lines lost uncounted", self.lines.unaccounted() as f64, 0.0),
            Bound::at_most("spans lost uncounted", self.spans.unaccounted() as f64, 0.0),
            Bound::at_least("lines lost and counted", self.lines.counted_as_lost as f64, 1.0),
            Bound::at_least("spans lost and counted", self.spans.counted_as_lost as f64, 1.0),
        ]
    }

    /// For `soak.json`.
    pub fn to_json(&self) -> Value {
        json!({ "machine": machine(), "measured": self, "growth_mib": self.growth_mib(), "bounds": self.bounds() })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let Self {
            minutes,
            requests,
            longest_ms,
            memory_before_mib: before,
            memory_after_mib: after,
            most_memory_mib,
            lines,
            spans,
        } = self;
        format!(
            "\n{minutes:.1} minutes, {requests} requests, the longest {longest_ms:.0} ms\nmemory {:.1} MiB after the warm-up, {:.1} MiB at the end, at most {most_memory_mib:.1} MiB\nlines {lines:?}\nspans {spans:?}\n{}",
            before.median,
            after.median,
            bounds_text(&self.bounds())
        )
    }
}

fn row(cost: &Cost) -> String {
    let spread = |Spread { q1, median, q3 }: Spread| format!("{median:.1} ({q1:.1}–{q3:.1})");
    let (cpu, added) = (spread(cost.cpu_us), spread(cost.added_cpu_us));
    format!("{:<30} {cpu:>26} {added:>26} {:>10.2}\n", cost.name, cost.throughput_ratio.median)
}

pub(crate) fn bounds_text(bounds: &[Bound]) -> String {
    let mut text = "\n".to_owned();
    for Bound { name, value, relation, limit, kept } in bounds {
        let verdict = if *kept { "ok    " } else { "BROKEN" };
        let _ = writeln!(text, "{verdict} {name}: {value:.2} ({relation} {limit})");
    }
    text
}

/// What the figures were measured on.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit =
        commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let date = humantime::format_rfc3339_seconds(SystemTime::now());
    // Of the last minute: the bench alone makes about 2.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{model}, {cores} cores, load {load}, {date}, commit {commit}")
}

/// Writes the JSON.
pub fn write(file: &Path, json: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(json).unwrap_or_default() + "\n";
    fs::write(file, text).map_err(|e| format!("{} cannot be written: {e}", file.display()))
}
