//! The handles that count.
//!
//! An instance has its own recorder, so that tests can run several agents in one process. The series of the tenants
//! in the file exist from the start with the value 0: a counter that first appears with its first increase hides
//! that increase from `rate()` and `increase()`. Only requests to other routes or with other methods than
//! `POST /v1/query` make series later, and those are bounded by the routes and the standard methods.
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, KeyName, NoopRecorder, Recorder, SharedString};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TraceId;

use super::{
    Handles, Scope,
    audit::Action,
    counters::{Counters, CountingRecorder},
    declared::{
        ACTIVE_CONNECTIONS, ALL, API_COST, AUDIT_EVENTS, AUDIT_EVENTS_LOST, BUILD_INFO, CACHE_HIT_RATE,
        CACHE_REQUESTS, COMPLIANCE_VIOLATIONS, DURATION, ERRORS, FAULT_ACTIVE, FEEDBACK, Kind,
        LLM_ESTIMATED_CALLS, LLM_FALLBACKS, LLM_FINISH, LLM_RETRIES, LLM_SUBSTITUTED_CALLS,
        LLM_TOKEN_DETAILS, LLM_TOKENS, LLM_UNPRICED_CALLS, LOG_FILES_REMOVED, LOG_LINES_DROPPED,
        LOG_LINES_WRITTEN, PRICE_CATALOGUE_TIMESTAMP, REQUESTS, REQUESTS_IN_FLIGHT, SPANS_DROPPED,
        TENANT_BUDGET, TENANT_SPENT, counter, gauge, histogram,
    },
    events::Rating,
    exemplars::DurationSeries,
    exposition::{Format, Page},
    gen_ai::GenAi,
    hit_rate::HitRate,
};
use crate::{
    error::ErrorType,
    faults::{CurrentFaults, Faults},
    pipeline::{
        RESPONSE_CACHE,
        compliance::{Rule, Rules},
        cost::{NanoUsd, Usage},
        llm::{Completion, FinishReason},
        models::{Model, Models},
        prices, retry,
    },
    tenants::{Tenant, Tenants},
};

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

/// Handles of one tenant's series.
#[derive(Debug)]
struct TenantSeries {
    queries: [Counter; Status::ALL.len()],
    /// By status.
    durations: [DurationSeries; Status::ALL.len()],
    errors: [Counter; ErrorType::FAULTS.len()],
    hits: Counter,
    misses: Counter,
    /// Of a tenant with a budget.
    spent_today: Option<Gauge>,
    /// By [`Model::index`]; none for models that never answer the tenant.
    models: Vec<Option<TenantModelSeries>>,
    /// By [`Rule::index`].
    violations: Vec<Counter>,
}

/// Handles of the series of one tenant and one model.
#[derive(Debug)]
struct TenantModelSeries {
    cost: Counter,
    input_tokens: Counter,
    output_tokens: Counter,
    cache_read_tokens: Counter,
    cache_write_tokens: Counter,
    reasoning_tokens: Counter,
}

/// Handles of one model's series.
#[derive(Debug)]
struct ModelSeries {
    gen_ai: GenAi,
    unpriced_calls: Counter,
    estimated_calls: Counter,
    substituted_calls: Counter,
    /// By [`FinishReason`], then those without a reason.
    finishes: [Counter; FinishReason::ALL.len() + 1],
    /// Of a model from which another takes over.
    fallbacks: Option<Counter>,
}

/// The metrics of one agent.
pub struct Metrics {
    recorder: Box<dyn Recorder + Send + Sync>,
    counters: Arc<Counters>,
    /// Of what is no counter.
    handle: PrometheusHandle,
    /// By [`Tenant::index`].
    tenants: Vec<TenantSeries>,
    /// By [`Model::index`].
    models: Vec<ModelSeries>,
    retries: [Counter; retry::Reason::ALL.len()],
    feedback: [Counter; Rating::ALL.len()],
    /// None where nothing is counted.
    hit_rate: Option<HitRate>,
    hit_rate_gauge: Gauge,
    connections: Gauge,
    faults: Arc<CurrentFaults>,
    active_faults: [Gauge; Faults::NAMES.len()],
    in_flight: Gauge,
    telemetry: Handles,
    log_lines_dropped: Counter,
    app_lines_written: Counter,
    audit_lines_written: Counter,
    old_files_removed: Counter,
    files_removed_for_room: Counter,
    spans_dropped: Counter,
    audit_events: [Counter; Action::ALL.len()],
    audit_events_lost: Counter,
    process: metrics_process::Collector,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers everything for these tenants, these compliance rules and these models of this provider.
    pub fn new(
        tenants: &Tenants,
        rules: &Rules,
        provider: &str,
        models: &Models,
        telemetry: Handles,
        faults: Arc<CurrentFaults>,
    ) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL {
            if let Kind::Histogram(buckets) = metric.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let recorder = CountingRecorder::new(recorder);
        let counters = recorder.counters();
        let counting = telemetry.scope != Scope::Off;
        let recorder: Box<dyn Recorder + Send + Sync> =
            if counting { Box::new(recorder) } else { Box::new(NoopRecorder) };
        for metric in ALL {
            let (name, help) = (KeyName::from_const_str(metric.name), SharedString::const_str(metric.help));
            match metric.kind {
                Kind::Counter | Kind::NanoCounter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
        let process = metrics_process::Collector::default();
        metrics::with_local_recorder(&*recorder, || process.describe());
        gauge(&*recorder, &BUILD_INFO, &[env!("CARGO_PKG_VERSION").into()]).set(1.0);
        let hit_rate_gauge = gauge(&*recorder, &CACHE_HIT_RATE, &[RESPONSE_CACHE.into()]);
        hit_rate_gauge.set(f64::NAN);
        gauge(&*recorder, &PRICE_CATALOGUE_TIMESTAMP, &[]).set(prices::catalogue_timestamp() as f64);
        Ok(Self {
            counters,
            handle,
            tenants: tenants.all().iter().map(|t| TenantSeries::new(&*recorder, t, rules, models)).collect(),
            models: models.all().iter().map(|m| ModelSeries::new(&*recorder, provider, m, models)).collect(),
            retries: retry::Reason::ALL
                .map(|reason| counter(&*recorder, &LLM_RETRIES, &[reason.as_str().into()])),
            feedback: Rating::ALL.map(|rating| counter(&*recorder, &FEEDBACK, &[rating.as_str().into()])),
            hit_rate: counting.then(|| HitRate::new(Instant::now())),
            hit_rate_gauge,
            in_flight: gauge(&*recorder, &REQUESTS_IN_FLIGHT, &[]),
            connections: gauge(&*recorder, &ACTIVE_CONNECTIONS, &[]),
            faults,
            active_faults: Faults::NAMES.map(|name| gauge(&*recorder, &FAULT_ACTIVE, &[name.into()])),
            telemetry,
            log_lines_dropped: counter(&*recorder, &LOG_LINES_DROPPED, &[]),
            app_lines_written: counter(&*recorder, &LOG_LINES_WRITTEN, &["app".into()]),
            audit_lines_written: counter(&*recorder, &LOG_LINES_WRITTEN, &["audit".into()]),
            old_files_removed: counter(&*recorder, &LOG_FILES_REMOVED, &["age".into()]),
            files_removed_for_room: counter(&*recorder, &LOG_FILES_REMOVED, &["size".into()]),
            spans_dropped: counter(&*recorder, &SPANS_DROPPED, &[]),
            audit_events: Action::ALL
                .map(|action| counter(&*recorder, &AUDIT_EVENTS, &[action.as_str().into()])),
            audit_events_lost: counter(&*recorder, &AUDIT_EVENTS_LOST, &[]),
            process,
            recorder,
        })
    }

    /// Counts a request that is over. `trace` is its trace, where that can be found later.
    pub fn request(
        &self,
        method: &'static str,
        endpoint: &'static str,
        tenant: &Tenant,
        status: Status,
        took: Duration,
        trace: Option<TraceId>,
    ) {
        let seconds = took.as_secs_f64();
        if (method, endpoint) == (QUERY_METHOD, QUERY_ENDPOINT) {
            let series = &self.tenants[tenant.index];
            series.queries[status as usize].increment(1);
            series.durations[status as usize].record(seconds, trace);
            return;
        }
        let (method, endpoint, tenant) =
            (method.into(), endpoint.into(), SharedString::from(tenant.id.clone()));
        let labels = [method, endpoint, status.as_str().into(), tenant];
        counter(&*self.recorder, &REQUESTS, &labels).increment(1);
        histogram(&*self.recorder, &DURATION, &labels).record(seconds);
    }

    /// Counts an error of the service; what is the caller's fault is not counted here.
    pub fn error(&self, tenant: &Tenant, kind: ErrorType) {
        if let Some(position) = ErrorType::FAULTS.iter().position(|fault| *fault == kind) {
            self.tenants[tenant.index].errors[position].increment(1);
        }
    }

    /// Counts a question or an answer that breaks a rule.
    pub fn compliance_violation(&self, tenant: &Tenant, rule: &Rule) {
        self.tenants[tenant.index].violations[rule.index].increment(1);
    }

    /// Counts a look-up in the answer cache.
    pub fn cache_lookup(&self, tenant: &Tenant, hit: bool) {
        let series = &self.tenants[tenant.index];
        if hit { &series.hits } else { &series.misses }.increment(1);
        if let Some(rate) = &self.hit_rate {
            rate.record(hit, Instant::now());
        }
    }

    /// Counts a call of the model that was answered; without a price its cost is unknown.
    pub fn llm_answered(
        &self,
        tenant: &Tenant,
        model: &Model,
        completion: &Completion,
        cost: Option<NanoUsd>,
        substituted: bool,
    ) {
        self.llm_used(tenant, model, completion.usage, completion.usage_estimated, cost);
        let series = &self.models[model.index];
        series.gen_ai.answered(&*self.recorder, completion);
        series.substituted_calls.increment(u64::from(substituted));
        series.finishes[completion.finish.map_or(FinishReason::ALL.len(), |reason| reason as usize)]
            .increment(1);
    }

    /// Counts what a call of the model has used and cost.
    pub fn llm_used(
        &self,
        tenant: &Tenant,
        model: &Model,
        usage: Usage,
        estimated: bool,
        cost: Option<NanoUsd>,
    ) {
        let of_model = &self.models[model.index];
        of_model.estimated_calls.increment(u64::from(estimated));
        of_model.unpriced_calls.increment(u64::from(cost.is_none()));
        if let Some(series) = &self.tenants[tenant.index].models[model.index] {
            series.input_tokens.increment(usage.input);
            series.output_tokens.increment(usage.output);
            series.cache_read_tokens.increment(usage.cache_read);
            series.cache_write_tokens.increment(usage.cache_write);
            series.reasoning_tokens.increment(usage.reasoning);
            series.cost.increment(cost.unwrap_or_default().0);
        }
    }

    /// Shows what a tenant has spent today.
    pub fn spent_today(&self, tenant: &Tenant, spent: NanoUsd) {
        if let Some(gauge) = &self.tenants[tenant.index].spent_today {
            gauge.set(spent.as_usd());
        }
    }

    /// Counts a call of the model that failed.
    pub fn llm_failed(&self, model: &Model, kind: ErrorType, took: Duration) {
        self.models[model.index].gen_ai.failed(&*self.recorder, kind, took.as_secs_f64());
    }

    /// Counts a call that another model takes over.
    pub fn llm_fallback(&self, from: &Model, to: &Model) {
        // There is one model that takes over, so the series of `from` is the one to `to`.
        debug_assert_ne!(from.index, to.index);
        if let Some(fallbacks) = &self.models[from.index].fallbacks {
            fallbacks.increment(1);
        }
    }

    /// Counts a rating.
    pub fn feedback(&self, rating: Rating) {
        self.feedback[rating as usize].increment(1);
    }

    /// Counts a call of the model that is made again.
    pub fn llm_retried(&self, reason: retry::Reason) {
        self.retries[reason as usize].increment(1);
    }

    /// Counts a question as worked on until the guard is dropped.
    pub fn in_flight(&self) -> Ongoing {
        self.in_flight.increment(1.0);
        Ongoing(self.in_flight.clone())
    }

    /// Counts a connection to the API as open until the guard is dropped.
    pub fn connection(&self) -> Ongoing {
        self.connections.increment(1.0);
        Ongoing(self.connections.clone())
    }

    /// What `/metrics` shows. Takes milliseconds with many series: keep it off the threads that serve requests.
    pub fn render(&self, format: Format) -> String {
        let hit_rate = self.hit_rate.as_ref().and_then(|rate| rate.percent(Instant::now()));
        self.hit_rate_gauge.set(hit_rate.unwrap_or(f64::NAN));
        let faults = self.faults.get(Instant::now()).faults;
        for (gauge, active) in self.active_faults.iter().zip(faults.active()) {
            gauge.set(f64::from(u8::from(active)));
        }
        let Handles { losses, log_lines_written, log_files_removed, audit, .. } = &self.telemetry;
        self.log_lines_dropped.absolute(losses.log_lines.load(Ordering::Relaxed));
        self.app_lines_written.absolute(log_lines_written.load(Ordering::Relaxed));
        self.audit_lines_written.absolute(audit.written());
        self.old_files_removed.absolute(log_files_removed.age.load(Ordering::Relaxed));
        self.files_removed_for_room.absolute(log_files_removed.size.load(Ordering::Relaxed));
        self.spans_dropped.absolute(losses.spans.load(Ordering::Relaxed));
        for (counter, action) in self.audit_events.iter().zip(Action::ALL) {
            counter.absolute(audit.recorded(action));
        }
        self.audit_events_lost.absolute(audit.lost());
        metrics::with_local_recorder(&*self.recorder, || self.process.collect());
        let exemplars = match format {
            Format::Text => HashMap::new(),
            Format::OpenMetrics => self
                .tenants
                .iter()
                .flat_map(|series| &series.durations)
                .flat_map(DurationSeries::exemplars)
                .collect(),
        };
        let recorded = self.handle.render();
        let mut page = Page::new(format, exemplars, 2 * recorded.len());
        page.recorded(&recorded);
        self.counters.render(&mut page);
        page.end()
    }

    /// Moves samples into their buckets, which otherwise only a scrape does: without one they would pile up.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Something that goes on, counted.
#[derive(Debug)]
pub struct Ongoing(Gauge);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl TenantSeries {
    fn new(recorder: &dyn Recorder, tenant: &Tenant, rules: &Rules, models: &Models) -> Self {
        let id = SharedString::from(tenant.id.clone());
        let cache = |result: &'static str| {
            counter(recorder, &CACHE_REQUESTS, &[RESPONSE_CACHE.into(), result.into(), id.clone()])
        };
        let mut of_models: Vec<_> = models.all().iter().map(|_| None).collect();
        for model in models.reachable(tenant) {
            of_models[model.index] = Some(TenantModelSeries::new(recorder, &id, &model.name.clone().into()));
        }
        Self {
            queries: Status::ALL.map(|status| {
                let labels = [QUERY_METHOD.into(), QUERY_ENDPOINT.into(), status.as_str().into(), id.clone()];
                counter(recorder, &REQUESTS, &labels)
            }),
            durations: Status::ALL.map(|status| {
                let labels = [QUERY_METHOD.into(), QUERY_ENDPOINT.into(), status.as_str().into(), id.clone()];
                DurationSeries::new(recorder, &labels)
            }),
            errors: ErrorType::FAULTS
                .map(|fault| counter(recorder, &ERRORS, &[fault.as_str().into(), id.clone()])),
            hits: cache("hit"),
            misses: cache("miss"),
            spent_today: tenant.budget.map(|budget| {
                gauge(recorder, &TENANT_BUDGET, std::slice::from_ref(&id)).set(budget.per_day.as_usd());
                gauge(recorder, &TENANT_SPENT, std::slice::from_ref(&id))
            }),
            models: of_models,
            violations: rules
                .all()
                .iter()
                .map(|rule| counter(recorder, &COMPLIANCE_VIOLATIONS, &[rule.id.clone().into(), id.clone()]))
                .collect(),
        }
    }
}

impl TenantModelSeries {
    fn new(recorder: &dyn Recorder, tenant: &SharedString, model: &SharedString) -> Self {
        let labels = |last: &'static str| [model.clone(), tenant.clone(), last.into()];
        let tokens = |direction| counter(recorder, &LLM_TOKENS, &labels(direction));
        let detail = |detail| counter(recorder, &LLM_TOKEN_DETAILS, &labels(detail));
        Self {
            cost: counter(recorder, &API_COST, &[model.clone(), tenant.clone()]),
            input_tokens: tokens("input"),
            output_tokens: tokens("output"),
            cache_read_tokens: detail("cache_read"),
            cache_write_tokens: detail("cache_write"),
            reasoning_tokens: detail("reasoning"),
        }
    }
}

impl ModelSeries {
    fn new(recorder: &dyn Recorder, provider: &str, model: &Model, models: &Models) -> Self {
        let name = SharedString::from(model.name.clone());
        let fallback = models.fallbacks().find(|(from, _)| from.index == model.index);
        let finish = |reason: &'static str| counter(recorder, &LLM_FINISH, &[name.clone(), reason.into()]);
        let [stop, length, content_filter, tool_calls, other] =
            FinishReason::ALL.map(|reason| finish(reason.as_str()));
        Self {
            gen_ai: GenAi::new(provider, name.clone()),
            unpriced_calls: counter(recorder, &LLM_UNPRICED_CALLS, std::slice::from_ref(&name)),
            estimated_calls: counter(recorder, &LLM_ESTIMATED_CALLS, std::slice::from_ref(&name)),
            substituted_calls: counter(recorder, &LLM_SUBSTITUTED_CALLS, std::slice::from_ref(&name)),
            finishes: [stop, length, content_filter, tool_calls, other, finish("none")],
            fallbacks: fallback
                .map(|(_, to)| counter(recorder, &LLM_FALLBACKS, &[name.clone(), to.name.clone().into()])),
        }
    }
}
