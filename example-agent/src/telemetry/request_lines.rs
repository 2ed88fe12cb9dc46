//! The fields of a request on each of its lines. They are made into text once a request: the formatter would make them
//! anew for each line, and would make lines of its own when a span starts and ends, which nobody has asked for.
use std::{cell::RefCell, fmt::Debug};

use serde::Serialize;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{LOG_FIELDS, LOG_SAMPLED};

thread_local! {
    /// Of the line that this thread's formatter is about to write.
    static OF_THIS_LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Has the formatter make a line of each event, and the request's fields ready for it.
pub(super) struct RequestLines<L>(pub(super) L);

impl<S, L> Layer<S> for RequestLines<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        OF_THIS_LINE.with_borrow_mut(|text| {
            text.clear();
            if let Some(span) = context.lookup_current()
                && let Some(Fields(fields)) = span.extensions().get()
            {
                for (_, field) in fields {
                    text.extend_from_slice(field);
                }
            }
        });
        self.0.on_event(event, context);
    }
}

/// The formatter's line in pieces: up to the closing brace, the request's fields, and the rest.
pub(super) fn with_request_fields<T>(line: &[u8], write: impl FnOnce(&[u8], &[u8], &[u8]) -> T) -> T {
    let brace = line.len() - if line.ends_with(b"}\n") { b"}\n".len() } else { 0 };
    OF_THIS_LINE.with_borrow(|fields| write(&line[..brace], fields, &line[brace..]))
}

/// Name and text of each field, such as `,"endpoint":"/v1/query"`.
#[derive(Default)]
struct Fields(Vec<(&'static str, Vec<u8>)>);

impl Fields {
    /// The last value of a field is the one that counts.
    fn set(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        let name = field.name();
        if name == LOG_SAMPLED || !LOG_FIELDS.contains(&name) {
            return;
        }
        let mut text = Vec::with_capacity(64);
        for part in [",\"", name, "\":"] {
            text.extend_from_slice(part.as_bytes());
        }
        if serde_json::to_writer(&mut text, value).is_err() {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = text,
            None => self.0.push((name, text)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{Level, event, info_span, record_all, subscriber::with_default};
    use tracing_bunyan_formatter::BunyanFormattingLayer;
    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let mut lines = self.0.lock().unwrap();
            with_request_fields(line, |start, fields, end| {
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

    #[test]
    fn lines_of_a_request_have_the_last_value_of_its_fields_and_others_have_none() {
        let lines = Lines::default();
        let formatter = BunyanFormattingLayer::new("test".to_owned(), lines.clone());
        with_default(registry().with(RequestLines(formatter)), || {
            let span =
                info_span!("process_request", tenant_id = "other", log_sampled = true, otel.kind = "server");
            span.in_scope(|| event!(Level::INFO, "first"));
            record_all!(span, tenant_id = "\"é\n", log_sampled = false);
            span.in_scope(|| event!(Level::INFO, tenants = 2, "second"));
            event!(Level::INFO, "third");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        assert_eq!(lines.len(), 3, "none when the span starts or ends: {text}");
        assert_eq!(lines[0]["tenant_id"], "other");
        assert_eq!((&lines[1]["tenant_id"], &lines[1]["tenants"]), (&"\"é\n".into(), &2.into()));
        assert!(lines[2].get("tenant_id").is_none(), "{text}");
        assert!(!text.contains("log_sampled") && !text.contains("otel.kind"), "{text}");
    }
}
