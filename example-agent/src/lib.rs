//! A multi-tenant question-answering LLM service, small but run as a real one: bounded everywhere, and visible in
//! metrics, logs and traces. `main` is thin; tests start the same server on port 0.
pub mod error;
pub mod evaluate;
mod healthcheck;
pub mod lifecycle;
pub mod pipeline;
pub mod routes;
pub mod server;
pub mod settings;
pub mod telemetry;
pub mod tenants;
mod tls;

use std::{sync::Arc, time::Duration};

pub use healthcheck::healthcheck;

use crate::{
    lifecycle::Lifecycle,
    pipeline::{Pipeline, llm::LlmClient},
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
        let model = llm.model();
        let price = prices.get(model);
        if price.is_none() {
            let as_of = &prices.as_of;
            tracing::warn!(model, as_of, "the price file has no such model: its calls count as free");
        }
        let metrics = Metrics::new(&tenants, &rules, llm.provider(), model, telemetry.clone());
        let metrics = metrics.map_err(|e| format!("metrics: {e}"))?;
        let metrics = Arc::new(metrics);
        let pipeline = Pipeline::new(settings, &tenants, llm, price, rules, metrics.clone());
        Ok(Self {
            tenants,
            pipeline,
            metrics,
            telemetry,
            lifecycle: Lifecycle::default(),
            body_timeout: settings.body_timeout,
            slow_request: settings.slow_request,
        })
    }
}
