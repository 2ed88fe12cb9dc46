//! Decides line by line what is written.
use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    filter::Targets,
    layer::{Context, Filter},
    registry::LookupSpan,
};

use super::{LOG_SAMPLED, REQUEST_SPAN, log_policy::CurrentLogPolicy};
use crate::tenants::Tier;

/// A collector that is down would have its say with each batch.
const TELEMETRY_WARNINGS_EVERY: Duration = Duration::from_mins(1);
/// The most a tier can have.
const MOST_DETAILED: Level = Level::DEBUG;

/// Decides which lines are written. Of the spans only the request's is seen: its fields go on every line.
pub(super) struct LogFilter {
    levels: Targets,
    policy: Arc<CurrentLogPolicy>,
    telemetry_warned: Mutex<Option<Instant>>,
}

/// What was decided for a request: kept with its span.
#[derive(Clone, Copy)]
struct RequestLines {
    tier_level: Option<Level>,
    sampled: bool,
}

impl Default for RequestLines {
    /// Until the trace is known nothing is left out.
    fn default() -> Self {
        Self { tier_level: None, sampled: true }
    }
}

impl LogFilter {
    pub(super) fn new(levels: Targets, policy: Arc<CurrentLogPolicy>) -> Self {
        Self { levels, policy, telemetry_warned: Mutex::new(None) }
    }

    /// Whether it may be written, for some request or without one.
    fn admits(&self, meta: &Metadata<'_>) -> bool {
        if meta.is_span() {
            return meta.name() == REQUEST_SPAN;
        }
        self.levels.would_enable(meta.target(), meta.level())
            || (is_ours(meta) && *meta.level() <= MOST_DETAILED)
    }

    /// The library says the same again and again.
    fn telemetry_may_warn(&self) -> bool {
        let mut warned = self.telemetry_warned.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if warned.is_some_and(|time| now < time + TELEMETRY_WARNINGS_EVERY) {
            return false;
        }
        *warned = Some(now);
        true
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for LogFilter {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.admits(meta)
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        if self.admits(meta) { Interest::always() } else { Interest::never() }
    }

    fn event_enabled(&self, event: &Event<'_>, context: &Context<'_, S>) -> bool {
        let meta = event.metadata();
        if meta.target().starts_with("opentelemetry") {
            return self.telemetry_may_warn();
        }
        let by_level = self.levels.would_enable(meta.target(), meta.level());
        if by_level && *meta.level() <= Level::WARN {
            return true;
        }
        let span = context.event_span(event);
        let request = span.and_then(|span| span.extensions().get::<RequestLines>().copied());
        request.map_or(by_level, |request| {
            let by_tier = is_ours(meta) && request.tier_level.is_some_and(|level| *meta.level() <= level);
            (by_level || by_tier) && (request.sampled || *meta.level() <= Level::WARN)
        })
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let lines = Filter::<S>::max_level_hint(&self.levels)?;
        Some(lines.max(LevelFilter::from_level(MOST_DETAILED)))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut lines = RequestLines::default();
        attributes.record(&mut RequestVisitor { policy: &self.policy, lines: &mut lines });
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(lines);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(lines) = span.extensions_mut().get_mut::<RequestLines>() {
            values.record(&mut RequestVisitor { policy: &self.policy, lines });
        }
    }
}

/// Reads from the fields of a request's span what decides about its lines.
struct RequestVisitor<'a> {
    policy: &'a CurrentLogPolicy,
    lines: &'a mut RequestLines,
}

impl Visit for RequestVisitor<'_> {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == LOG_SAMPLED {
            self.lines.sampled = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "tenant_tier" {
            let tier = Tier::ALL.into_iter().find(|tier| tier.name() == value);
            self.lines.tier_level = tier.and_then(|tier| self.policy.get().tier_levels.of(tier));
        }
    }
}

fn is_ours(meta: &Metadata<'_>) -> bool {
    meta.target().starts_with(env!("CARGO_CRATE_NAME"))
}
