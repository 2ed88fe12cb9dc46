//! A multi-tenant question-answering LLM service, small but run as a real one: bounded everywhere, and visible in
//! metrics, logs and traces. `main` is thin; tests start the same server on port 0.
pub mod console;
pub mod error;
pub mod evaluate;
pub mod faults;
mod healthcheck;
pub mod lifecycle;
pub mod pipeline;
pub mod routes;
pub mod server;
pub mod settings;
pub mod telemetry;
pub mod tenants;

use std::{sync::Arc, time::Duration};

pub use healthcheck::healthcheck;

use crate::{
    console::Console,
    faults::CurrentFaults,
    lifecycle::Lifecycle,
    pipeline::{Pipeline, Provider, llm::LlmClient, models::Models},
    settings::Settings,
    telemetry::{Handles, metrics::Metrics},
    tenants::Tenants,
};

/// What the routes work with.
#[derive(Debug)]
pub struct App {
    /// Who may ask.
    pub tenants: Tenants,
    /// How questions are answered.
    pub pipeline: Pipeline,
    /// What goes wrong on purpose.
    pub faults: Arc<CurrentFaults>,
    /// What the console page is told.
    pub console: Console,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What it tells about itself otherwise.
    pub telemetry: Handles,
    /// Serving, or on the way to the end.
    pub lifecycle: Lifecycle,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// From when on a request is slow.
    pub slow_request: Duration,
}

impl App {
    /// Reads the files the settings name. The error is one line.
    pub fn new(settings: &Settings, telemetry: Handles) -> Result<Self, String> {
        let (tenants, prices) = (settings.tenants()?, settings.prices()?);
        let rules = settings.compliance_rules()?;
        let llm = LlmClient::new(settings)?;
        let fallback = settings.llm_fallback_model.as_deref();
        let models = Models::new(&settings.llm_model, &settings.llm_tier_models, fallback, &prices);
        for model in models.all().iter().filter(|model| model.price.is_none()) {
            let (model, as_of) = (&*model.name, &prices.as_of);
            tracing::warn!(model, as_of, "the price file has no such model: its calls count as free");
        }
        let faults = Arc::<CurrentFaults>::default();
        let metrics =
            Metrics::new(&tenants, &rules, llm.provider(), &models, telemetry.clone(), faults.clone());
        let metrics = metrics.map_err(|e| format!("metrics: {e}"))?;
        let metrics = Arc::new(metrics);
        let provider = Provider { llm, models, prices };
        let pipeline = Pipeline::new(settings, &tenants, provider, rules, metrics.clone(), faults.clone());
        Ok(Self {
            tenants,
            pipeline,
            faults,
            console: Console::new(&settings.console, settings.api_addr.port(), settings.admin_addr.port()),
            metrics,
            telemetry,
            lifecycle: Lifecycle::default(),
            body_timeout: settings.body_timeout,
            slow_request: settings.slow_request,
        })
    }
}
