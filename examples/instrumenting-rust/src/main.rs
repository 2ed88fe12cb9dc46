//! Thin entry point: settings, telemetry, server, flush.
use std::process::ExitCode;

use instrumenting_rust::{
    logs,
    metrics::Metrics,
    model::{Model, ModelError},
    service,
    settings::Settings,
    traces,
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

fn main() -> ExitCode {
    let settings = command_line::parse::<Settings>();
    // An error only says that there is one already. Clients need one even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match start(&settings).and_then(|telemetry| run(&settings, telemetry)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => command_line::fail::<Settings>(1, &error.to_string()),
    }
}

type Telemetry = (SdkTracerProvider, WorkerGuard, Metrics);

/// Before the async runtime: the spans' exporter has a client that blocks.
fn start(settings: &Settings) -> Result<Telemetry, Box<dyn std::error::Error>> {
    let tracers = traces::provider(&settings.service_name, settings.otlp_endpoint.as_deref())?;
    let (lines, guard, lost_lines) = logs::layer(&settings.service_name);
    tracing_subscriber::registry().with(traces::layer(&tracers)).with(lines).try_init()?;
    let metrics = Metrics::install(&settings.llm_model, &ModelError::TYPES, lost_lines)?;
    Ok((tracers, guard, metrics))
}

fn run(settings: &Settings, telemetry: Telemetry) -> Result<(), Box<dyn std::error::Error>> {
    let (tracers, guard, metrics) = telemetry;
    Runtime::new()?.block_on(async {
        let api = TcpListener::bind(settings.api_addr).await?;
        let admin = TcpListener::bind(settings.admin_addr).await?;
        tracing::info!(
            api = %api.local_addr()?, admin = %admin.local_addr()?, provider = %settings.llm_base_url, "listening"
        );
        tokio::spawn(async move { axum::serve(admin, service::admin(metrics)).await });
        let mut terminate = signal(SignalKind::terminate())?;
        let ended = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        axum::serve(api, service::api(Model::new(settings))).with_graceful_shutdown(ended).await
    })?;
    // What is queued would be lost otherwise. The log comes last: it can tell what became of the spans.
    if let Err(error) = tracers.shutdown() {
        tracing::warn!(error = %error, "the collector did not take the last spans: they are lost");
    }
    drop(guard);
    Ok(())
}
