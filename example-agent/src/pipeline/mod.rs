//! The work: look into the cache, else ask the model and count what it cost.
pub mod budget;
pub mod cache;
pub mod compliance;
pub mod cost;
pub mod delivery;
mod hold_back;
pub mod llm;
pub mod retrieval;
pub mod retry;
mod sse;

use std::{sync::Arc, time::SystemTime};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep},
};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::{
    budget::{Budgets, Exceeded},
    cache::{AnswerCache, CachedAnswer},
    compliance::{Rules, Stage, Violation},
    cost::{NanoUsd, Price, RequestCost, Usage},
    delivery::Delivery,
    llm::{Completion, Draft, LlmClient, LlmError, Prompt},
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
            LlmCallRetried, LlmCallStarted, LlmCallUnfinished, PassagesFound,
        },
        gen_ai,
        metrics::Metrics,
        steps::{StepError, StepResult, leaf, step},
    },
    tenants::{Tenant, Tenants},
};

/// The kind of the one cache there is: whole answers.
pub const RESPONSE_CACHE: &str = "response";

/// A tenant's question.
#[derive(Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub tenant: &'a Tenant,
    /// What.
    pub query: &'a str,
    /// Where its cost is added, as it arises.
    pub cost: &'a RequestCost,
}

/// What a request gets.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the model said, now or before.
    pub text: String,
    /// Tokens of this request: 0 for an answer from the cache.
    pub tokens: u64,
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
    /// The answer must not be given.
    Withheld(Violation),
    /// The tenant has spent its budget.
    OverBudget(Exceeded),
    /// The model gave none.
    Llm(LlmError),
}

impl From<NoAnswer> for ApiError {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::Overloaded => Self::overloaded(),
            NoAnswer::Refused(violation) | NoAnswer::Withheld(violation) => violation.into(),
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

    /// Answers a question. Whoever receives `deltas` gets the answer's text in pieces, as far as it may be shown while it is
    /// made, and all of it by the end; this waits until they have taken each piece.
    pub async fn answer(
        &self,
        question: &Question<'_>,
        deltas: Option<mpsc::Sender<String>>,
    ) -> Result<Answer, NoAnswer> {
        let Question { tenant, query, .. } = *question;
        // Refused at once rather than queued: whoever waits in a queue that grows has hung up when it is their turn.
        let _slot = self.slots.try_acquire().map_err(|_| NoAnswer::Overloaded)?;
        let _counted = self.metrics.in_flight();
        let mut delivery = Delivery::new(&self.rules, deltas);
        let faults = self.faults.get(Instant::now().into_std()).faults;
        self.check_compliance(tenant, Stage::Question, query).await.map_err(NoAnswer::Refused)?;
        if let Some(known) = self.check_cache(tenant, query, &faults).await {
            delivery.finish(&known.text).await;
            return Ok(Answer { text: known.text.clone(), tokens: 0, cached: true });
        }
        // On the heap: else a known answer, too, would have all that this needs moved about with it.
        Box::pin(self.ask_model(question, &faults, delivery)).await
    }

    async fn ask_model(
        &self,
        question: &Question<'_>,
        faults: &Faults,
        mut delivery: Delivery<'_>,
    ) -> Result<Answer, NoAnswer> {
        let Question { tenant, query, cost: spent } = *question;
        self.budgets.admit(tenant, SystemTime::now()).map_err(NoAnswer::OverBudget)?;
        let instructions = self.rag_query(query).await;
        let prompt = Prompt { instructions, query };
        let completion =
            self.call_llm(question, &prompt, faults, &mut delivery).await.map_err(NoAnswer::Llm)?;
        let cost = self.cost(completion.usage, faults);
        LlmCallCompleted { tenant, model: self.model(), completion: &completion, cost }.emit(&self.metrics);
        spent.add(cost.unwrap_or_default());
        self.spend(tenant, cost.unwrap_or_default());
        self.check_compliance(tenant, Stage::Answer, &completion.text).await.map_err(NoAnswer::Withheld)?;
        delivery.finish(&completion.text).await;
        // An empty answer was paid for, but is not worth repeating.
        if !completion.text.is_empty() && faults.keep_answers() {
            self.cache.insert(tenant.index, query, CachedAnswer { text: completion.text.clone() }).await;
            AnswerKept { cache_type: RESPONSE_CACHE, answer: &completion.text }.emit();
        }
        Ok(Answer { text: completion.text, tokens: completion.usage.total(), cached: false })
    }

    fn cost(&self, usage: Usage, faults: &Faults) -> Option<NanoUsd> {
        self.price.map(|price| faults.cost(price.cost(usage)))
    }

    /// What is in the cache was checked before it was put there, by the same rules.
    async fn check_compliance(&self, tenant: &Tenant, stage: Stage, text: &str) -> Result<(), Violation> {
        let span = info_span!("check_compliance", compliance.stage = stage.as_str());
        let verdict = leaf(span, async { self.rules.check(text) }).await;
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
        let known = leaf(span, look_up).await;
        CacheLookup { tenant, cache_type: RESPONSE_CACHE, hit: known.is_some() }.emit(&self.metrics);
        known
    }

    async fn rag_query(&self, query: &str) -> Option<String> {
        let knowledge = self.knowledge.as_ref()?;
        let found: Found<'_> = leaf(info_span!("rag_query"), async { knowledge.search(query) }).await;
        PassagesFound { found: &found }.emit();
        found.instructions()
    }

    /// Asks the model, again where that may help: never once it has begun to answer. Each attempt has a span, and a count,
    /// of its own.
    async fn call_llm(
        &self,
        question: &Question<'_>,
        prompt: &Prompt<'_>,
        faults: &Faults,
        delivery: &mut Delivery<'_>,
    ) -> Result<Completion, LlmError> {
        self.retries.call();
        let deadline = Instant::now() + self.llm.timeout();
        let mut attempt = 1;
        loop {
            let started = Instant::now();
            let mut call = Call {
                pipeline: self,
                question,
                prompt,
                faults,
                started,
                draft: Draft::default(),
                completed: false,
            };
            let result = call.attempt(attempt, deadline, delivery).await;
            let Err(error) = &result else { return result };
            LlmCallFailed { model: self.model(), error, duration: started.elapsed() }.emit(&self.metrics);
            drop(call);
            let left = deadline.saturating_duration_since(Instant::now());
            let Some((reason, wait)) = self.retries.after(error, attempt, left) else { return result };
            LlmCallRetried { reason, attempt, wait }.emit(&self.metrics);
            sleep(wait).await;
            attempt += 1;
        }
    }
}

/// A call of the model. One that ends after the answer has begun and before it is complete, by whatever cause, is paid for:
/// it is counted when dropped, for code after an `await` does not run when the caller leaves.
struct Call<'a> {
    pipeline: &'a Pipeline,
    question: &'a Question<'a>,
    prompt: &'a Prompt<'a>,
    faults: &'a Faults,
    started: Instant,
    draft: Draft,
    completed: bool,
}

impl Call<'_> {
    async fn attempt(
        &mut self,
        attempt: u32,
        deadline: Instant,
        delivery: &mut Delivery<'_>,
    ) -> Result<Completion, LlmError> {
        let Pipeline { llm, .. } = self.pipeline;
        let span = info_span!(
            "call_llm",
            otel.kind = "client",
            llm.model = llm.model(),
            llm.attempt = i64::from(attempt),
            gen_ai.operation.name = gen_ai::OPERATION,
            gen_ai.provider.name = llm.provider(),
            gen_ai.request.model = llm.model(),
            server.address = llm.server_address(),
            server.port = i64::from(llm.server_port()),
        );
        LlmCallStarted { model: llm.model(), server_address: llm.server_address() }.emit();
        let left = deadline.saturating_duration_since(self.started);
        let work = llm.complete(self.prompt, left, &mut self.draft, delivery);
        let result = step(span, self.faults.disturb(left, work)).await;
        self.completed = result.is_ok();
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Self { pipeline, question, .. } = *self;
        let Some(usage) = self.draft.usage(self.prompt).filter(|_| !self.completed) else { return };
        let (usage, usage_estimated) = usage;
        let cost = pipeline.cost(usage, self.faults);
        let Question { tenant, cost: spent, .. } = *question;
        let (model, duration) = (pipeline.model(), self.started.elapsed());
        LlmCallUnfinished { tenant, model, usage, usage_estimated, cost, duration }.emit(&pipeline.metrics);
        spent.add(cost.unwrap_or_default());
        pipeline.spend(tenant, cost.unwrap_or_default());
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
