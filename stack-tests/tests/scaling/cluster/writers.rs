//! Writers of lines, audit events and spans, as the users that the kit gives Logstash and Jaeger. Each has a batch brought home before it
//! begins the next, through whichever node answers, as those do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stack_tests::wait;

use super::nodes::{NODES, Nodes, PATIENCE};

const BATCH: usize = 10;
/// A writer's pace: two cores have other things to do as well.
const PACE: Duration = Duration::from_millis(100);

/// What is written, and who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    pub(super) index: &'static str,
    pub(super) reader: &'static str,
    writer: &'static str,
}

const STREAMS: [Stream; 3] = [
    Stream { index: "agent-logs-2026.01.02", reader: "agent_logs_reader", writer: "agent_logs_writer" },
    Stream { index: "agent-audit-2026.01.02", reader: "agent_audit_reader", writer: "agent_logs_writer" },
    Stream { index: "agent-kit-jaeger-span-2026-01-02", reader: "jaeger_storage", writer: "jaeger_storage" },
];

impl Stream {
    /// As Logstash or Jaeger has it, with the fields that are searched by.
    fn document(self, id: &str) -> Value {
        let time = "2026-01-02T03:04:05.678Z";
        match self.index.split('-').nth(1) {
            Some("logs") => {
                json!({"@timestamp": time, "message": "request completed", "log": {"level": "INFO"},
                "request_id": id, "tenant_id": "acme", "status": "success", "duration_seconds": 0.5})
            }
            Some("audit") => json!({"@timestamp": time, "message": "request answered", "action": "query",
                "request_id": id, "tenant_id": "acme", "outcome": "success"}),
            _ => json!({"traceID": id, "spanID": id, "operationName": "process_request", "flags": 1,
                "startTimeMillis": 1_767_323_045_678_u64, "duration": 500_000,
                "process": {"serviceName": "example-agent", "tags": []}, "tags": [], "logs": []}),
        }
    }
}

/// What has become of one stream so far.
#[derive(Default)]
struct Progress {
    /// In the order of their acknowledgement.
    acknowledged: Vec<String>,
    /// How often a node has not taken a batch, and what it said last.
    refused: BTreeMap<&'static str, (usize, String)>,
    last: Option<Instant>,
    longest_pause: Duration,
}

impl Progress {
    fn acknowledge(&mut self, ids: &BTreeSet<String>) {
        if ids.is_empty() {
            return;
        }
        self.acknowledged.extend(ids.iter().cloned());
        self.longest_pause = self.longest_pause.max(self.last.map(|last| last.elapsed()).unwrap_or_default());
        self.last = Some(Instant::now());
    }

    fn refuse(&mut self, node: &'static str, why: String) {
        let (count, last) = self.refused.entry(node).or_default();
        *count += 1;
        *last = why;
    }

    fn refused_by(&self, node: &str) -> usize {
        self.refused.get(node).map_or(0, |(count, _)| *count)
    }
}

/// A thread for each stream; they end with this.
pub(super) struct Writers {
    nodes: Nodes,
    streams: Vec<(Stream, Arc<Mutex<Progress>>)>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Writers {
    pub(super) fn start(nodes: &Nodes) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let streams = STREAMS.map(|stream| (stream, Arc::new(Mutex::new(Progress::default()))));
        let begin = |(stream, progress): &(Stream, Arc<Mutex<Progress>>)| {
            let (stream, progress, nodes, stop) = (*stream, progress.clone(), nodes.clone(), stop.clone());
            thread::spawn(move || write(stream, &nodes, &progress, &stop))
        };
        let threads = streams.iter().map(begin).collect();
        Self { nodes: nodes.clone(), streams: streams.into(), threads, stop }
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = &'static str> {
        self.streams.iter().map(|(stream, _)| stream.index)
    }

    /// How many documents of each stream are acknowledged.
    pub(super) fn acknowledged(&self) -> Vec<usize> {
        self.streams.iter().map(|(_, progress)| lock(progress).acknowledged.len()).collect()
    }

    /// Waits until each writer has brought home so many batches more.
    pub(super) fn go_on(&self, batches: usize) -> Result<(), String> {
        for (stream, progress) in &self.streams {
            let wanted = lock(progress).acknowledged.len() + batches * BATCH;
            wait::until(&format!("{} is written on", stream.index), PATIENCE, || {
                let progress = lock(progress);
                let now = progress.acknowledged.len();
                if now >= wanted {
                    Ok(())
                } else {
                    Err(format!("{now} of {wanted} documents; refusals: {:?}", progress.refused))
                }
            })?;
        }
        Ok(())
    }

    /// Waits until this node has refused each writer so many times more, or left it without an answer.
    pub(super) fn are_refused(&self, node: &str, times: usize) -> Result<(), String> {
        let before: Vec<_> =
            self.streams.iter().map(|(_, progress)| lock(progress).refused_by(node)).collect();
        for ((stream, progress), before) in self.streams.iter().zip(before) {
            wait::until(&format!("{node} refuses {}", stream.index), PATIENCE, || {
                let now = lock(progress).refused_by(node) - before;
                if now >= times { Ok(()) } else { Err(format!("{now} refusals")) }
            })?;
        }
        Ok(())
    }

    /// That the document of each stream that was acknowledged last is given out by this node.
    pub(super) fn read_back(&self, node: &str) -> Result<(), String> {
        for (stream, progress) in &self.streams {
            let last = lock(progress).acknowledged.last().cloned().ok_or("nothing was acknowledged")?;
            let request = format!("GET /{}/_doc/{last}", stream.index);
            wait::until(&format!("{last} is read"), PATIENCE, || {
                self.nodes.get(node, stream.reader, &request, None)
            })?;
        }
        Ok(())
    }

    pub(super) fn forget_pauses(&self) {
        for (_, progress) in &self.streams {
            lock(progress).longest_pause = Duration::ZERO;
        }
    }

    /// The longest time between two acknowledgements of one stream since pauses were forgotten.
    pub(super) fn longest_pause(&self) -> Duration {
        let pauses = self.streams.iter().map(|(_, progress)| lock(progress).longest_pause);
        pauses.max().unwrap_or_default()
    }

    /// Ends the writers: what was acknowledged of each stream.
    pub(super) fn stop(mut self) -> Result<Vec<(Stream, Vec<String>)>, String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| "a writer panicked")?;
        }
        let of = |(stream, progress): &(Stream, Arc<Mutex<Progress>>)| {
            (*stream, std::mem::take(&mut lock(progress).acknowledged))
        };
        Ok(self.streams.iter().map(of).collect())
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(stream: Stream, nodes: &Nodes, progress: &Mutex<Progress>, stop: &AtomicBool) {
    let mut turn = NODES.into_iter().cycle();
    let mut written = 0;
    let mut waiting = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        if waiting.is_empty() {
            waiting = (written..written + BATCH).map(|number| format!("{number:016x}")).collect();
            written += BATCH;
        }
        let node = turn.next().unwrap_or(NODES[0]);
        match send(stream, nodes, node, &waiting) {
            Ok((done, rest)) => {
                waiting.retain(|id| !done.contains(id));
                lock(progress).acknowledge(&done);
                if let Some(why) = rest {
                    lock(progress).refuse(node, why);
                }
            }
            Err(why) => lock(progress).refuse(node, why),
        }
        thread::sleep(PACE);
    }
}

/// Those documents of a batch that are acknowledged, and why others are not.
fn send(
    stream: Stream,
    nodes: &Nodes,
    node: &str,
    ids: &BTreeSet<String>,
) -> Result<(BTreeSet<String>, Option<String>), String> {
    let document = |id: &String| format!("{}\n{}\n", json!({"create": {"_id": id}}), stream.document(id));
    let body: String = ids.iter().map(document).collect();
    let request = format!("POST /{}/_bulk?timeout=2s", stream.index);
    let answer = nodes.ask(node, stream.writer, &request, Some(body))?;
    if answer.status != 200 {
        return Err(format!("{}: {:.200}", answer.status, answer.text));
    }
    let answer = answer.json()?;
    let mut done = BTreeSet::new();
    let mut rest = None;
    for item in answer["items"].as_array().into_iter().flatten() {
        let item = &item["create"];
        // A conflict: it was written the last time, when nobody got an answer. To Logstash too it is done then.
        match (item["status"].as_u64(), item["_id"].as_str()) {
            (Some(201 | 409), Some(id)) => drop(done.insert(id.to_owned())),
            _ => rest = Some(item.to_string()),
        }
    }
    Ok((done, rest))
}
