//! Log lines in bunyan's format, to standard output and to files, each through a bounded queue that loses lines
//! rather than making anybody wait.
use std::{
    collections::HashMap,
    io::{self, Write},
    str::FromStr,
};

use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_bunyan_formatter::{BunyanFormattingLayer, JsonStorageLayer, SkipFieldError};
use tracing_subscriber::{Layer, filter::Targets, fmt::MakeWriter, registry::LookupSpan};

use super::{Handles, LOG_SAMPLED, log_files, log_filter::LogFilter};
use crate::settings::Settings;

/// Lines that may wait for a slow target: about 16 MiB.
const QUEUE_LINES: usize = 16_384;
/// What libraries say below a warning is of no use to who runs the agent; `AGENT_LOG` can still ask for it.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,opentelemetry=warn,opentelemetry_sdk=warn,\
    opentelemetry_otlp=warn,opentelemetry_http=warn,reqwest=warn,rustls=warn";
/// The formatter puts the span before the message of each event; the contract's names are without it.
const MESSAGE_PREFIX: &[u8] = b"\"msg\":\"[PROCESS_REQUEST - EVENT] ";
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

/// Keeps the queues' threads; dropping it writes what is still queued, for at most about a second per queue.
pub struct LogGuards(Vec<WorkerGuard>);

impl LogGuards {
    /// Writes what is queued, all targets at the same time.
    pub fn flush(self) {
        std::thread::scope(|scope| {
            for guard in self.0 {
                scope.spawn(move || drop(guard));
            }
        });
    }
}

/// The layer that writes the lines.
pub fn layer<S>(
    settings: &Settings,
    handles: &mut Handles,
) -> Result<(impl Layer<S> + use<S>, LogGuards), SkipFieldError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let written = handles.log_lines_written.clone();
    let losses = &mut handles.losses;
    let failed = losses.failed_log_writes.clone();
    let mut targets: Vec<Box<dyn Write + Send>> = vec![Box::new(log_files::stdout(failed.clone()))];
    if let Some(directory) = &settings.log_dir {
        targets.push(Box::new(log_files::hourly(
            directory.clone(),
            settings.log_files.into(),
            written,
            failed,
        )));
    }
    let (mut queues, mut guards) = (Vec::new(), Vec::new());
    for target in targets {
        let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES);
        let (queue, guard) = queue.thread_name("log-writer").finish(target);
        losses.log_queues.push(queue.error_counter());
        queues.push(queue);
        guards.push(guard);
    }
    let version = HashMap::from([("service_version".to_owned(), env!("CARGO_PKG_VERSION").into())]);
    let name = settings.service_name.clone();
    let lines = BunyanFormattingLayer::with_default_fields(name, Queues(queues), version)
        .skip_fields(["otel.kind", LOG_SAMPLED].into_iter())?;
    let filter = LogFilter::new(settings.log.0.clone(), handles.log_policy.clone());
    let layer = JsonStorageLayer.and_then(lines).with_filter(filter);
    Ok((layer, LogGuards(guards)))
}

/// All targets of a line.
struct Queues(Vec<NonBlocking>);

/// Takes one line, or swallows it.
struct Line<'a>(&'a [NonBlocking]);

impl<'a> MakeWriter<'a> for Queues {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(&self.0)
    }

    /// The formatter also writes a line when a span starts and one when it ends: nobody asked for them.
    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Line(if meta.is_event() { &self.0 } else { &[] })
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bare = without_prefix(line);
        for queue in self.0 {
            // Never waits: a line that does not fit the queue is lost and counted.
            let _ = queue.make_writer().write(bare.as_deref().unwrap_or(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with its event's own name, where the formatter has put the span's before it.
fn without_prefix(line: &[u8]) -> Option<Vec<u8>> {
    // The message is the third field, after the version and the service's name: nothing a caller says is before it.
    let at = line.windows(MESSAGE_KEY.len()).position(|window| window == MESSAGE_KEY)?;
    let rest = line[at..].strip_prefix(MESSAGE_PREFIX)?;
    Some([&line[..at], MESSAGE_KEY, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_formatters_own_prefix_is_taken_away() {
        let line = br#"{"v":0,"name":"a","msg":"[PROCESS_REQUEST - EVENT] request started","q":"[PROCESS_REQUEST - EVENT] x"}"#;
        let bare = br#"{"v":0,"name":"a","msg":"request started","q":"[PROCESS_REQUEST - EVENT] x"}"#;
        assert_eq!(without_prefix(line).unwrap(), bare);
        assert_eq!(without_prefix(bare), None);
    }
}
