//! Log lines in bunyan's format, to standard output and to files, each through a bounded queue that loses lines
//! rather than making anybody wait.
use std::{
    collections::HashMap,
    error::Error,
    io::{self, Write},
    str::FromStr,
};

use tracing::Subscriber;
use tracing_bunyan_formatter::BunyanFormattingLayer;
use tracing_subscriber::{
    Layer,
    filter::{Targets, filter_fn},
    fmt::MakeWriter,
    registry::LookupSpan,
};

use super::{
    Handles, log_files,
    log_filter::LogFilter,
    log_queue::{LogQueue, LogWriter},
    request_lines::with_request_fields,
    rolling_files::Limits,
};
use crate::settings::Settings;

/// What libraries say below a warning is of no use to who runs the agent; `AGENT_LOG` can still ask for it.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,opentelemetry=warn,opentelemetry_sdk=warn,\
    opentelemetry_otlp=warn,opentelemetry_http=warn,reqwest=warn,rustls=warn";

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

/// The layers that decide which lines are written and write them: the outermost of all.
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
        let limits = Limits { hours: settings.log_files.into(), bytes: settings.log_max_bytes };
        let (removed, written) = (handles.log_files_removed.clone(), handles.log_lines_written.clone());
        let files = log_files::hourly(directory.clone(), limits, removed, written, lost.clone());
        let (queue, writer) = LogQueue::start(files, lost.clone())?;
        queues.push(queue);
        writers.push(writer);
    }
    let version = HashMap::from([("service_version".to_owned(), env!("CARGO_PKG_VERSION").into())]);
    let name = settings.service_name.clone();
    let lines = BunyanFormattingLayer::with_default_fields(name, Queues(queues), version);
    // Events only: of a span it would make lines when that starts and ends, which nobody has asked for.
    let lines = lines.with_filter(filter_fn(|meta| !meta.is_span()));
    Ok((lines.and_then(LogFilter::new(settings.log.0.clone())), LogGuards(writers)))
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
        with_request_fields(line, |line, fields, brace| {
            for queue in self.0 {
                queue.push(&[line, fields, brace]);
            }
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
