//! Every metric of the agent, declared once, and the handles that count.
//!
//! An instance has its own recorder, so that tests can run several agents in one process. The series of the tenants
//! in the file exist from the start with the value 0: a counter that first appears with its first increase hides
//! that increase from `rate()` and `increase()`. Only requests to other routes or with other methods than
//! `POST /v1/query` make series later, and those are bounded by the routes and the standard methods.
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::{Losses, exposition, hit_rate::HitRate};
use crate::{
    error::ErrorType,
    pipeline::{
        RESPONSE_CACHE,
        cost::{NanoUsd, Usage},
    },
    tenants::{Tenant, Tenants},
};

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Counts whole things.
    Counter,
    /// A counter with fractions, kept in billionths because the recorder counts in whole numbers.
    NanoCounter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with these upper bounds, and `+Inf`.
    Histogram(&'static [f64]),
}

/// A metric as `/metrics` shows it.
#[derive(Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

macro_rules! declare {
    ($($id:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Declared =
            Declared { name: $name, help: $help, kind: $kind, labels: &[$($label),*] };)*
        /// All of them.
        pub const ALL: &[Declared] = &[$($id),*];
    };
}

/// Upper bounds in seconds of the request durations: 2 is there for the alert on the 95th percentile.
pub const DURATION_BUCKETS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0];

declare! {
    REQUESTS = "agent_requests_total", Kind::Counter, ["method", "endpoint", "status", "tenant_id"],
        "Requests by outcome: success, error (the agent's or its provider's fault), rejected (the caller's).";
    DURATION = "agent_request_duration_seconds", Kind::Histogram(&DURATION_BUCKETS),
        ["method", "endpoint", "tenant_id"],
        "Wall time of a request in seconds, also when the caller hangs up.";
    ERRORS = "agent_errors_total", Kind::Counter, ["error_type", "tenant_id"],
        "Requests with status error, by what went wrong.";
    CACHE_HIT_RATE = "agent_cache_hit_rate", Kind::Gauge, ["cache_type"],
        "Cache hits in percent (0 to 100) of the look-ups of the last five minutes. Absent without look-ups.";
    CACHE_REQUESTS = "agent_cache_requests_total", Kind::Counter, ["cache_type", "result", "tenant_id"],
        "Cache look-ups by result: hit or miss.";
    API_COST = "agent_api_cost_usd_total", Kind::NanoCounter, ["model", "tenant_id"],
        "Cost of the model provider's calls in US dollars, at the list prices of the price file.";
    LLM_TOKENS = "agent_llm_tokens_total", Kind::Counter, ["model", "tenant_id", "direction"],
        "Tokens as the model provider reports them, by direction: input or output.";
    ACTIVE_CONNECTIONS = "agent_active_connections", Kind::Gauge, [],
        "Open connections to the API.";
    LOG_LINES_DROPPED = "agent_log_lines_dropped_total", Kind::Counter, [],
        "Log lines lost because a queue was full or a write failed.";
    SPANS_DROPPED = "agent_spans_dropped_total", Kind::Counter, [],
        "Spans lost because the queue was full or the collector did not take them.";
    BUILD_INFO = "agent_build_info", Kind::Gauge, ["version"],
        "Always 1; the version is in the label.";
}

/// The outcome of a request, in logs and the `status` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Answered.
    Success,
    /// Failed by the agent's or its provider's fault.
    Error,
    /// Refused by the caller's fault, or the caller hung up.
    Rejected,
}

impl Status {
    const ALL: [Self; 3] = [Self::Success, Self::Error, Self::Rejected];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Rejected => "rejected",
        }
    }
}

/// The route whose series exist from the start.
pub const QUERY_ENDPOINT: &str = "/v1/query";
const QUERY_METHOD: &str = "POST";
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Handles of one tenant's series.
#[derive(Debug)]
struct TenantSeries {
    queries: [Counter; Status::ALL.len()],
    duration: Histogram,
    errors: [Counter; ErrorType::FAULTS.len()],
    hits: Counter,
    misses: Counter,
    cost: Counter,
    input_tokens: Counter,
    output_tokens: Counter,
}

/// The metrics of one agent.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// By [`Tenant::index`].
    tenants: Vec<TenantSeries>,
    hit_rate: HitRate,
    hit_rate_gauge: Gauge,
    connections: Gauge,
    losses: Losses,
    log_lines_dropped: Counter,
    spans_dropped: Counter,
    process: metrics_process::Collector,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers everything for these tenants and this model.
    pub fn new(tenants: &Tenants, model: &str, losses: Losses) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL {
            if let Kind::Histogram(buckets) = metric.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
            }
        }
        let recorder = builder.build_recorder();
        for metric in ALL {
            let (name, help) = (KeyName::from_const_str(metric.name), SharedString::const_str(metric.help));
            match metric.kind {
                Kind::Counter | Kind::NanoCounter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
        let process = metrics_process::Collector::default();
        metrics::with_local_recorder(&recorder, || process.describe());
        gauge(&recorder, &BUILD_INFO, &[env!("CARGO_PKG_VERSION").into()]).set(1.0);
        let hit_rate_gauge = gauge(&recorder, &CACHE_HIT_RATE, &[RESPONSE_CACHE.into()]);
        hit_rate_gauge.set(f64::NAN);
        let model = SharedString::from(model.to_owned());
        Ok(Self {
            handle: recorder.handle(),
            tenants: tenants.all().iter().map(|t| TenantSeries::new(&recorder, t, &model)).collect(),
            hit_rate: HitRate::new(Instant::now()),
            hit_rate_gauge,
            connections: gauge(&recorder, &ACTIVE_CONNECTIONS, &[]),
            losses,
            log_lines_dropped: counter(&recorder, &LOG_LINES_DROPPED, &[]),
            spans_dropped: counter(&recorder, &SPANS_DROPPED, &[]),
            process,
            recorder,
        })
    }

    /// Counts a request that is over.
    pub fn request(
        &self,
        method: &'static str,
        endpoint: &'static str,
        tenant: &Tenant,
        status: Status,
        took: Duration,
    ) {
        let seconds = took.as_secs_f64();
        if (method, endpoint) == (QUERY_METHOD, QUERY_ENDPOINT) {
            let series = &self.tenants[tenant.index];
            series.queries[status as usize].increment(1);
            series.duration.record(seconds);
            return;
        }
        let (method, endpoint, tenant) =
            (method.into(), endpoint.into(), SharedString::from(tenant.id.clone()));
        let labels = [method, endpoint, status.as_str().into(), tenant];
        counter(&self.recorder, &REQUESTS, &labels).increment(1);
        let [method, endpoint, _, tenant] = labels;
        histogram(&self.recorder, &DURATION, &[method, endpoint, tenant]).record(seconds);
    }

    /// Counts an error of the service; what is the caller's fault is not counted here.
    pub fn error(&self, tenant: &Tenant, kind: ErrorType) {
        if let Some(position) = ErrorType::FAULTS.iter().position(|fault| *fault == kind) {
            self.tenants[tenant.index].errors[position].increment(1);
        }
    }

    /// Counts a look-up in the answer cache.
    pub fn cache_lookup(&self, tenant: &Tenant, hit: bool) {
        let series = &self.tenants[tenant.index];
        if hit { &series.hits } else { &series.misses }.increment(1);
        self.hit_rate.record(hit, Instant::now());
    }

    /// Counts what a call of the model took.
    pub fn llm_call(&self, tenant: &Tenant, usage: Usage, cost: NanoUsd) {
        let series = &self.tenants[tenant.index];
        series.input_tokens.increment(usage.input);
        series.output_tokens.increment(usage.output);
        series.cost.increment(cost.0);
    }

    /// Counts a connection to the API as open until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.increment(1.0);
        OpenConnection(self.connections.clone())
    }

    /// The Prometheus text. Takes milliseconds with many series: keep it off the threads that serve requests.
    pub fn render(&self) -> String {
        self.hit_rate_gauge.set(self.hit_rate.percent(Instant::now()).unwrap_or(f64::NAN));
        self.log_lines_dropped.absolute(self.losses.log_lines());
        self.spans_dropped.absolute(self.losses.spans.load(Ordering::Relaxed));
        metrics::with_local_recorder(&self.recorder, || self.process.collect());
        exposition::text(&self.handle.render())
    }

    /// Moves samples into their buckets, which otherwise only a scrape does: without one they would pile up.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// An open connection, counted.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl TenantSeries {
    fn new(recorder: &PrometheusRecorder, tenant: &Tenant, model: &SharedString) -> Self {
        let id = SharedString::from(tenant.id.clone());
        let cache = |result: &'static str| {
            counter(recorder, &CACHE_REQUESTS, &[RESPONSE_CACHE.into(), result.into(), id.clone()])
        };
        let tokens = |direction: &'static str| {
            counter(recorder, &LLM_TOKENS, &[model.clone(), id.clone(), direction.into()])
        };
        Self {
            queries: Status::ALL.map(|status| {
                let labels = [QUERY_METHOD.into(), QUERY_ENDPOINT.into(), status.as_str().into(), id.clone()];
                counter(recorder, &REQUESTS, &labels)
            }),
            duration: histogram(
                recorder,
                &DURATION,
                &[QUERY_METHOD.into(), QUERY_ENDPOINT.into(), id.clone()],
            ),
            errors: ErrorType::FAULTS
                .map(|fault| counter(recorder, &ERRORS, &[fault.as_str().into(), id.clone()])),
            hits: cache("hit"),
            misses: cache("miss"),
            cost: counter(recorder, &API_COST, &[model.clone(), id.clone()]),
            input_tokens: tokens("input"),
            output_tokens: tokens("output"),
        }
    }
}

fn key(metric: &Declared, values: &[SharedString]) -> Key {
    assert_eq!(metric.labels.len(), values.len(), "{} takes other labels", metric.name);
    let labels = metric.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value.clone()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

fn counter(recorder: &PrometheusRecorder, metric: &Declared, values: &[SharedString]) -> Counter {
    recorder.register_counter(&key(metric, values), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, metric: &Declared, values: &[SharedString]) -> Gauge {
    recorder.register_gauge(&key(metric, values), &METADATA)
}

fn histogram(recorder: &PrometheusRecorder, metric: &Declared, values: &[SharedString]) -> Histogram {
    recorder.register_histogram(&key(metric, values), &METADATA)
}
