//! Log lines in bunyan's format, as docs/logs.md has them.
use std::{collections::HashMap, io};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};
use tracing_bunyan_formatter::BunyanFormattingLayer;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, filter_fn},
    registry::LookupSpan,
};

/// Writes a line of a request: its own fields, then those that are on each line of a request.
///
/// They are the event's own, not the span's: of a line within a span the formatter makes `[PROCESS_REQUEST - EVENT] …`, and the
/// contract wants the bare event.
#[macro_export]
macro_rules! line {
    ($level:ident, $request:expr, $($rest:tt)+) => {
        tracing::event!(
            tracing::Level::$level,
            request_id = $request.id,
            tenant_id = $request.tenant().0,
            tenant_tier = $request.tenant().1,
            trace_id = $request.trace_id,
            span_id = $request.span_id,
            endpoint = $request.endpoint,
            $($rest)+
        )
    };
}

/// The layer that writes lines to standard output. The guard writes what is queued when it is dropped; the counter knows what
/// was lost because the queue was full.
pub fn layer<S>(service_name: &str) -> (impl Layer<S> + use<S>, WorkerGuard, ErrorCounter)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // A queue and a thread: a request must not wait for whoever reads our output.
    let (output, guard) = NonBlocking::new(io::stdout());
    let lost = output.error_counter();
    let version = HashMap::from([("service_version".to_owned(), env!("CARGO_PKG_VERSION").into())]);
    let lines = BunyanFormattingLayer::with_default_fields(service_name.to_owned(), output, version);
    // Events only: of a span it would make lines when that starts and ends.
    (lines.with_filter(LevelFilter::INFO).with_filter(filter_fn(|meta| !meta.is_span())), guard, lost)
}
