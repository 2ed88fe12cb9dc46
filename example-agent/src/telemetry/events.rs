//! What happens to a request, one type per event: `emit` writes its log line and counts it, so that the two cannot
//! disagree. The lines get request, tenant and trace from the request's span.
use std::time::Duration;

use opentelemetry::trace::TraceId;
use serde_json::{Map, Value};
use tracing::{debug, error, info, warn};

use super::{
    audit::{Action, AuditEvent, AuditLog, Outcome},
    log_policy::LogPolicy,
    metrics::{Metrics, Status},
};
use crate::{
    error::ApiError,
    pipeline::{
        compliance::{Rule, Stage},
        cost::{NanoUsd, Usage},
        llm::{Completion, FinishReason, LlmError},
        models::Model,
        retrieval::Found,
        retry::Reason,
    },
    tenants::{Budget, Tenant},
};

/// How much of a question stands in the log, in characters.
const PREVIEW_CHARS: usize = 100;

/// The start of a question, as far as it goes into logs.
pub fn preview(query: &str) -> &str {
    &query[..query.char_indices().nth(PREVIEW_CHARS).map_or(query.len(), |(at, _)| at)]
}

/// Which lines are written has been changed.
pub struct LogPolicyChanged {
    /// From now on.
    pub policy: LogPolicy,
    /// By whom, as far as they say.
    pub actor: String,
}

impl LogPolicyChanged {
    /// Writes the log line, and one of the audit log: who can hide what is done must not be able to hide that.
    pub fn emit(self, audit: &AuditLog) {
        let policy = self.policy.to_json();
        info!(log_policy = %policy, actor = self.actor, "log policy changed");
        audit.record(AuditEvent {
            action: Action::ChangeLogPolicy,
            outcome: Outcome::Allowed,
            rule: "admin_side".into(),
            actor: self.actor,
            request: None,
            context: Some(policy),
        });
    }
}

/// What goes wrong on purpose has been changed.
pub struct FaultsChanged {
    /// From now on.
    pub faults: Map<String, Value>,
    /// By whom, as far as they say.
    pub actor: String,
}

impl FaultsChanged {
    /// Writes the log line, a warning because who reads the next errors must know, and one of the audit log.
    pub fn emit(self, audit: &AuditLog) {
        let faults = Value::Object(self.faults);
        warn!(faults = %faults, actor = self.actor, "faults changed");
        audit.record(AuditEvent {
            action: Action::ChangeFaults,
            outcome: Outcome::Allowed,
            rule: "admin_side".into(),
            actor: self.actor,
            request: None,
            context: Some(faults),
        });
    }
}

/// A valid question has arrived.
pub struct RequestStarted<'a> {
    /// The question.
    pub query: &'a str,
    /// Whether the compliance rules allow it. Of one that must not be said, no text stands in the log.
    pub allowed: bool,
}

impl RequestStarted<'_> {
    /// Writes the log line.
    pub fn emit(self) {
        let query_length = self.query.chars().count();
        if self.allowed {
            info!(query_preview = preview(self.query), query_length, "request started");
        } else {
            info!(query_length, "request started");
        }
    }
}

/// A question or an answer breaks a rule. Its text stands in no line.
pub struct ComplianceViolation<'a> {
    /// On whose behalf.
    pub tenant: &'a Tenant,
    /// Which rule.
    pub rule: &'a Rule,
    /// By what.
    pub stage: Stage,
}

impl ComplianceViolation<'_> {
    /// Counts it and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        metrics.compliance_violation(self.tenant, self.rule);
        let Rule { id, action, .. } = self.rule;
        warn!(rule = &**id, action = action.as_str(), stage = self.stage.as_str(), "compliance violation");
    }
}

/// What a caller thinks of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rating {
    /// It was good.
    Up,
    /// It was not.
    Down,
}

impl Rating {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// The name in requests, logs and the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// An answer was rated.
pub struct FeedbackGiven<'a> {
    /// The request that was answered, as the caller says.
    pub rated_request_id: &'a str,
    /// How good the answer was.
    pub rating: Rating,
}

impl FeedbackGiven<'_> {
    /// Counts it and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        metrics.feedback(self.rating);
        info!(rated_request_id = self.rated_request_id, rating = self.rating.as_str(), "feedback given");
    }
}

/// The cache was asked.
pub struct CacheLookup<'a> {
    /// On whose behalf.
    pub tenant: &'a Tenant,
    /// Which cache.
    pub cache_type: &'static str,
    /// Whether it had the answer.
    pub hit: bool,
}

impl CacheLookup<'_> {
    /// Counts it and writes the log line; a miss is of interest in detail only.
    pub fn emit(self, metrics: &Metrics) {
        metrics.cache_lookup(self.tenant, self.hit);
        if self.hit {
            info!(cache_type = self.cache_type, "cache hit");
        } else {
            debug!(cache_type = self.cache_type, "cache miss");
        }
    }
}

/// An answer has been put into the cache.
pub struct AnswerKept<'a> {
    /// Which cache.
    pub cache_type: &'static str,
    /// The answer.
    pub answer: &'a str,
}

impl AnswerKept<'_> {
    /// Writes the log line.
    pub fn emit(self) {
        debug!(cache_type = self.cache_type, answer_bytes = self.answer.len(), "answer kept");
    }
}

/// The documents were searched.
pub struct PassagesFound<'a> {
    /// What goes to the model.
    pub found: &'a Found<'a>,
}

impl PassagesFound<'_> {
    /// Writes the log line.
    pub fn emit(self) {
        debug!(passages = self.found.0.len(), "passages found");
    }
}

/// The model is being asked.
pub struct LlmCallStarted<'a> {
    /// The model asked.
    pub model: &'a str,
    /// Where its provider is.
    pub server_address: &'a str,
}

impl LlmCallStarted<'_> {
    /// Writes the log line.
    pub fn emit(self) {
        debug!(model = self.model, server_address = self.server_address, "llm call started");
    }
}

/// The model has answered.
pub struct LlmCallCompleted<'a> {
    /// On whose behalf.
    pub tenant: &'a Tenant,
    /// The model asked for.
    pub model: &'a Model,
    /// Its answer.
    pub completion: &'a Completion,
    /// What it cost, if the model has a price.
    pub cost: Option<NanoUsd>,
    /// Whether another model has answered.
    pub substituted: bool,
}

impl LlmCallCompleted<'_> {
    /// Counts tokens and cost, and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        metrics.llm_answered(self.tenant, self.model, self.completion, self.cost, self.substituted);
        let Completion { usage, usage_estimated, time_to_first_token, duration, .. } = self.completion;
        info!(
            model = &*self.model.name,
            response_model = self.completion.response_model,
            finish_reason = self.completion.finish.map(FinishReason::as_str),
            input_tokens = usage.input,
            output_tokens = usage.output,
            cache_read_tokens = usage.cache_read,
            cache_write_tokens = usage.cache_write,
            reasoning_tokens = usage.reasoning,
            tokens = usage.total(),
            cost_usd = self.cost.unwrap_or_default().as_usd(),
            ttft_seconds = time_to_first_token.as_secs_f64(),
            duration_seconds = duration.as_secs_f64(),
            usage_estimated,
            "llm call completed"
        );
    }
}

/// The model had begun to answer, and the answer came to no end: its caller left, or it broke off.
pub struct LlmCallUnfinished<'a> {
    /// On whose behalf.
    pub tenant: &'a Tenant,
    /// The model asked for.
    pub model: &'a Model,
    /// So far.
    pub usage: Usage,
    /// Whether the provider has not reported it.
    pub usage_estimated: bool,
    /// What that cost, if the model has a price.
    pub cost: Option<NanoUsd>,
    /// How long it went on.
    pub duration: Duration,
}

impl LlmCallUnfinished<'_> {
    /// Counts tokens and cost, and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        let Self { tenant, model, usage, usage_estimated, cost, duration } = self;
        metrics.llm_used(tenant, model, usage, usage_estimated, cost);
        info!(
            model = &*model.name,
            input_tokens = usage.input,
            output_tokens = usage.output,
            cache_read_tokens = usage.cache_read,
            cache_write_tokens = usage.cache_write,
            reasoning_tokens = usage.reasoning,
            tokens = usage.total(),
            cost_usd = cost.unwrap_or_default().as_usd(),
            duration_seconds = duration.as_secs_f64(),
            usage_estimated,
            "llm call unfinished"
        );
    }
}

/// A call has brought a tenant over its budget of the day.
pub struct BudgetSpent<'a> {
    /// Whose.
    pub budget: &'a Budget,
}

impl BudgetSpent<'_> {
    /// Writes the log line.
    pub fn emit(self) {
        let Budget { per_day, hard } = *self.budget;
        warn!(budget_usd = per_day.as_usd(), hard, "budget spent");
    }
}

/// The model has not answered. Its request's failure, if it comes to that, has a line and a count of its own.
pub struct LlmCallFailed<'a> {
    /// The model asked for.
    pub model: &'a Model,
    /// Why not.
    pub error: &'a LlmError,
    /// How long it took.
    pub duration: Duration,
}

impl LlmCallFailed<'_> {
    /// Counts it and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        let error_type = self.error.error_type();
        metrics.llm_failed(self.model, error_type, self.duration);
        debug!(
            model = &*self.model.name,
            error_type = error_type.as_str(),
            error_message = self.error.to_string(),
            duration_seconds = self.duration.as_secs_f64(),
            "llm call failed"
        );
    }
}

/// The model is going to be asked again.
pub struct LlmCallRetried {
    /// Why the attempt before failed.
    pub reason: Reason,
    /// The number of that attempt, from 1.
    pub attempt: u32,
    /// Until the next.
    pub wait: Duration,
}

impl LlmCallRetried {
    /// Counts it and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        metrics.llm_retried(self.reason);
        info!(
            reason = self.reason.as_str(),
            attempt = self.attempt,
            wait_seconds = self.wait.as_secs_f64(),
            "llm call retried"
        );
    }
}

/// Another model takes over from one that has failed.
pub struct LlmFallback<'a> {
    /// The model that has failed.
    pub from: &'a Model,
    /// The model that takes over.
    pub to: &'a Model,
    /// The failure.
    pub error: &'a LlmError,
}

impl LlmFallback<'_> {
    /// Counts it and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        metrics.llm_fallback(self.from, self.to);
        warn!(
            model = &*self.to.name,
            failed_model = &*self.from.name,
            error_type = self.error.error_type().as_str(),
            error_message = self.error.to_string(),
            "llm fallback"
        );
    }
}

/// The agent or its provider failed a request.
pub struct RequestFailed<'a> {
    /// Whose request.
    pub tenant: &'a Tenant,
    /// What went wrong.
    pub error: &'a ApiError,
    /// Where.
    pub context: &'a str,
}

impl RequestFailed<'_> {
    /// Counts it and writes the log line.
    pub fn emit(self, metrics: &Metrics) {
        metrics.error(self.tenant, self.error.kind);
        error!(
            error_type = self.error.kind.as_str(),
            error_message = self.error.log_message(),
            error_stack = self.error.stack(),
            context = self.context,
            "request failed"
        );
    }
}

/// A request is over, whatever its outcome.
pub struct RequestCompleted<'a> {
    /// The method; `other` for what HTTP does not define.
    pub method: &'static str,
    /// The route; `other` for none.
    pub endpoint: &'static str,
    /// Whose request.
    pub tenant: &'a Tenant,
    /// Since its head was read.
    pub duration: Duration,
    /// Why it has no answer, where it has none.
    pub error: Option<&'a ApiError>,
    /// Whether the answer came from the cache.
    pub cached: bool,
    /// What it cost.
    pub cost: NanoUsd,
    /// Whether it took too long.
    pub slow: bool,
    /// Its trace, where that can be found later.
    pub trace: Option<TraceId>,
}

impl RequestCompleted<'_> {
    /// Counts it and writes the log line: a warning unless it was answered, and in good time.
    pub fn emit(self, metrics: &Metrics) {
        let status = match self.error {
            None => Status::Success,
            Some(error) if error.kind.is_fault() => Status::Error,
            Some(_) => Status::Rejected,
        };
        metrics.request(self.method, self.endpoint, self.tenant, status, self.duration, self.trace);
        let (status, duration_seconds) = (status.as_str(), self.duration.as_secs_f64());
        let (cached, cost_usd) = (self.cached, self.cost.as_usd());
        match self.error {
            None if self.slow => warn!(status, duration_seconds, cached, cost_usd, "request completed"),
            None => info!(status, duration_seconds, cached, cost_usd, "request completed"),
            Some(error) => warn!(
                status,
                duration_seconds,
                cached,
                cost_usd,
                error_type = error.kind.as_str(),
                error_message = error.message,
                "request completed"
            ),
        }
    }
}
