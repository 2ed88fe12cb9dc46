//! Decides line by line what is written. It stands in front of all layers, since it needs a request's span to decide by
//! and the formatter must see none: that would put the span's name before each message.
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, Filter},
    registry::LookupSpan,
};

use super::{
    is_ours,
    request_lines::{RequestLines, prepare},
};

/// A collector that is down would have its say with each batch.
const TELEMETRY_WARNINGS_EVERY: Duration = Duration::from_mins(1);
/// The most a tier can have.
const MOST_DETAILED: Level = Level::DEBUG;

/// Decides which lines are written, and has the fields of their requests ready.
pub(super) struct LogFilter {
    levels: Targets,
    telemetry_warned: Mutex<Option<Instant>>,
}

impl LogFilter {
    pub(super) fn new(levels: Targets) -> Self {
        Self { levels, telemetry_warned: Mutex::new(None) }
    }

    /// Whether it may be of use to some layer. What spans are of use the traces' own filter decides.
    fn admits(&self, meta: &Metadata<'_>) -> bool {
        meta.is_span()
            || (is_ours(meta) && *meta.level() <= MOST_DETAILED)
            || self.levels.would_enable(meta.target(), meta.level())
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

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogFilter {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        if self.admits(meta) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, meta: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.admits(meta)
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let meta = event.metadata();
        let by_level = self.levels.would_enable(meta.target(), meta.level());
        if meta.target().starts_with("opentelemetry") {
            prepare(None);
            return by_level && self.telemetry_may_warn();
        }
        let mut spans = context.event_span(event).into_iter().flat_map(|span| span.scope());
        let of_request = spans.find_map(|span| {
            let extensions = span.extensions();
            let lines = extensions.get::<RequestLines>()?;
            let admitted = lines.admit(meta, by_level);
            if admitted {
                prepare(Some(lines));
            }
            Some(admitted)
        });
        of_request.unwrap_or_else(|| {
            prepare(None);
            by_level
        })
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let lines = Filter::<S>::max_level_hint(&self.levels)?;
        Some(lines.max(LevelFilter::from_level(MOST_DETAILED)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{event, info_span, subscriber::with_default};
    use tracing_bunyan_formatter::BunyanFormattingLayer;
    use tracing_subscriber::{filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt as _, registry};

    use super::{super::request_lines::with_request_fields, *};
    use crate::{telemetry::log_policy::TierLevels, tenants::Tenants};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            with_request_fields(line, |start, fields, end| {
                let mut lines = self.0.lock().unwrap();
                *lines = [&lines[..], start, fields, end].concat();
            });
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What is written, message by message.
    fn written(work: impl FnOnce(&Tenants)) -> Vec<serde_json::Value> {
        let tenants =
            "[[tenant]]\nid = \"rich\"\ntier = \"vip\"\n[[tenant]]\nid = \"poor\"\ntier = \"free\"\n";
        let (tenants, lines) = (Tenants::parse(tenants).unwrap(), Lines::default());
        let formatter = BunyanFormattingLayer::new("test".to_owned(), lines.clone());
        let events = filter_fn(|meta| !meta.is_span());
        let subscriber = registry().with(formatter.with_filter(events));
        let filter = LogFilter::new("info".parse().unwrap());
        with_default(subscriber.with(filter), || work(&tenants));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    fn messages(lines: &[serde_json::Value]) -> Vec<&str> {
        lines.iter().filter_map(|line| line["msg"].as_str()).collect()
    }

    #[test]
    fn lines_of_a_request_have_its_fields_and_those_of_its_tenant_once_that_is_known() {
        let lines = written(|tenants| {
            let span = info_span!("process_request", otel.kind = "server");
            let fields = [("endpoint", "\"é\n")];
            let of_request = RequestLines::new(true, TierLevels::default(), &fields);
            of_request.of_tenant(&tenants.other()).attach(&span);
            span.in_scope(|| event!(Level::INFO, "first"));
            RequestLines::identify(&span, &tenants.find("poor").unwrap());
            // A span within is the same request.
            span.in_scope(|| info_span!("call_llm").in_scope(|| event!(Level::INFO, tokens = 2, "second")));
            event!(Level::INFO, "third");
        });
        assert_eq!(messages(&lines), ["first", "second", "third"], "none when a span starts or ends");
        assert_eq!((&lines[0]["tenant_id"], &lines[0]["tenant_tier"]), (&"other".into(), &"none".into()));
        assert_eq!((&lines[1]["tenant_id"], &lines[1]["tenant_tier"]), (&"poor".into(), &"free".into()));
        assert_eq!((&lines[1]["endpoint"], &lines[1]["tokens"]), (&"\"é\n".into(), &2.into()));
        assert!(lines[2].get("tenant_id").is_none(), "{lines:?}");
        assert!(lines.iter().all(|line| line.get("otel.kind").is_none()), "{lines:?}");
    }

    #[test]
    fn of_a_request_that_is_not_sampled_only_warnings_are_written_and_a_tier_may_have_details() {
        let lines = written(|tenants| {
            let levels: TierLevels = "vip=debug".parse().unwrap();
            for (sampled, tenant) in [(false, "rich"), (true, "rich"), (true, "poor")] {
                let span = info_span!("process_request");
                let of_request = RequestLines::new(sampled, levels, &[]);
                of_request.of_tenant(&tenants.find(tenant).unwrap()).attach(&span);
                span.in_scope(|| {
                    event!(Level::DEBUG, "debug {sampled} {tenant}");
                    event!(Level::INFO, "info {sampled} {tenant}");
                    event!(Level::WARN, "warn {sampled} {tenant}");
                });
            }
            event!(Level::DEBUG, "debug of nobody");
            // Libraries have no details of their own for a tier.
            event!(target: "hyper", Level::DEBUG, "debug of a library");
        });
        let written = [
            "warn false rich",
            "debug true rich",
            "info true rich",
            "warn true rich",
            "info true poor",
            "warn true poor",
        ];
        assert_eq!(messages(&lines), written);
    }
}
