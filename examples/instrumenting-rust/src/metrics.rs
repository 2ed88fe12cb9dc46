//! Metrics, by the names and labels of docs/metrics.md.
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_appender::non_blocking::ErrorCounter;

use crate::{TENANTS, model::Usage, request::Status};

/// The same in every service: a histogram over several of them is made of sums, bucket by bucket. 2 is there for the alert on
/// the 95th percentile.
const DURATION_BUCKETS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0];

/// What the text shows dollars by, which are counted in billionths: the recorder counts in whole numbers.
const NANOS: f64 = 1e9;
/// The kind of failure that nobody has given another name.
pub const INTERNAL: &str = "internal";
const COST: &str = "agent_api_cost_usd_total";

/// The recorder, and what it cannot know.
pub struct Metrics {
    recorder: PrometheusHandle,
    process: metrics_process::Collector,
    lost_lines: ErrorCounter,
}

impl Metrics {
    /// Installs the recorder for the whole process, with the series that can be known: `rate()` cannot see the first increase
    /// of a series that begins with it.
    pub fn install(
        model: &str,
        error_types: &[&'static str],
        lost_lines: ErrorCounter,
    ) -> Result<Self, BuildError> {
        let duration = Matcher::Full("agent_request_duration_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(duration, &DURATION_BUCKETS)?
            .install_recorder()?;
        describe_counter!("agent_requests_total", "Requests by outcome: success, error, rejected.");
        describe_histogram!("agent_request_duration_seconds", "Wall time of a request in seconds.");
        describe_counter!("agent_errors_total", "Requests with status error, by what went wrong.");
        describe_counter!("agent_llm_tokens_total", "Tokens as the model provider reports them.");
        describe_counter!(COST, "Cost of the model provider's calls in US dollars, at list prices.");
        describe_gauge!("agent_requests_in_flight", "Requests that are worked on.");
        describe_counter!("agent_log_lines_dropped_total", "Log lines lost because the queue was full.");
        describe_gauge!("agent_build_info", "Always 1; the version is in the label.");
        for (tenant, _) in TENANTS {
            for status in Status::ALL {
                requests("POST", crate::service::SUMMARIES, status, tenant).increment(0);
            }
            for &error_type in error_types.iter().chain(&[INTERNAL]) {
                counter!("agent_errors_total", "error_type" => error_type, "tenant_id" => tenant)
                    .increment(0);
            }
            used(model, tenant, Usage::default());
        }
        gauge!("agent_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        gauge!("agent_requests_in_flight").set(0.0);
        let process = metrics_process::Collector::default();
        process.describe();
        Ok(Self { recorder, process, lost_lines })
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        self.process.collect();
        counter!("agent_log_lines_dropped_total").absolute(self.lost_lines.dropped_lines() as u64);
        self.recorder.run_upkeep();
        self.recorder.render().lines().map(|line| in_dollars(cpu_is_counted(line)) + "\n").collect()
    }
}

/// Kept as a gauge, because a counter would lose its fractions.
fn cpu_is_counted(line: &str) -> &str {
    if line == "# TYPE process_cpu_seconds_total gauge" {
        "# TYPE process_cpu_seconds_total counter"
    } else {
        line
    }
}

fn in_dollars(line: &str) -> String {
    let sample = line.strip_prefix(COST).and_then(|rest| rest.rsplit_once(' '));
    match sample.and_then(|(labels, nanos)| Some((labels, nanos.parse::<f64>().ok()?))) {
        Some((labels, nanos)) => format!("{COST}{labels} {}", nanos / NANOS),
        None => line.to_owned(),
    }
}

fn requests(method: &'static str, endpoint: &str, status: Status, tenant: &'static str) -> metrics::Counter {
    let (endpoint, status) = (endpoint.to_owned(), status.as_str());
    counter!("agent_requests_total", "method" => method, "endpoint" => endpoint, "status" => status, "tenant_id" => tenant)
}

/// Counts a request that has ended.
pub fn ended(method: &'static str, endpoint: &str, status: Status, tenant: &'static str, took: Duration) {
    requests(method, endpoint, status, tenant).increment(1);
    let labels = [
        ("method", method.to_owned()),
        ("endpoint", endpoint.to_owned()),
        ("status", status.as_str().to_owned()),
        ("tenant_id", tenant.to_owned()),
    ];
    histogram!("agent_request_duration_seconds", &labels).record(took);
}

/// Counts a failure, by one of a few kinds: never by its message.
pub fn failed(error_type: &'static str, tenant: &'static str) {
    counter!("agent_errors_total", "error_type" => error_type, "tenant_id" => tenant).increment(1);
}

/// Counts what a call of the model has used.
pub fn used(model: &str, tenant: &'static str, usage: Usage) {
    for (direction, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
        let model = model.to_owned();
        counter!("agent_llm_tokens_total", "model" => model, "tenant_id" => tenant, "direction" => direction)
            .increment(tokens);
    }
    counter!(COST, "model" => model.to_owned(), "tenant_id" => tenant)
        .increment((usage.cost_usd() * NANOS).round() as u64);
}

/// Counts requests that are worked on.
pub fn in_flight(change: f64) {
    gauge!("agent_requests_in_flight").increment(change);
}
