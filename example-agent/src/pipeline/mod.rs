//! The work: look into the cache, else ask the model and count what it cost.
pub mod budget;
pub mod cache;
pub mod compliance;
pub mod cost;
pub mod delivery;
mod hold_back;
pub mod llm;
pub mod models;
pub mod prices;
pub mod retrieval;
pub mod retry;

use std::{sync::Arc, time::SystemTime};

use opentelemetry::Array;
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
    cost::{NanoUsd, RequestCost, Usage},
    delivery::Delivery,
    llm::{Completion, Draft, FinishReason, Limits, LlmClient, LlmError, Prompt},
    models::{Model, Models},
    prices::Prices,
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
            LlmCallRetried, LlmCallStarted, LlmCallUnfinished, LlmFallback, PassagesFound, RequestStarted,
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
    /// The model that was asked for it.
    pub model: Arc<str>,
    /// Why it ends, where the provider says so.
    pub finish: Option<FinishReason>,
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
    models: Models,
    prices: Prices,
    rules: Rules,
    knowledge: Option<Knowledge>,
    retries: Retries,
    slots: Semaphore,
    budgets: Budgets,
    metrics: Arc<Metrics>,
    faults: Arc<CurrentFaults>,
}

/// A provider, its models and their prices.
#[derive(Debug)]
pub struct Provider {
    /// The client.
    pub llm: LlmClient,
    /// The models that are asked.
    pub models: Models,
    /// Prices of these, and of others that may answer in their place.
    pub prices: Prices,
}

impl Pipeline {
    /// A pipeline for the models of a provider, and these compliance rules.
    pub fn new(
        settings: &Settings,
        tenants: &Tenants,
        provider: Provider,
        rules: Rules,
        metrics: Arc<Metrics>,
        faults: Arc<CurrentFaults>,
    ) -> Self {
        let Provider { llm, models, prices } = provider;
        let cache = AnswerCache::new(settings.cache_ttl, settings.cache_max_bytes);
        let retries = Retries::new(settings.llm_max_attempts, settings.llm_retry_budget);
        let budgets = Budgets::new(tenants.all().len());
        let slots = Semaphore::new(settings.max_requests_in_flight as usize);
        let knowledge = Knowledge::built_in(settings.rag_passages.into());
        Self { cache, llm, models, prices, rules, knowledge, retries, slots, budgets, metrics, faults }
    }

    /// The models that are asked.
    pub fn models(&self) -> &Models {
        &self.models
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
        let Ok(_slot) = self.slots.try_acquire() else {
            RequestStarted { query, allowed: false }.emit();
            return Err(NoAnswer::Overloaded);
        };
        let _counted = self.metrics.in_flight();
        let mut delivery = Delivery::new(&self.rules, deltas);
        let faults = self.faults.get(Instant::now().into_std()).faults;
        let verdict = self.check_compliance(tenant, Stage::Question, query).await;
        RequestStarted { query, allowed: verdict.is_ok() }.emit();
        verdict.map_err(NoAnswer::Refused)?;
        if let Some(known) = self.check_cache(tenant, query, &faults).await {
            delivery.finish(&known.text).await;
            let CachedAnswer { text, model } = &*known;
            let finish = Some(FinishReason::Stop);
            return Ok(Answer { text: text.clone(), model: model.clone(), finish, tokens: 0, cached: true });
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
        let Answered { model, completion } =
            self.call_llm(question, &prompt, faults, &mut delivery).await.map_err(NoAnswer::Llm)?;
        let (cost, substituted) =
            self.cost(model, completion.response_model.as_deref(), completion.usage, faults);
        LlmCallCompleted { tenant, model, completion: &completion, cost, substituted }.emit(&self.metrics);
        spent.add(cost.unwrap_or_default());
        self.spend(tenant, cost.unwrap_or_default());
        self.check_compliance(tenant, Stage::Answer, &completion.text).await.map_err(NoAnswer::Withheld)?;
        delivery.finish(&completion.text).await;
        let Completion { text, finish, usage, .. } = completion;
        // Half an answer, or an empty one, was paid for, but is not worth repeating.
        if finish == Some(FinishReason::Stop) && !text.is_empty() && faults.keep_answers() {
            let answer = CachedAnswer { text: text.clone(), model: model.name.clone() };
            self.cache.insert(tenant.index, query, answer).await;
            AnswerKept { cache_type: RESPONSE_CACHE, answer: &text }.emit();
        }
        Ok(Answer { text, model: model.name.clone(), finish, tokens: usage.total(), cached: false })
    }

    /// The cost of a call at the price of the model that answered, or else of the one that was asked; and whether the two
    /// differ by more than their edition.
    fn cost(
        &self,
        asked: &Model,
        answered: Option<&str>,
        usage: Usage,
        faults: &Faults,
    ) -> (Option<NanoUsd>, bool) {
        let other = answered.filter(|name| !prices::same_model(name, &asked.name));
        let price = other.and_then(|name| self.prices.get(name)).or_else(|| asked.price.clone());
        (price.map(|price| faults.cost(price.cost(usage))), other.is_some())
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

    /// Asks the tenant's model; when that fails before the caller has seen text, the one that takes over, within the same time
    /// and budget.
    async fn call_llm(
        &self,
        question: &Question<'_>,
        prompt: &Prompt<'_>,
        faults: &Faults,
        delivery: &mut Delivery<'_>,
    ) -> Result<Answered<'_>, LlmError> {
        let now = std::time::Instant::now();
        let timeout = self.llm.timeout();
        let end = now + timeout;
        let first = self.models.of(question.tenant);
        let Some(second) = self.models.fallback(first) else {
            return self
                .attempts(first, question, prompt, faults, delivery, [end, end])
                .await
                .map_err(|failed| failed.0);
        };
        // A model that says nothing leaves the other one half of the time.
        let begin = now + timeout / 2;
        let (error, seen) = match self.attempts(first, question, prompt, faults, delivery, [begin, end]).await
        {
            Ok(answered) => return Ok(answered),
            Err(failed) => failed,
        };
        let affordable = self.budgets.admit(question.tenant, SystemTime::now()).is_ok();
        if seen || !affordable || Instant::now().into_std() >= end {
            return Err(error);
        }
        LlmFallback { from: first, to: second, error: &error }.emit(&self.metrics);
        self.attempts(second, question, prompt, faults, delivery, [end, end]).await.map_err(|failed| failed.0)
    }

    /// Asks one model, again where that may help: never once it has begun to answer. Each attempt has a span, and a count, of
    /// its own. A failure says whether the caller may have seen text.
    async fn attempts<'m>(
        &self,
        model: &'m Model,
        question: &Question<'_>,
        prompt: &Prompt<'_>,
        faults: &Faults,
        delivery: &mut Delivery<'_>,
        [begin, end]: [std::time::Instant; 2],
    ) -> Result<Answered<'m>, (LlmError, bool)> {
        self.retries.call();
        let mut attempt = 1;
        loop {
            let started = Instant::now().into_std();
            let limits = Limits { started, begin, end };
            let mut call = Call {
                pipeline: self,
                model,
                question,
                prompt,
                faults,
                started,
                draft: Draft::default(),
                completed: false,
            };
            let error = match call.attempt(attempt, &limits, delivery).await {
                Ok(completion) => return Ok(Answered { model, completion }),
                Err(error) => error,
            };
            LlmCallFailed { model, error: &error, duration: started.elapsed() }.emit(&self.metrics);
            let (paid, seen) = (call.draft.has_begun(), call.draft.has_text());
            drop(call);
            let left = begin.saturating_duration_since(Instant::now().into_std());
            let again = if paid { None } else { self.retries.after(&error, attempt, left) };
            let Some((reason, wait)) = again else { return Err((error, seen)) };
            LlmCallRetried { reason, attempt, wait }.emit(&self.metrics);
            sleep(wait).await;
            attempt += 1;
        }
    }
}

/// An answer and the model that was asked for it.
struct Answered<'m> {
    model: &'m Model,
    completion: Completion,
}

/// A call of a model. One that ends after the answer has begun and before it is complete, by whatever cause, is paid for:
/// it is counted when dropped, for code after an `await` does not run when the caller leaves.
struct Call<'a> {
    pipeline: &'a Pipeline,
    model: &'a Model,
    question: &'a Question<'a>,
    prompt: &'a Prompt<'a>,
    faults: &'a Faults,
    started: std::time::Instant,
    draft: Draft,
    completed: bool,
}

impl Call<'_> {
    async fn attempt(
        &mut self,
        attempt: u32,
        limits: &Limits,
        delivery: &mut Delivery<'_>,
    ) -> Result<Completion, LlmError> {
        let Pipeline { llm, .. } = self.pipeline;
        let model = &*self.model.name;
        let span = info_span!(
            "call_llm",
            otel.kind = "client",
            llm.model = model,
            llm.attempt = i64::from(attempt),
            gen_ai.operation.name = gen_ai::OPERATION,
            gen_ai.provider.name = llm.provider(),
            gen_ai.request.model = model,
            server.address = llm.server_address(),
            server.port = i64::from(llm.server_port()),
        );
        LlmCallStarted { model, server_address: llm.server_address() }.emit();
        let work = llm.complete(model, self.prompt, limits, &mut self.draft, delivery);
        let result = step(span, self.faults.disturb(limits, work)).await;
        self.completed = result.is_ok();
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Self { pipeline, model, question, .. } = *self;
        let Some(usage) = self.draft.usage(self.prompt).filter(|_| !self.completed) else { return };
        let (usage, usage_estimated) = usage;
        let cost = pipeline.cost(model, self.draft.model(), usage, self.faults).0;
        let Question { tenant, cost: spent, .. } = *question;
        let duration = self.started.elapsed();
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
        if let Some(finish) = self.finish {
            let reasons = Array::String(vec![finish.as_str().into()]);
            span.set_attribute("gen_ai.response.finish_reasons", opentelemetry::Value::Array(reasons));
        }
        let parts = [
            ("gen_ai.usage.cache_read.input_tokens", self.usage.cache_read),
            ("gen_ai.usage.cache_creation.input_tokens", self.usage.cache_write),
            ("gen_ai.usage.reasoning.output_tokens", self.usage.reasoning),
        ];
        for (name, tokens) in parts {
            span.set_attribute(name, tokens.cast_signed());
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
