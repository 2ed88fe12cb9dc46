//! The work: look into the cache, else ask the model and count what it cost.
pub mod budget;
pub mod cache;
pub mod compliance;
pub mod cost;
pub mod llm;
pub mod retrieval;
pub mod retry;
mod sse;

use std::{sync::Arc, time::SystemTime};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::{
    budget::{Budgets, Exceeded},
    cache::{AnswerCache, CachedAnswer},
    compliance::{Rules, Stage, Violation},
    cost::{NanoUsd, Price},
    llm::{Completion, LlmClient, LlmError, Prompt},
    retrieval::{Found, Knowledge},
    retry::Retries,
};
use crate::{
    error::{ApiError, ErrorType},
    faults::{CurrentFaults, Faults},
    settings::Settings,
    telemetry::{
        events::{
            AnswerKept, BudgetSpent, CacheLookup, ComplianceViolation, LlmCallCompleted, LlmCallFailed,
            LlmCallRetried, LlmCallStarted, PassagesFound,
        },
        gen_ai,
        metrics::Metrics,
        steps::{StepError, StepResult, step},
    },
    tenants::{Tenant, Tenants},
};

/// The kind of the one cache there is: whole answers.
pub const RESPONSE_CACHE: &str = "response";

/// What a request gets.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the model said, now or before.
    pub text: String,
    /// Tokens of this request: 0 for an answer from the cache.
    pub tokens: u64,
    /// Cost of this request: 0 for an answer from the cache.
    pub cost: NanoUsd,
    /// Whether it comes from the cache.
    pub cached: bool,
}

/// Why a request gets no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// As many questions are worked on as may be.
    Overloaded,
    /// The question must not be asked.
    Refused(Violation),
    /// The answer must not be given, but has cost this.
    Withheld(Violation, NanoUsd),
    /// The tenant has spent its budget.
    OverBudget(Exceeded),
    /// The model gave none.
    Llm(LlmError),
}

impl NoAnswer {
    /// What it cost all the same.
    pub fn cost(&self) -> NanoUsd {
        match self {
            Self::Withheld(_, cost) => *cost,
            Self::Overloaded | Self::Refused(_) | Self::OverBudget(_) | Self::Llm(_) => NanoUsd::default(),
        }
    }
}

impl From<NoAnswer> for ApiError {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::Overloaded => Self::overloaded(),
            NoAnswer::Refused(violation) | NoAnswer::Withheld(violation, _) => violation.into(),
            NoAnswer::OverBudget(exceeded) => exceeded.into(),
            NoAnswer::Llm(error) => error.into(),
        }
    }
}

/// The steps of a request and what they work with.
#[derive(Debug)]
pub struct Pipeline {
    cache: AnswerCache,
    llm: LlmClient,
    price: Option<Price>,
    rules: Rules,
    knowledge: Option<Knowledge>,
    retries: Retries,
    slots: Semaphore,
    budgets: Budgets,
    metrics: Arc<Metrics>,
    faults: Arc<CurrentFaults>,
}

impl Pipeline {
    /// A pipeline for one model at one price, if there is one for it, and these compliance rules.
    pub fn new(
        settings: &Settings,
        tenants: &Tenants,
        llm: LlmClient,
        price: Option<Price>,
        rules: Rules,
        metrics: Arc<Metrics>,
        faults: Arc<CurrentFaults>,
    ) -> Self {
        let cache = AnswerCache::new(llm.model().into(), settings.cache_ttl, settings.cache_max_bytes);
        let retries = Retries::new(settings.llm_max_attempts, settings.llm_retry_budget);
        let budgets = Budgets::new(tenants.all().len());
        let slots = Semaphore::new(settings.max_requests_in_flight as usize);
        let knowledge = Knowledge::built_in(settings.rag_passages.into());
        Self { cache, llm, price, rules, knowledge, retries, slots, budgets, metrics, faults }
    }

    /// The model that answers.
    pub fn model(&self) -> &str {
        self.llm.model()
    }

    /// Answers a tenant's question.
    pub async fn answer(&self, tenant: &Tenant, query: &str) -> Result<Answer, NoAnswer> {
        // Refused at once rather than queued: whoever waits in a queue that grows has hung up when it is their turn.
        let _slot = self.slots.try_acquire().map_err(|_| NoAnswer::Overloaded)?;
        let _counted = self.metrics.in_flight();
        let faults = self.faults.get(Instant::now().into_std()).faults;
        self.check_compliance(tenant, Stage::Question, query).await.map_err(NoAnswer::Refused)?;
        if let Some(known) = self.check_cache(tenant, query, &faults).await {
            return Ok(Answer { text: known.text.clone(), tokens: 0, cost: NanoUsd(0), cached: true });
        }
        self.budgets.admit(tenant, SystemTime::now()).map_err(NoAnswer::OverBudget)?;
        let instructions = self.rag_query(query).await;
        let prompt = Prompt { instructions, query };
        let completion = self.call_llm(&prompt, &faults).await.map_err(NoAnswer::Llm)?;
        let cost = self.price.map(|price| faults.cost(price.cost(completion.usage)));
        LlmCallCompleted { tenant, model: self.model(), completion: &completion, cost }.emit(&self.metrics);
        self.spend(tenant, cost.unwrap_or_default());
        let withheld = |violation| NoAnswer::Withheld(violation, cost.unwrap_or_default());
        self.check_compliance(tenant, Stage::Answer, &completion.text).await.map_err(withheld)?;
        // An empty answer was paid for, but is not worth repeating.
        if !completion.text.is_empty() && faults.keep_answers() {
            self.cache.insert(tenant.index, query, CachedAnswer { text: completion.text.clone() }).await;
            AnswerKept { cache_type: RESPONSE_CACHE, answer: &completion.text }.emit();
        }
        Ok(Answer {
            text: completion.text,
            tokens: completion.usage.total(),
            cost: cost.unwrap_or_default(),
            cached: false,
        })
    }

    /// What is in the cache was checked before it was put there, by the same rules.
    async fn check_compliance(&self, tenant: &Tenant, stage: Stage, text: &str) -> Result<(), Violation> {
        let span = info_span!("check_compliance", compliance.stage = stage.as_str());
        let verdict = step(span, async { self.rules.check(text) }).await;
        for rule in &verdict.0 {
            ComplianceViolation { tenant, rule, stage }.emit(&self.metrics);
        }
        let blocking = verdict.blocking().cloned();
        blocking.map_or(Ok(()), |rule| Err(Violation { rule, stage }))
    }

    fn spend(&self, tenant: &Tenant, cost: NanoUsd) {
        let Some(budget) = &tenant.budget else { return };
        let now = SystemTime::now();
        if self.budgets.spend(tenant, cost, now) {
            BudgetSpent { budget }.emit();
        }
    }

    /// Brings up to date what is shown of the tenants' spending, which a new day changes too.
    pub fn show_spending(&self, tenants: &Tenants) {
        let now = SystemTime::now();
        for tenant in tenants.all() {
            self.metrics.spent_today(tenant, self.budgets.spent(tenant, now));
        }
    }

    async fn check_cache(&self, tenant: &Tenant, query: &str, faults: &Faults) -> Option<Arc<CachedAnswer>> {
        let span = info_span!("check_cache", cache.r#type = RESPONSE_CACHE);
        let look_up =
            async { if faults.cache_off { None } else { self.cache.get(tenant.index, query).await } };
        let known = step(span, look_up).await;
        CacheLookup { tenant, cache_type: RESPONSE_CACHE, hit: known.is_some() }.emit(&self.metrics);
        known
    }

    async fn rag_query(&self, query: &str) -> Option<String> {
        let knowledge = self.knowledge.as_ref()?;
        let found: Found<'_> = step(info_span!("rag_query"), async { knowledge.search(query) }).await;
        PassagesFound { found: &found }.emit();
        found.instructions()
    }

    /// Asks the model, again where that may help. Each attempt has a span, and a count, of its own.
    async fn call_llm(&self, prompt: &Prompt<'_>, faults: &Faults) -> Result<Completion, LlmError> {
        self.retries.call();
        let deadline = Instant::now() + self.llm.timeout();
        let mut attempt = 1;
        loop {
            let result = self.attempt(prompt, faults, attempt, deadline).await;
            let Err(error) = &result else { return result };
            let left = deadline.saturating_duration_since(Instant::now());
            let Some((reason, wait)) = self.retries.after(error, attempt, left) else { return result };
            LlmCallRetried { reason, attempt, wait }.emit(&self.metrics);
            sleep(wait).await;
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        prompt: &Prompt<'_>,
        faults: &Faults,
        attempt: u32,
        deadline: Instant,
    ) -> Result<Completion, LlmError> {
        let span = info_span!(
            "call_llm",
            otel.kind = "client",
            llm.model = self.model(),
            llm.attempt = i64::from(attempt),
            gen_ai.operation.name = gen_ai::OPERATION,
            gen_ai.provider.name = self.llm.provider(),
            gen_ai.request.model = self.model(),
            server.address = self.llm.server_address(),
            server.port = i64::from(self.llm.server_port()),
        );
        LlmCallStarted { model: self.model(), server_address: self.llm.server_address() }.emit();
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started);
        let result = step(span, faults.disturb(left, self.llm.complete(prompt, left))).await;
        if let Err(error) = &result {
            LlmCallFailed { model: self.model(), error, duration: started.elapsed() }.emit(&self.metrics);
        }
        result
    }
}

impl StepResult for Option<Arc<CachedAnswer>> {
    fn record(&self, span: &Span) {
        span.set_attribute("cache.hit", self.is_some());
    }
}

impl StepResult for Completion {
    fn record(&self, span: &Span) {
        if let Some(model) = &self.response_model {
            span.set_attribute("gen_ai.response.model", model.clone());
        }
        // OpenTelemetry has no unsigned numbers.
        span.set_attribute("gen_ai.usage.input_tokens", self.usage.input.cast_signed());
        span.set_attribute("gen_ai.usage.output_tokens", self.usage.output.cast_signed());
    }
}

impl StepError for LlmError {
    fn error_type(&self) -> ErrorType {
        self.error_type()
    }
}
