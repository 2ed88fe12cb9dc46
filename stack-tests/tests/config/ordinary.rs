//! Anti-noise: an hour of ordinary traffic, with all the small troubles that an hour has, brings no alert but Watchdog.
//!
//! The hour is made up, from seeds, and run through promtool: so it is the same everywhere and takes seconds. A live hour
//! would also tell how busy the machine is that the tests run on.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use libtest_mimic::Trial;
use stack_tests::tools::Tool;

use crate::{Checker, files, stem};

/// Seconds between samples, and how many there are: an hour and a quarter, of which the last hour counts.
const STEP: f64 = 15.0;
const SAMPLES: usize = 300;
/// Tenants with their share of a request a second, which is what the base traffic sends.
const TENANTS: [(&str, f64); 5] =
    [("acme", 0.35), ("globex", 0.25), ("initech", 0.2), ("umbrella", 0.12), ("hooli", 0.08)];
const BUCKETS: [(&str, f64); 9] = [
    ("0.1", 0.1),
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1.0", 1.0),
    ("2.0", 2.0),
    ("2.5", 2.5),
    ("5.0", 5.0),
    ("10.0", 10.0),
    ("+Inf", f64::INFINITY),
];

pub(crate) fn trials(repository: &Path, promtool: &Checker) -> Vec<Trial> {
    let presets = [("default", 0.68), ("ecommerce", 0.8), ("finance", 0.68)];
    let trial = |seed: u64, (preset, hits): (&'static str, f64)| {
        let folder = repository.join("prometheus");
        promtool.trial(format!("prometheus::an_ordinary_hour_is_quiet::{preset}::{seed}"), move |promtool| {
            is_quiet(promtool, &folder, preset, &hour(seed, hits))
        })
    };
    (1..=2).flat_map(|seed| presets.map(|preset| trial(seed, preset))).collect()
}

/// xorshift64*, so that a seed is the same hour for ever.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// How many of many independent callers come, by Knuth's method.
    fn poisson(&mut self, mean: f64) -> u32 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// Seconds of an answer: log-normal, the simulator's small model.
    fn answer(&mut self) -> f64 {
        let normal =
            (-2.0 * self.unit().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        0.55 * (0.6 * normal).exp()
    }
}

/// Series by name, each with its samples.
#[derive(Default)]
struct Series(BTreeMap<String, Vec<f64>>);

impl Series {
    fn push(&mut self, series: impl Into<String>, value: f64) {
        self.0.entry(series.into()).or_default().push(value);
    }

    /// Adds to a counter, which goes on from its last sample.
    fn count(&mut self, series: impl Into<String>, more: f64) {
        let samples = self.0.entry(series.into()).or_default();
        samples.push(samples.last().copied().unwrap_or(0.0) + more);
    }
}

fn hour(seed: u64, hits: f64) -> Series {
    let (mut dice, mut series) = (Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)), Series::default());
    let agent = r#"job="example-agent", instance="a:8000""#;
    for n in 0..SAMPLES {
        // People come in waves of ten minutes.
        let wave = 1.0 + 0.4 * (n as f64 / 40.0 * std::f64::consts::TAU).sin();
        for (tenant, share) in TENANTS {
            requests(
                &mut series,
                &mut dice,
                &format!(r#"{agent}, tenant_id="{tenant}""#),
                share * wave,
                hits,
                n,
            );
        }
        series.push(format!("agent_active_connections{{{agent}}}"), 5.0 + 40.0 * dice.unit());
        series.push(format!("process_start_time_seconds{{{agent}}}"), -90_000.0);
        series.push(format!("agent_build_info{{{agent}}}"), 1.0);
        for (metric, once) in [
            ("agent_log_lines_dropped_total", 0.0),
            ("agent_audit_events_lost_total", 0.0),
            ("agent_llm_unpriced_calls_total", 0.0),
            // Jaeger was restarted.
            ("agent_spans_dropped_total", 40.0),
        ] {
            series.count(format!("{metric}{{{agent}}}"), if n == 130 { once } else { 0.0 });
        }
        parts(&mut series, &mut dice, n);
        host(&mut series, &mut dice, n);
        log_path(&mut series, &mut dice, n);
    }
    series
}

fn requests(series: &mut Series, dice: &mut Dice, tenant: &str, rate: f64, hits: f64, n: usize) {
    let (mut fast, mut answers) = (0, Vec::new());
    for _ in 0..dice.poisson(rate * STEP) {
        if dice.unit() < hits { fast += 1 } else { answers.push(dice.answer()) }
    }
    // Once in the hour the provider fails somebody.
    let failed = u32::from(n == 170 && tenant.contains("acme"));
    let asked = fast + answers.len() as u32;
    series.count(format!(r#"agent_requests_total{{{tenant}, status="success"}}"#), f64::from(asked));
    series.count(format!(r#"agent_requests_total{{{tenant}, status="error"}}"#), f64::from(failed));
    let rejected = f64::from(dice.poisson(0.02 * rate * STEP));
    series.count(format!(r#"agent_requests_total{{{tenant}, status="rejected"}}"#), rejected);
    for (le, bound) in BUCKETS {
        let within = answers.iter().filter(|seconds| **seconds <= bound).count() as u32;
        let bucket = format!(r#"agent_request_duration_seconds_bucket{{{tenant}, le="{le}"}}"#);
        series.count(bucket, f64::from(fast + within));
    }
    series.count(format!("agent_request_duration_seconds_count{{{tenant}}}"), f64::from(asked));
    let cache = |result: &str| {
        format!(r#"agent_cache_requests_total{{{tenant}, cache_type="response", result="{result}"}}"#)
    };
    series.count(cache("hit"), f64::from(fast));
    series.count(cache("miss"), answers.len() as f64);
    // A tenth of a cent for each call.
    let usd = 0.001 * answers.len() as f64;
    series.count(format!(r#"agent_api_cost_usd_total{{{tenant}, model="sim-small"}}"#), usd);
    series.count(format!("agent_tenant_spent_today_usd{{{tenant}}}"), usd);
    series.push(format!("agent_tenant_budget_usd{{{tenant}}}"), 5.0);
    let violations = format!(r#"agent_compliance_violations_total{{{tenant}, rule="prompt_injection"}}"#);
    series.count(violations, 0.0);
}

/// The parts of the stack, of which one misses a scrape now and then.
fn parts(series: &mut Series, dice: &mut Dice, n: usize) {
    for (job, instance) in [
        ("example-agent", "a:8000"),
        ("jaeger", "jaeger:8888"),
        ("grafana", "grafana:3000"),
        ("pushgateway", "pushgateway:9091"),
        ("prometheus", "localhost:9090"),
        ("alertmanager", "alertmanager:9093"),
        ("node-exporter", "node-exporter:9100"),
        ("log-watch", "log-watch:9598"),
        ("elasticsearch-exporter", "elasticsearch-exporter:9114"),
    ] {
        let up = dice.unit() > 0.003;
        series.push(format!(r#"up{{job="{job}", instance="{instance}"}}"#), f64::from(u8::from(up)));
    }
    series.push(r#"agent_answer_accuracy_ratio{job="evaluation"}"#, 0.96);
    series.push(r#"push_time_seconds{job="evaluation"}"#, -40_000.0);
    let prometheus = r#"job="prometheus", instance="localhost:9090""#;
    series.push(format!("prometheus_notifications_alertmanagers_discovered{{{prometheus}}}"), 1.0);
    series.push(format!("prometheus_config_last_reload_successful{{{prometheus}}}"), 1.0);
    // A delivery had to be tried again, and a span came in pieces.
    for metric in ["prometheus_notifications_errors_total", "prometheus_rule_evaluation_failures_total"] {
        series.count(format!("{metric}{{{prometheus}}}"), f64::from(u8::from(n == 90)));
    }
    let refused = r#"otelcol_receiver_refused_spans_total{job="jaeger", instance="jaeger:8888"}"#;
    series.count(refused, if n == 200 { 3.0 } else { 0.0 });
}

fn host(series: &mut Series, dice: &mut Dice, n: usize) {
    let host = r#"job="node-exporter", instance="node-exporter:9100""#;
    for cpu in 0..2 {
        let idle = STEP * (0.4 + 0.5 * dice.unit());
        series.count(format!(r#"node_cpu_seconds_total{{{host}, cpu="{cpu}", mode="idle"}}"#), idle);
    }
    series.push(format!("node_load5{{{host}}}"), 0.5 + 2.0 * dice.unit());
    series.push(format!("node_memory_MemAvailable_bytes{{{host}}}"), 30.0 + 20.0 * dice.unit());
    series.push(format!("node_memory_MemTotal_bytes{{{host}}}"), 100.0);
    let disk = format!(r#"{host}, device="/dev/vda", fstype="ext4", mountpoint="/""#);
    // A log is written, and rotated every half hour.
    series.push(format!("node_filesystem_avail_bytes{{{disk}}}"), 40.0 - 0.01 * (n % 120) as f64);
    series.push(format!("node_filesystem_size_bytes{{{disk}}}"), 100.0);
    let late = 0.05 * dice.unit();
    series.push(format!("node_time_seconds{{{host}}}"), STEP * n as f64 + late);
}

/// Lines on their way, some late, an event that overtakes another, and a search that Elasticsearch does not answer in time.
fn log_path(series: &mut Series, dice: &mut Dice, n: usize) {
    let watch = r#"job="log-watch", instance="log-watch:9598""#;
    series.push(format!("log_watch_shipping{{{watch}}}"), 1.0);
    series.push(
        format!(r#"log_watch_source_up{{{watch}, source="elasticsearch"}}"#),
        f64::from(u8::from(n != 110)),
    );
    series.push(format!(r#"log_watch_source_up{{{watch}, source="logstash"}}"#), 1.0);
    let overtaken = f64::from(u8::from(dice.unit() < 0.1));
    series.push(format!("log_audit_events_missing{{{watch}}}"), overtaken);
    for stream in ["app", "audit"] {
        let age = 2.0 + 8.0 * dice.unit();
        let newest = format!(r#"log_newest_line_timestamp_seconds{{{watch}, stream="{stream}"}}"#);
        series.push(newest, STEP * n as f64 - age);
        let late = f64::from(u8::from(dice.unit() < 0.1));
        series.push(format!(r#"log_lines_missing{{{watch}, stream="{stream}"}}"#), late);
        series.push(format!(r#"log_lines_unusable{{{watch}, stream="{stream}", reason="unparsed"}}"#), 0.0);
        let written = format!(
            r#"agent_log_lines_written_total{{job="example-agent", instance="a:8000", stream="{stream}"}}"#
        );
        series.count(written, f64::from(dice.poisson(4.0 * STEP)));
    }
    let pipeline = format!(r#"{watch}, pipeline="agent-logs""#);
    series.push(format!("logstash_queue_bytes{{{pipeline}}}"), 5.0 + 20.0 * dice.unit());
    series.push(format!("logstash_queue_limit_bytes{{{pipeline}}}"), 100.0);
    let node = r#"job="elasticsearch-exporter", name="node", cluster="kit""#;
    series.push(format!(r#"elasticsearch_cluster_health_status{{{node}, color="red"}}"#), 0.0);
    series.push(format!("elasticsearch_filesystem_data_available_bytes{{{node}}}"), 40.0);
    series.push(format!("elasticsearch_filesystem_data_size_bytes{{{node}}}"), 100.0);
}

fn is_quiet(promtool: &Tool, folder: &Path, preset: &str, series: &Series) -> Result<(), String> {
    let mut test = String::from("rule_files:\n");
    for file in files(&folder.join("rules"), "yml") {
        let _ = writeln!(test, "  - {}", file.display());
    }
    let _ = writeln!(test, "  - {}/thresholds/{preset}.yml", folder.display());
    test.push_str("evaluation_interval: 15s\ntests:\n  - interval: 15s\n    input_series:\n");
    for (name, samples) in &series.0 {
        let values: Vec<_> = samples.iter().map(|value| format!("{value:.4}")).collect();
        let _ = writeln!(test, "      - {{ series: '{name}', values: '{}' }}", values.join(" "));
    }
    // Names are listed where there are any; none is what an ordinary hour is like.
    let fired =
        r#"count by (alertname) (max_over_time(ALERTS{alertname!="Watchdog", alertstate="firing"}[1h]))"#;
    let watched = r#"count(ALERTS{alertname="Watchdog", alertstate="firing"})"#;
    let busy = "sum(increase(agent_requests_total[1h])) > bool 3000";
    let _ = writeln!(
        test,
        "    promql_expr_test:\n      - {{ expr: '{fired}', eval_time: 74m, exp_samples: [] }}"
    );
    for expr in [watched, busy] {
        let _ = writeln!(
            test,
            "      - {{ expr: '{expr}', eval_time: 74m, exp_samples: [{{ labels: '{{}}', value: 1 }}] }}"
        );
    }
    let scratch = tempfile::tempdir().map_err(|e| e.to_string())?;
    let file = scratch.path().join(format!("{}.yml", stem(Path::new(preset))));
    fs::write(&file, test).map_err(|e| e.to_string())?;
    promtool.run(scratch.path(), &["test", "rules", &file.display().to_string()]).map(drop)
}
