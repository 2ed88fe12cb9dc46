//! The audit log: who asked what, and what became of it. Never sampled, numbered without gaps, and on the disk within
//! about a tenth of a second; yet nobody waits for it. What does not fit its queue is lost, counted, and leaves a gap.
use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::audit_file::{AuditFile, Origin};
use crate::{settings::Settings, tenants::Tenant};

/// Events that may wait for the disk: at about 0.5 KiB each.
pub(super) const QUEUE_EVENTS: usize = 16_384;
/// How long a disk that refuses is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What was done, or tried. The names are the values of the `action` label of `agent_audit_events_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A question was asked.
    Query,
    /// An answer was rated.
    Feedback,
    /// Which lines are written was changed.
    ChangeLogPolicy,
    /// What goes wrong on purpose was changed.
    ChangeFaults,
    /// The process started: the first event of each.
    Start,
    /// The process ended in order: the last event. Where it is missing, the last events may be too.
    Stop,
}

impl Action {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 6] =
        [Self::Query, Self::Feedback, Self::ChangeLogPolicy, Self::ChangeFaults, Self::Start, Self::Stop];

    /// The name in the file and the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Feedback => "feedback",
            Self::ChangeLogPolicy => "change_log_policy",
            Self::ChangeFaults => "change_faults",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// It was refused.
    Denied,
    /// It was allowed, but could not be done.
    Failed,
}

impl Outcome {
    /// The name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// One line of the audit log.
#[derive(Debug)]
pub struct AuditEvent {
    /// What was done.
    pub action: Action,
    /// What became of it.
    pub outcome: Outcome,
    /// The rule that decided, or the type of the error.
    pub rule: Cow<'static, str>,
    /// On whose behalf, as far as the caller says.
    pub actor: String,
    /// The request, where it was one.
    pub request: Option<AuditedRequest>,
    /// What else there is to say, as a JSON object.
    pub context: Option<Value>,
}

/// The request behind an event.
#[derive(Debug)]
pub struct AuditedRequest {
    /// Its id.
    pub id: String,
    /// Its trace and span, where there is a tracer.
    pub trace_and_span: Option<(String, String)>,
    /// Its route.
    pub endpoint: &'static str,
    /// The tenant, or the stand-in for who is none.
    pub tenant: Arc<Tenant>,
    /// The tenant it claimed to be, where there is no such tenant; shortened.
    pub claimed_tenant_id: Option<String>,
    /// The start of its question.
    pub query_preview: Option<String>,
}

/// An event on its way to the file.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) seq: u64,
    pub(super) at: SystemTime,
    pub(super) event: AuditEvent,
}

/// What the callers and the file's thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    seq: AtomicU64,
    by_action: [AtomicU64; Action::ALL.len()],
    pub(super) lost: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) closing: AtomicBool,
}

/// The way into the audit log. Without a directory for it events are counted, and go nowhere.
#[derive(Clone, Debug, Default)]
pub struct AuditLog {
    shared: Arc<Shared>,
    writer: Option<Writer>,
}

#[derive(Clone, Debug)]
struct Writer {
    /// `None` wakes the thread.
    queue: SyncSender<Option<Box<Numbered>>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl AuditLog {
    /// Starts the thread that writes files into the log directory, if there is one.
    pub(super) fn start(settings: &Settings) -> std::io::Result<Self> {
        let Some(directory) = &settings.log_dir else { return Ok(Self::default()) };
        let shared = Arc::<Shared>::default();
        let origin = Origin::of_this_process(&settings.service_name);
        let file = AuditFile::new(directory.clone(), origin, RETRY_AFTER, shared.clone());
        Self::with(file, shared, QUEUE_EVENTS)
    }

    fn with(file: AuditFile, shared: Arc<Shared>, queue_events: usize) -> std::io::Result<Self> {
        let (queue, events) = sync_channel(queue_events);
        let thread =
            std::thread::Builder::new().name("audit-writer".to_owned()).spawn(move || file.run(&events))?;
        let writer = Writer { queue, thread: Arc::new(Mutex::new(Some(thread))) };
        let log = Self { shared, writer: Some(writer) };
        log.lifecycle(Action::Start);
        Ok(log)
    }

    /// Numbers an event and sends it to the file. Never waits.
    pub fn record(&self, event: AuditEvent) {
        self.record_with(event.action, || event);
    }

    /// The same for an event that takes some work, which is not done where no audit log is written.
    pub fn record_with(&self, action: Action, event: impl FnOnce() -> AuditEvent) {
        self.shared.by_action[action as usize].fetch_add(1, Ordering::Relaxed);
        let Some(writer) = &self.writer else { return };
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed) + 1;
        // The number is taken first: an event that is lost leaves a gap.
        let event = Numbered { seq, at: SystemTime::now(), event: event() };
        if writer.queue.try_send(Some(Box::new(event))).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events so far, lost ones too.
    pub fn recorded(&self, action: Action) -> u64 {
        self.shared.by_action[action as usize].load(Ordering::Relaxed)
    }

    /// Events that are in a file.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Events that are in no file.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends the thread. May take as long as the disk takes.
    pub fn close(&self) {
        let Some(writer) = &self.writer else { return };
        let thread = writer.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        self.lifecycle(Action::Stop);
        self.shared.closing.store(true, Ordering::Release);
        // A full queue needs no wake-up.
        let _ = writer.queue.try_send(None);
        thread.thread().unpark();
        let _ = thread.join();
    }

    fn lifecycle(&self, action: Action) {
        self.record(AuditEvent {
            action,
            outcome: Outcome::Allowed,
            rule: "lifecycle".into(),
            actor: env!("CARGO_PKG_NAME").to_owned(),
            request: None,
            context: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn log(directory: &Path, queue_events: usize) -> AuditLog {
        let shared = Arc::<Shared>::default();
        let origin = Origin::of_this_process("test");
        let file = AuditFile::new(directory.to_owned(), origin, Duration::from_millis(10), shared.clone());
        AuditLog::with(file, shared, queue_events).unwrap()
    }

    fn query(log: &AuditLog) {
        log.record(AuditEvent {
            action: Action::Query,
            outcome: Outcome::Allowed,
            rule: "tenant_registered".into(),
            actor: "somebody".to_owned(),
            request: None,
            context: None,
        });
    }

    fn lines(directory: &Path) -> Vec<Value> {
        let mut files: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<String>();
        texts
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    fn numbers(lines: &[Value]) -> Vec<u64> {
        let mut numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn events_from_many_threads_are_all_in_the_file_with_one_number_each() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path(), 10_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| query(&log)));
            }
        });
        log.close();
        let lines = lines(directory.path());
        assert_eq!(numbers(&lines), (1..=4002).collect::<Vec<_>>());
        assert_eq!((&lines[0]["action"], &lines[4001]["action"]), (&"start".into(), &"stop".into()));
        assert_eq!((log.recorded(Action::Query), log.lost()), (4000, 0));
    }

    #[test]
    fn a_disk_that_refuses_costs_what_the_queue_cannot_hold_and_the_gap_is_what_was_lost() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("logs");
        std::fs::write(&directory, "in the way").unwrap();
        let log = log(&directory, 10);
        // Until some are lost: the thread may be slow to take the first.
        while log.lost() < 100 {
            query(&log);
        }
        std::fs::remove_file(&directory).unwrap();
        log.close();
        let (lines, lost) = (lines(&directory), log.lost());
        let numbers = numbers(&lines);
        let missing = log.recorded(Action::Query) + 2 - numbers.len() as u64;
        assert_eq!(missing, lost, "all that is not there was counted");
        assert!(lines.iter().all(|line| line["boot_id"] == lines[0]["boot_id"]));
    }

    /// The null device takes what is written, but cannot say that it is on a disk.
    #[test]
    fn what_is_written_but_not_on_the_disk_is_not_counted_as_written() {
        let directory = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::now();
        for time in [now, now + Duration::from_hours(24)] {
            let date = &humantime::format_rfc3339_seconds(time).to_string()[..10];
            let file = directory.path().join(format!("audit.{date}.ndjson"));
            std::os::unix::fs::symlink("/dev/null", file).unwrap();
        }
        let log = log(directory.path(), 10);
        query(&log);
        log.close();
        assert_eq!((log.written(), log.lost()), (0, 3));
    }

    #[test]
    fn a_disk_that_refuses_to_the_end_loses_all_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = log(file.path(), 10);
        query(&log);
        log.close();
        assert_eq!(log.lost(), 3);
    }
}
