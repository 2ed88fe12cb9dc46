//! Log lines in bunyan's format, to standard output and to files, each through a bounded queue that loses lines
//! rather than making anybody wait.
use std::{
    collections::HashMap,
    error::Error,
    io::{self, Write},
    str::FromStr,
};

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_bunyan_formatter::{BunyanFormattingLayer, JsonStorageLayer};
use tracing_subscriber::{Layer, filter::Targets, fmt::MakeWriter, layer::Context, registry::LookupSpan};

use super::{
    Handles, LOG_SAMPLED, log_files,
    log_filter::LogFilter,
    log_queue::{LogQueue, LogWriter},
};
use crate::settings::Settings;

/// What libraries say below a warning is of no use to who runs the agent; `AGENT_LOG` can still ask for it.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,opentelemetry=warn,opentelemetry_sdk=warn,\
    opentelemetry_otlp=warn,opentelemetry_http=warn,reqwest=warn,rustls=warn";
/// The formatter puts the span before the message of each event; the contract's names are without it.
const MESSAGE_PREFIX: &[u8] = b"[PROCESS_REQUEST - EVENT] ";
const MESSAGE_KEY: &[u8] = b"\"msg\":\"";

/// Which lines are written.
#[derive(Clone, Debug)]
pub struct LogLevels(Targets);

impl FromStr for LogLevels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let directives = format!("{QUIET},{text}");
        directives
            .parse()
            .map(Self)
            .map_err(|e| format!("{e} (for example info, or info,example_agent=debug)"))
    }
}

/// Keeps the queues' threads.
pub struct LogGuards(Vec<LogWriter>);

impl LogGuards {
    /// Writes what is queued, all targets at the same time. May take as long as they take.
    pub fn flush(self) {
        std::thread::scope(|scope| {
            for writer in self.0 {
                scope.spawn(move || writer.close());
            }
        });
    }
}

/// The layer that writes the lines.
pub fn layer<S>(
    settings: &Settings,
    handles: &mut Handles,
) -> Result<(impl Layer<S> + use<S>, LogGuards), Box<dyn Error>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lost = &handles.losses.log_lines;
    let (queue, writer) = LogQueue::start(log_files::stdout(lost.clone()), lost.clone())?;
    let (mut queues, mut writers) = (vec![queue], vec![writer]);
    if let Some(directory) = &settings.log_dir {
        let written = handles.log_lines_written.clone();
        let files = log_files::hourly(directory.clone(), settings.log_files.into(), written, lost.clone());
        let (queue, writer) = LogQueue::start(files, lost.clone())?;
        queues.push(queue);
        writers.push(writer);
    }
    let version = HashMap::from([("service_version".to_owned(), env!("CARGO_PKG_VERSION").into())]);
    let name = settings.service_name.clone();
    let lines = BunyanFormattingLayer::with_default_fields(name, Queues(queues), version)
        .skip_fields(["otel.kind", LOG_SAMPLED].into_iter())?;
    let filter = LogFilter::new(settings.log.0.clone(), handles.log_policy.clone());
    let layer = SpanFields(JsonStorageLayer).and_then(EventLines(lines)).with_filter(filter);
    Ok((layer, LogGuards(writers)))
}

/// Keeps the fields of a request's span for its lines. How long it took is on the last of them anyway.
struct SpanFields(JsonStorageLayer);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanFields {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }
}

/// The formatter without the lines it makes when a span starts and when it ends: nobody asked for them, and they cost
/// as much as any other.
struct EventLines<L>(L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for EventLines<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.0.on_event(event, context);
    }
}

/// All targets of a line.
struct Queues(Vec<LogQueue>);

/// Takes one line.
struct Line<'a>(&'a [LogQueue]);

impl<'a> MakeWriter<'a> for Queues {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(&self.0)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (start, end) = without_prefix(line);
        for queue in self.0 {
            queue.push(start, end);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line before and after what the formatter has put before the event's own name, if it has.
fn without_prefix(line: &[u8]) -> (&[u8], &[u8]) {
    // The message is the third field, after the version and the service's name: nothing a caller says is before it.
    let key = line.windows(MESSAGE_KEY.len()).position(|window| window == MESSAGE_KEY);
    let (start, end) = line.split_at(key.map_or(0, |at| at + MESSAGE_KEY.len()));
    (start, end.strip_prefix(MESSAGE_PREFIX).unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_formatters_own_prefix_is_taken_away() {
        let line = br#"{"v":0,"name":"a","msg":"[PROCESS_REQUEST - EVENT] request started","q":"[PROCESS_REQUEST - EVENT] x"}"#;
        let bare = br#"{"v":0,"name":"a","msg":"request started","q":"[PROCESS_REQUEST - EVENT] x"}"#;
        for line in [line.as_slice(), bare] {
            let (start, end) = without_prefix(line);
            assert_eq!([start, end].concat(), bare);
        }
    }
}
