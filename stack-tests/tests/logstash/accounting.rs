//! No line is lost and none is doubled: lines written = indexed + audit + unparsed + dead, to the line, while Logstash is
//! killed, what it writes to is away, files are rotated and deleted, and the lines themselves are broken in every way: nested, long,
//! of more days than Elasticsearch opens indices, two on one line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use libtest_mimic::Trial;
use regex::Regex;
use serde_json::{Value, json};
use stack_tests::{
    logpath::{
        Document, Program, elasticsearch::Elasticsearch, logstash::Logstash, mapping::Templates, readable,
        recorder::Recorder,
    },
    wait,
};

use crate::{ensure, needing};

/// For any one step of it.
const LIMIT: Duration = Duration::from_mins(10);
/// Lines of each hour's file, of which every twelfth is broken.
const LINES_AN_HOUR: usize = 1200;
/// What waits after an outage: so many lines, each of so many bytes.
const LONG_LINES: (usize, usize) = (3000, 200_000);
/// More days than Elasticsearch's nodes take shards.
const DAYS: usize = 1200;
/// Days of what Elasticsearch keeps, months, and what else there is.
const MOST_INDICES: usize = 80;

pub(crate) fn trials(repository: &Path, logstash: &Result<Program, String>) -> Vec<Trial> {
    let (with_recorder, with_elasticsearch) = (repository.to_owned(), repository.to_owned());
    let (program, programs) = (logstash.clone(), logstash.clone());
    let wanted = std::env::var("LOGSTASH_ACCOUNTING").is_ok_and(|value| value == "1");
    let wanted = if wanted { Ok(()) } else { Err("it takes minutes: make test-logstash runs it".to_owned()) };
    let there = logstash.clone().and(wanted);
    let node = there.clone().and_then(|()| Elasticsearch::find(repository));
    vec![
        needing("accounting::holds_with_a_recorder".into(), there, move || {
            let recorder = Recorder::start(Templates::read(&with_recorder.join("elasticsearch"))?)?;
            account(&with_recorder, &program?, Store::Recorder(recorder))
        }),
        needing("accounting::holds_with_a_real_elasticsearch".into(), node, move || {
            let elasticsearch = Elasticsearch::start(&with_elasticsearch)?;
            account(&with_elasticsearch, &programs?, Store::Elasticsearch(elasticsearch))
        }),
    ]
}

/// What Logstash writes to.
enum Store {
    Recorder(Recorder),
    Elasticsearch(Elasticsearch),
}

impl Store {
    fn url(&self) -> String {
        match self {
            Self::Recorder(recorder) => recorder.url(),
            Self::Elasticsearch(elasticsearch) => elasticsearch.url(),
        }
    }

    fn password(&self) -> Result<String, String> {
        match self {
            Self::Recorder(_) => Ok("any".into()),
            Self::Elasticsearch(elasticsearch) => elasticsearch.secret("logstash_elasticsearch_password"),
        }
    }

    fn count(&self) -> Result<usize, String> {
        match self {
            Self::Recorder(recorder) => Ok(recorder.count()),
            Self::Elasticsearch(elasticsearch) => elasticsearch.searchable().map(|count| count as usize),
        }
    }

    fn stop(&mut self) -> Result<(), String> {
        match self {
            Self::Recorder(recorder) => {
                recorder.stop();
                Ok(())
            }
            Self::Elasticsearch(elasticsearch) => elasticsearch.stop(),
        }
    }

    fn resume(&mut self) -> Result<(), String> {
        match self {
            Self::Recorder(recorder) => recorder.resume(),
            Self::Elasticsearch(elasticsearch) => elasticsearch.resume(),
        }
    }

    fn documents(&self) -> Result<Vec<Document>, String> {
        match self {
            Self::Recorder(recorder) => Ok(recorder.documents()),
            Self::Elasticsearch(elasticsearch) => elasticsearch.documents(),
        }
    }

    fn wait_for(&self, count: usize) -> Result<(), String> {
        wait::until(&format!("{count} documents"), LIMIT, || {
            let got = self.count()?;
            ensure(got >= count, || format!("{got} documents"))
        })
    }
}

fn account(repository: &Path, program: &Program, mut store: Store) -> Result<(), String> {
    let folder = tempfile::Builder::new().prefix("logs").tempdir().map_err(|e| e.to_string())?;
    readable(folder.path())?;
    let mut agent = Agent { folder: folder.path().to_owned(), expected: BTreeMap::new() };
    let mut logstash =
        Logstash::start(program, repository, folder.path(), &store.url(), &store.password()?, &[])?;
    logstash.wait_ready()?;
    let mut run = || -> Result<(), String> {
        // Killed in the middle of a file; the next one is begun and written while nobody reads.
        agent.hour(0)?;
        store.wait_for(LINES_AN_HOUR / 4)?;
        logstash.kill()?;
        agent.hour(1)?;
        logstash.restart(repository)?;
        store.wait_for(LINES_AN_HOUR + LINES_AN_HOUR / 2)?;
        // What it writes to is away; it reads on, into its queue, and is killed on top of it.
        store.stop()?;
        agent.hour(2)?;
        wait::until("events wait in the queue", LIMIT, || {
            let stats = logstash.stats("pipelines/agent-logs")?;
            let waiting = stats["pipelines"]["agent-logs"]["queue"]["events_count"].as_u64();
            ensure(waiting > Some(LINES_AN_HOUR as u64 / 2), || format!("{waiting:?}"))
        })?;
        logstash.kill()?;
        store.resume()?;
        logstash.restart(repository)?;
        store.wait_for(agent.expected.len())?;
        // The oldest files go, and others come at the same moment: they may get the same inodes.
        agent.delete(0)?;
        agent.hour(3)?;
        agent.delete(1)?;
        agent.hour(4)?;
        // An end in order is no fault, but may be in the middle of something.
        store.wait_for(4 * LINES_AN_HOUR)?;
        logstash.stop()?;
        agent.hour(5)?;
        logstash.restart(repository)?;
        store.wait_for(agent.expected.len())?;
        agent.days()?;
        store.wait_for(agent.expected.len())?;
        // Long lines fill the queue while it is away, and come out of it at once.
        store.stop()?;
        agent.long_lines()?;
        wait::until("long lines wait in the queue", LIMIT, || {
            let stats = logstash.stats("pipelines/agent-logs")?;
            let waiting = stats["pipelines"]["agent-logs"]["queue"]["queue_size_in_bytes"].as_u64();
            ensure(waiting > Some(400 << 20), || format!("{waiting:?} bytes"))
        })?;
        store.resume()?;
        store.wait_for(agent.expected.len())
    };
    run().map_err(|e| format!("{e}\n{}", logstash.last_words()))?;
    // Whatever else it has is written at its end.
    logstash.stop()?;
    let documents = store.documents()?;
    agent.compare(&documents)?;
    let indices: BTreeSet<_> = documents.iter().map(|document| &document.index).collect();
    ensure(indices.len() <= MOST_INDICES, || format!("{} indices: {indices:?}", indices.len()))?;
    ensure(!logstash.log().contains(QUESTION), || "Logstash's own log quotes a question".into())
}

/// Stands in every line.
const QUESTION: &str = "what-somebody-asked-in-confidence";

/// Where a line must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Indexed,
    Audit,
    Unparsed,
    Dead,
}

impl End {
    fn of(index: &str) -> Self {
        match index {
            _ if index.contains("-unparsed-") => Self::Unparsed,
            _ if index.contains("-dead-") => Self::Dead,
            _ if index.starts_with("agent-audit-") => Self::Audit,
            _ => Self::Indexed,
        }
    }
}

/// Writes files as the agent does, and knows what must come of each line.
struct Agent {
    folder: PathBuf,
    /// By the number that is in the line.
    expected: BTreeMap<String, End>,
}

impl Agent {
    /// An hour's lines, and what it adds to the day's audit file.
    fn hour(&mut self, hour: usize) -> Result<(), String> {
        let mut lines = append(&self.file(hour))?;
        let mut audit = append(&self.folder.join("audit.2025-11-24.ndjson"))?;
        for number in 0..LINES_AN_HOUR {
            let id = format!("U{:07}Z", hour * LINES_AN_HOUR + number);
            let time =
                format!("2025-11-24T{hour:02}:{:02}:{:02}.{number:09}Z", number / 60 % 60, number % 60);
            let mut line = json!({ "v": 0, "name": "example-agent", "msg": "request started", "level": 30,
                "hostname": "agent-1", "pid": 7, "time": time, "request_id": id, "query_preview": QUESTION });
            let (text, end, file) = match number % 12 {
                5 => {
                    line["msg"] = "access decision".into();
                    line["actor"] = "somebody".into();
                    (line.to_string().into_bytes(), End::Audit, &mut audit)
                }
                11 => {
                    let (text, end) = broken(number / 12 + hour, line, &id);
                    (text, end, &mut lines)
                }
                _ => (line.to_string().into_bytes(), End::Indexed, &mut lines),
            };
            self.expected.insert(id, end);
            let text = [text.as_slice(), b"\n"].concat();
            file.write_all(&text).map_err(|e| e.to_string())?;
            // Not all at once: the reader is to be in the middle of it.
            if number % 50 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Lines of a day each, up to tomorrow.
    fn days(&mut self) -> Result<(), String> {
        let mut lines = append(&self.file(6))?;
        for number in 0..DAYS {
            let id = format!("U{:07}Z", 1_000_000 + number);
            let time = SystemTime::now() - Duration::from_hours(24 * number as u64);
            let line = json!({ "v": 0, "msg": "a day", "level": 30, "request_id": id, "query_preview": QUESTION,
                "time": humantime::format_rfc3339_millis(time).to_string() });
            writeln!(lines, "{line}").map_err(|e| e.to_string())?;
            self.expected.insert(id, End::Indexed);
        }
        Ok(())
    }

    fn long_lines(&mut self) -> Result<(), String> {
        let mut lines = BufWriter::new(append(&self.file(7))?);
        let text = format!("\"{}\"", "x".repeat(LONG_LINES.1));
        // As a document it would take fifty times as much.
        let dense = format!("[{}[]]", "[],".repeat(LONG_LINES.1 / 3));
        for number in 0..LONG_LINES.0 {
            let id = format!("U{:07}Z", 2_000_000 + number);
            let (text, end) = if number % 4 == 0 { (&dense, End::Unparsed) } else { (&text, End::Indexed) };
            writeln!(
                lines,
                r#"{{"v":0,"msg":"long","level":30,"time":"2025-11-24T07:00:00.{number:09}Z","request_id":"{id}","error_stack":{text}}}"#
            )
            .map_err(|e| e.to_string())?;
            self.expected.insert(id, end);
        }
        lines.flush().map_err(|e| e.to_string())
    }

    fn delete(&self, hour: usize) -> Result<(), String> {
        fs::remove_file(self.file(hour)).map_err(|e| e.to_string())
    }

    fn file(&self, hour: usize) -> PathBuf {
        self.folder.join(format!("agent.2025-11-24-{hour:02}.ndjson"))
    }

    fn compare(&self, documents: &[Document]) -> Result<(), String> {
        let number = Regex::new("U[0-9]{7}Z").expect("a constant pattern");
        let mut found = BTreeMap::<String, Vec<End>>::new();
        let mut strangers = 0;
        for document in documents {
            match number.find(&document.source.to_string()) {
                Some(id) => found.entry(id.as_str().to_owned()).or_default().push(End::of(&document.index)),
                None => strangers += 1,
            }
        }
        let missing: Vec<_> = self.expected.keys().filter(|id| !found.contains_key(*id)).collect();
        let doubled: Vec<_> = found.iter().filter(|(_, ends)| ends.len() > 1).collect();
        let astray: Vec<_> = self
            .expected
            .iter()
            .filter_map(|(id, end)| found.get(id).filter(|ends| ends[0] != *end).map(|ends| (id, end, ends)))
            .collect();
        let mut ends = BTreeMap::<End, usize>::new();
        for end in found.values().flatten() {
            *ends.entry(*end).or_default() += 1;
        }
        let holds = missing.is_empty() && doubled.is_empty() && astray.is_empty() && strangers == 0;
        ensure(holds && documents.len() == self.expected.len(), || {
            format!(
                "{} lines, {} documents: {ends:?}, {strangers} without a number\n{} missing: {:?}\n{} doubled: {:?}\n{} elsewhere: {:?}",
                self.expected.len(),
                documents.len(),
                missing.len(),
                &missing[..missing.len().min(10)],
                doubled.len(),
                &doubled[..doubled.len().min(10)],
                astray.len(),
                &astray[..astray.len().min(10)],
            )
        })
    }
}

fn append(path: &Path) -> Result<File, String> {
    File::options().create(true).append(true).open(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// A line that is broken in one of many ways, and where it must end.
fn broken(kind: usize, mut line: Value, id: &str) -> (Vec<u8>, End) {
    let with = |mut line: Value, name: &str, value: Value| {
        line[name] = value;
        line.to_string().into_bytes()
    };
    let nested = (0..40).fold(json!(1), |inner, _| json!({ "n": inner }));
    // As text: a reader of JSON in Rust goes no deeper than 128 levels.
    let deep = |open: &str, close: &str, levels: usize| {
        let text = line.to_string();
        format!("{},\"zzz\":{}1{}}}", &text[..text.len() - 1], open.repeat(levels), close.repeat(levels))
            .into_bytes()
    };
    match kind % 23 {
        0 => {
            let text = format!("{{\"request_id\":\"{id}\",{}", &line.to_string()[1..60]);
            (text.into_bytes(), End::Unparsed)
        }
        1 => (format!("thread 'main' panicked at src/x.rs:1: {id} {QUESTION}").into_bytes(), End::Unparsed),
        2 => (json!([id, QUESTION]).to_string().into_bytes(), End::Unparsed),
        3 => {
            let text = line.to_string().into_bytes();
            ([&text[..text.len() - 1], b",\"raw\":\"caf\xe9 \xff\"}"].concat(), End::Unparsed)
        }
        4 => (with(line, "duration_seconds", json!("fast")), End::Dead),
        5 => (with(line, "cost_usd", json!({ "usd": 1 })), End::Dead),
        6 => (with(line, "cached", json!("maybe")), End::Dead),
        7 => (with(line, "pid", json!("seven")), End::Dead),
        8 => (with(line, "context", nested), End::Dead),
        9 => (with(line, "tenant_id", json!({ "id": QUESTION })), End::Dead),
        10 => (with(line, "time", Value::Null), End::Indexed),
        11 => (with(line, "time", json!("9999-01-01T00:00:00Z")), End::Indexed),
        12 => {
            for name in ["error", "log", "event", "tags", "@timestamp", "trace", "[a][b", "a.b"] {
                line[name] = json!({ "type": 5 });
            }
            (line.to_string().into_bytes(), End::Indexed)
        }
        13 => (with(line, "level", json!("loud")), End::Indexed),
        14 => (with(line, "query_preview", json!("\u{0}\u{2028} \u{2603} \u{1F600}\t")), End::Indexed),
        // Windows' end of a line; and a blank one after it, which nobody misses.
        15 => ([line.to_string().as_bytes(), b"\r\n  \r"].concat(), End::Indexed),
        16 => (with(line, "error_message", json!("x".repeat(300_000))), End::Indexed),
        17 if kind % 69 == 17 => (with(line, "zzz", json!("x".repeat(9_000_000))), End::Unparsed),
        17 => (with(line, "zzz", json!("x".repeat(1_200_000))), End::Unparsed),
        18 => (deep(r#"{"n":"#, "}", 300), End::Unparsed),
        19 => (deep("[", "]", 450), End::Unparsed),
        20 => (deep(r#"{"n":["#, "]}", 250 + kind % 500), End::Unparsed),
        21 => (with(line, "time", json!(format!("2025-11-24{}!", " ".repeat(200_000)))), End::Indexed),
        _ => ([line.to_string(), line.to_string()].concat().into_bytes(), End::Unparsed),
    }
}
