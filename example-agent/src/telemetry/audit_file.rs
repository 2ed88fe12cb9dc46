//! Files `audit.YYYY-MM-DD.ndjson` (UTC, by the time of the event): whole lines, forced to the disk in batches.
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::audit::{Action, AuditedRequest, Numbered, QUEUE_EVENTS, Shared};

/// How long a first event waits for others: one flush of the disk is for all of them.
const BATCH_EVERY: Duration = Duration::from_millis(100);
/// Bunyan's number for INFO.
const LEVEL: u8 = 30;

/// What is the same on every line.
#[derive(Debug)]
pub(super) struct Origin {
    name: String,
    hostname: String,
    pid: u32,
    boot_id: String,
}

impl Origin {
    /// The name and whereabouts of this process, and an id for this run of it.
    pub(super) fn of_this_process(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            hostname: gethostname::gethostname().to_string_lossy().into_owned(),
            pid: std::process::id(),
            boot_id: Uuid::now_v7().to_string(),
        }
    }
}

/// The current file, owned by the thread that writes it.
#[derive(Debug)]
pub(super) struct AuditFile {
    directory: PathBuf,
    origin: Origin,
    retry_after: Duration,
    shared: Arc<Shared>,
    open: Option<Day>,
}

/// The file of a day, with the length up to which it is known to be whole.
#[derive(Debug)]
struct Day {
    date: String,
    file: File,
    length: u64,
}

/// Lines of one day.
struct Batch {
    date: String,
    lines: Vec<u8>,
    count: u64,
}

impl AuditFile {
    pub(super) fn new(
        directory: PathBuf,
        origin: Origin,
        retry_after: Duration,
        shared: Arc<Shared>,
    ) -> Self {
        Self { directory, origin, retry_after, shared, open: None }
    }

    /// Writes events until it is told to end.
    pub(super) fn run(mut self, events: &Receiver<Option<Box<Numbered>>>) {
        while let Ok(first) = events.recv() {
            let mut batches = Vec::new();
            self.add(&mut batches, first);
            if !self.is_closing() {
                // Away from the queue: whoever sends to one that is waited on has to wake the waiter, each time.
                std::thread::park_timeout(BATCH_EVERY);
            }
            self.drain(events, &mut batches);
            // Whoever closes the log has recorded its last event before saying so.
            let closing = self.is_closing();
            if closing {
                self.drain(events, &mut batches);
            }
            for batch in &batches {
                self.write(batch);
            }
            if closing {
                break;
            }
        }
    }

    fn drain(&self, events: &Receiver<Option<Box<Numbered>>>, batches: &mut Vec<Batch>) {
        for next in events.try_iter().take(QUEUE_EVENTS) {
            self.add(batches, next);
        }
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    fn add(&self, batches: &mut Vec<Batch>, event: Option<Box<Numbered>>) {
        let Some(event) = event else { return };
        let time = humantime::format_rfc3339_micros(event.at).to_string();
        let date = &time[..time.find('T').unwrap_or(time.len())];
        if batches.last().is_none_or(|batch| batch.date != date) {
            batches.push(Batch { date: date.to_owned(), lines: Vec::new(), count: 0 });
        }
        let line = Line::new(&self.origin, &time, &event);
        if let Some(batch) = batches.last_mut()
            && serde_json::to_writer(&mut batch.lines, &line).is_ok()
        {
            batch.lines.push(b'\n');
            batch.count += 1;
        }
    }

    /// Tries until the disk takes it: meanwhile the queue fills. At the end of the process it tries once.
    fn write(&mut self, batch: &Batch) {
        let mut failing = false;
        while let Err(error) = self.try_write(batch) {
            if !failing {
                failing = true;
                let directory = self.directory.display().to_string();
                tracing::error!(
                    log_target = directory,
                    error = %error,
                    "audit log cannot be written: events wait, those that do not fit are lost and counted"
                );
            }
            if self.is_closing() {
                self.shared.lost.fetch_add(batch.count, Ordering::Relaxed);
                return;
            }
            std::thread::park_timeout(self.retry_after);
        }
        self.shared.written.fetch_add(batch.count, Ordering::Relaxed);
        if failing {
            tracing::warn!(
                events_lost = self.shared.lost.load(Ordering::Relaxed),
                "audit log is written again"
            );
        }
    }

    fn try_write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut day = match self.open.take() {
            Some(day) if day.date == batch.date => day,
            _ => self.open_day(&batch.date)?,
        };
        let written = day.file.write_all(&batch.lines).and_then(|()| day.file.sync_data());
        if let Err(error) = written {
            // No half line and no line twice: the next try begins where this one did. What cannot be cut off ends
            // with a line that is broken, which the next try closes.
            let _ = day.file.set_len(day.length);
            return Err(error);
        }
        day.length += batch.lines.len() as u64;
        self.open = Some(day);
        Ok(())
    }

    fn open_day(&self, date: &str) -> io::Result<Day> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("audit.{date}.ndjson"));
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        // The lines of a new file whose name is not on the disk would be gone with the power. Not every file system can do it.
        match File::open(&self.directory)?.sync_all() {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        let mut length = file.metadata()?.len();
        if length > 0 {
            // A process that was killed may have left half a line.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                length += 1;
            }
        }
        Ok(Day { date: date.to_owned(), file, length })
    }
}

/// A line, with the names that log lines have.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    name: &'a str,
    msg: &'static str,
    level: u8,
    hostname: &'a str,
    pid: u32,
    time: &'a str,
    boot_id: &'a str,
    seq: u64,
    action: &'static str,
    outcome: &'static str,
    rule: &'a str,
    actor: &'a str,
    #[serde(flatten)]
    request: Option<RequestFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a Value>,
}

#[derive(Serialize)]
struct RequestFields<'a> {
    request_id: &'a str,
    tenant_id: &'a str,
    tenant_tier: &'static str,
    endpoint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_preview: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(origin: &'a Origin, time: &'a str, Numbered { seq, event, .. }: &'a Numbered) -> Self {
        Self {
            v: 0,
            name: &origin.name,
            msg: match event.action {
                Action::Query | Action::Feedback => "access decision",
                Action::ChangeLogPolicy => "log policy changed",
                Action::ChangeFaults => "faults changed",
                Action::Start => "audit log opened",
                Action::Stop => "audit log closed",
            },
            level: LEVEL,
            hostname: &origin.hostname,
            pid: origin.pid,
            time,
            boot_id: &origin.boot_id,
            seq: *seq,
            action: event.action.as_str(),
            outcome: event.outcome.as_str(),
            rule: &event.rule,
            actor: &event.actor,
            request: event.request.as_ref().map(RequestFields::new),
            context: event.context.as_ref(),
        }
    }
}

impl<'a> RequestFields<'a> {
    fn new(request: &'a AuditedRequest) -> Self {
        let (trace_id, span_id) =
            request.trace_and_span.as_ref().map(|(trace, span)| (trace.as_str(), span.as_str())).unzip();
        Self {
            request_id: &request.id,
            tenant_id: &request.tenant.id,
            tenant_tier: request.tenant.tier_name(),
            endpoint: request.endpoint,
            trace_id,
            span_id,
            claimed_tenant_id: request.claimed_tenant_id.as_deref(),
            query_preview: request.query_preview.as_deref(),
        }
    }
}
