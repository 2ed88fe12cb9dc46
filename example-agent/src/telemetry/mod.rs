//! Metrics, logs and traces. Nothing here may make a request wait: queues are bounded, what does not fit is counted.
pub mod audit;
mod audit_file;
mod counters;
pub mod declared;
pub mod events;
mod exemplars;
pub mod exposition;
pub mod gen_ai;
mod hit_rate;
mod log_files;
mod log_filter;
pub mod log_policy;
mod log_queue;
pub mod logs;
pub mod metrics;
pub mod request_lines;
mod rolling_files;
pub mod steps;
pub mod tail;
pub mod traces;

use std::{
    sync::{Arc, atomic::AtomicU64, mpsc},
    time::{Duration, Instant},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::{
    audit::AuditLog,
    log_policy::{CurrentLogPolicy, LogPolicy},
    rolling_files::RemovedFiles,
};
use crate::settings::Settings;

/// How much the process tells of what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// Metrics, log lines, spans and the audit log, as the other settings say.
    #[default]
    All,
    /// Metrics only: no line, no span, no audit log.
    Metrics,
    /// Nothing: what the rest is compared with where its cost is measured.
    Off,
}

/// What of the time to flush is kept for the log, which comes last.
const LOG_FLUSH: Duration = Duration::from_millis(500);

/// What was lost so far, by whoever loses it.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    log_lines: Arc<AtomicU64>,
    spans: Arc<AtomicU64>,
}

/// What the parts of the agent share with its telemetry.
#[derive(Clone, Debug)]
pub struct Handles {
    /// How much there is at all.
    pub scope: Scope,
    /// For the metrics.
    pub losses: Losses,
    /// Lines in the log files.
    pub log_lines_written: Arc<AtomicU64>,
    /// Log files that are no longer there.
    pub log_files_removed: RemovedFiles,
    /// Which lines of requests are written.
    pub log_policy: Arc<CurrentLogPolicy>,
    /// Who asked what.
    pub audit: AuditLog,
}

impl Handles {
    /// For an agent whose process has started no telemetry, or not yet.
    pub fn new(settings: &Settings) -> Self {
        let log_policy = Arc::new(CurrentLogPolicy::new(LogPolicy::of(settings)));
        Self {
            scope: settings.telemetry,
            losses: Losses::default(),
            log_lines_written: Arc::default(),
            log_files_removed: RemovedFiles::default(),
            log_policy,
            audit: AuditLog::default(),
        }
    }
}

/// Logs and traces of the process, once started.
pub struct Telemetry {
    /// For the agent.
    pub handles: Handles,
    /// None where there are neither lines nor spans.
    running: Option<(SdkTracerProvider, logs::LogGuards)>,
}

impl Telemetry {
    /// Starts logs and traces for the whole process. Must not run on an async runtime: the exporter's client blocks.
    pub fn start(settings: &Settings) -> Result<Self, Box<dyn std::error::Error>> {
        let mut handles = Handles::new(settings);
        if handles.scope != Scope::All {
            return Ok(Self { handles, running: None });
        }
        let tracers = traces::provider(settings, handles.losses.spans.clone())?;
        // Only our own spans, not those of the libraries; of events none: the log has them.
        let ours = filter_fn(|meta| meta.is_span() && is_ours(meta)).with_max_level_hint(LevelFilter::INFO);
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracers.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            // A step that is no request for others needs no context of its own until it ends.
            .with_context_activation(false)
            .with_filter(ours);
        let (lines, logs) = logs::layer(settings, &mut handles)?;
        tracing_subscriber::registry().with(spans).with(lines).try_init()?;
        handles.audit = AuditLog::start(settings)?;
        Ok(Self { handles, running: Some((tracers, logs)) })
    }

    /// Sends and writes what is still queued, but returns at the deadline whatever hangs.
    pub fn flush(self, deadline: Instant) {
        let Self { handles, running: Some((tracers, logs)) } = self else { return };
        let left = || deadline.saturating_duration_since(Instant::now());
        let before_the_log = || left().saturating_sub(LOG_FLUSH);
        let time = before_the_log();
        // At the same time: a collector that hangs must not take the audit log's time.
        let audit = begin(move || handles.audit.close());
        let spans = begin(move || {
            if let Err(error) = tracers.shutdown_with_timeout(time) {
                tracing::warn!(error = %error, "the collector did not take the last spans: they are lost");
            }
        });
        for done in [audit, spans] {
            let _ = done.recv_timeout(before_the_log());
        }
        let _ = begin(|| logs.flush()).recv_timeout(left());
    }
}

fn is_ours(meta: &Metadata<'_>) -> bool {
    meta.target().starts_with(env!("CARGO_CRATE_NAME"))
}

/// Runs what may hang on a thread of its own, so that nobody need wait longer than they want.
fn begin(work: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    wait
}
