//! `logstash/tests/cases`: input lines, and the documents that come of them. One Logstash, with the files as they are, gets
//! all cases; what it writes to is a stand-in that keeps everything and refuses what the index templates forbid.
//!
//! The name of a case says how its lines come: `audit-…` in an audit file, `tcp-…`, `http-…` and `beats-…` over the network,
//! all others in a file of the agent. A file `key` in its folder holds the key of a sender of audit events, a file `name` the name of
//! the file that its lines stand in.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use stack_tests::{
    clients,
    logpath::{
        Document, Program, logstash::Logstash, lumberjack, mapping::Templates, readable, recorder::Recorder,
    },
    wait,
};

use crate::{Check, case_folders, ensure, name, needing, read};

/// The folder of the agent's files, as the expected documents have it.
pub(crate) const LOG_DIR: &str = "/var/log/agent/";
/// The files that the lines stand in: the hour and the day of what has no time of its own.
const AGENT_FILE: &str = "agent.2025-11-24-09.ndjson";
const AUDIT_FILE: &str = "audit.2025-11-24.ndjson";
/// So many that the days of all cases have indices of their own, whenever the cases run.
const EVERY_DAY: [(&str, &str); 2] = [("LOGSTASH_LOG_DAYS", "36500"), ("LOGSTASH_AUDIT_DAYS", "36500")];
/// All cases together, once Logstash runs; dead letters take some seconds of their own.
const LIMIT: Duration = Duration::from_mins(10);
/// Stands in every broken line that is made here: none of it may be in Logstash's own log.
pub(crate) const SECRET: &str = "what-somebody-asked-in-confidence";

pub(crate) fn trials(repository: &Path, logstash: &Result<Program, String>) -> Vec<Trial> {
    let run = Arc::new(Run {
        repository: repository.to_owned(),
        program: logstash.clone(),
        outcome: OnceLock::new(),
    });
    let available = || logstash.clone().map(drop);
    let mut trials = Vec::new();
    for folder in case_folders(repository) {
        let run = run.clone();
        trials.push(needing(format!("cases::{}", name(&folder)), available(), move || run.case(&folder)));
    }
    let own: [(&str, Check<Run>); 4] = [
        ("a_line_of_more_than_a_mebibyte_is_cut_and_kept", Run::huge_lines),
        ("a_line_without_a_time_from_the_network_has_the_time_it_came", Run::no_time_from_the_network),
        ("each_line_is_sent_once", Run::conflicts),
        ("logstash_quotes_no_line_in_its_own_log", Run::own_log),
    ];
    for (name, check) in own {
        let run = run.clone();
        trials.push(needing(format!("cases::{name}"), available(), move || check(&run)));
    }
    trials
}

/// The one run of all cases, begun by whoever asks first.
struct Run {
    repository: PathBuf,
    program: Result<Program, String>,
    outcome: OnceLock<Result<Outcome, String>>,
}

struct Outcome {
    /// The documents by case, in the order of index and id.
    documents: BTreeMap<String, Vec<Document>>,
    conflicts: u64,
    log: String,
}

impl Run {
    fn outcome(&self) -> Result<&Outcome, String> {
        self.outcome
            .get_or_init(|| run(&self.repository, &self.program.clone()?))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn documents(&self, case: &str) -> Result<&[Document], String> {
        Ok(self.outcome()?.documents.get(case).map_or(&[], Vec::as_slice))
    }

    fn case(&self, folder: &Path) -> Result<(), String> {
        let got = self.documents(&name(folder))?;
        judge(folder, got)
    }

    fn huge_lines(&self) -> Result<(), String> {
        let mut sizes: Vec<_> = self
            .documents("generated-huge")?
            .iter()
            .map(|document| {
                let event = &document.source["event"];
                let kept = event["original"]
                    .as_str()
                    .or(document.source["query_preview"].as_str())
                    .map_or(0, str::len);
                (event["original_bytes"].as_u64(), kept, document.source["tags"].clone())
            })
            .collect();
        sizes.sort_by_key(|(bytes, kept, _)| (*bytes, *kept));
        let cut = json!(["_unparsed", "_line_too_long"]);
        let wanted: Vec<_> = huge_lines()
            .iter()
            .map(|line| {
                if line.len() > 1 << 20 {
                    (Some(line.len() as u64), 1 << 20, cut.clone())
                } else {
                    (None, line.len() - huge_line(0).len(), Value::Null)
                }
            })
            .collect();
        ensure(sizes == wanted, || format!("got {sizes:?}, wanted {wanted:?}"))
    }

    fn no_time_from_the_network(&self) -> Result<(), String> {
        let documents = self.documents("generated-network")?;
        let mut indices: Vec<_> = documents.iter().map(|document| document.index.rsplit_once('-')).collect();
        indices.sort_unstable();
        let names: Vec<_> = indices.iter().flatten().map(|(name, _)| *name).collect();
        ensure(names == ["agent-logs", "agent-logs-unparsed"], || format!("{documents:?}"))?;
        let year =
            |document: &Document| document.source["@timestamp"].as_str().unwrap_or_default()[..4].to_owned();
        ensure(documents.iter().all(|document| year(document).as_str() >= "2025"), || {
            format!("{documents:?}")
        })
    }

    /// The case `duplicates` says one line twice, and one that cannot be parsed.
    fn conflicts(&self) -> Result<(), String> {
        let conflicts = self.outcome()?.conflicts;
        ensure(conflicts == 2, || format!("{conflicts} documents were there before, not 2"))
    }

    fn own_log(&self) -> Result<(), String> {
        let log = &self.outcome()?.log;
        ensure(log.contains("Pipeline started"), || "the log is not there".into())?;
        let quoting =
            |line: &&str| line.contains(SECRET) || line.contains("not utf-8 at all") || line.contains("soon");
        let lines: Vec<_> = log.lines().filter(quoting).collect();
        ensure(lines.is_empty(), || lines.join("\n"))
    }
}

fn run(repository: &Path, program: &Program) -> Result<Outcome, String> {
    let folder = tempfile::Builder::new().prefix("cases").tempdir().map_err(|e| e.to_string())?;
    readable(folder.path())?;
    let mut cases = read_cases(repository)?;
    let generated =
        |name: &str, file: &str, lines| Case { name: name.into(), file: file.into(), key: None, lines };
    let lines = huge_lines().join(&b'\n').into_iter().chain(*b"\n").collect();
    cases.push(generated("generated-huge", AGENT_FILE, lines));
    let lines = format!("{{\"msg\":\"{SECRET}\"}}\n{{\"msg\":\"{SECRET}\n").into_bytes();
    cases.push(generated("generated-network", "", lines));

    let mut recorder = Recorder::start(Templates::read(&repository.join("elasticsearch"))?)?;
    for case in cases.iter().filter(|case| case.way() == Way::File) {
        let directory = folder.path().join(&case.name);
        fs::create_dir(&directory).map_err(|e| e.to_string())?;
        readable(&directory)?;
        fs::write(directory.join(&case.file), &case.lines).map_err(|e| e.to_string())?;
    }
    let mut logstash =
        Logstash::start(program, repository, &folder.path().join("*"), &recorder.url(), "any", &EVERY_DAY)?;
    logstash.wait_ready()?;

    let in_files: usize =
        cases.iter().filter(|case| case.way() == Way::File).map(|case| documents_in(&case.lines)).sum();
    arrived(&recorder, in_files, &logstash)?;
    let mut documents = by_case(&recorder, folder.path());
    // One after the other: nothing in a document says which way it came.
    for case in cases.iter().filter(|case| case.way() != Way::File) {
        recorder.clear();
        send(case, &logstash)?;
        arrived(&recorder, documents_in(&case.lines), &logstash)?;
        documents.insert(case.name.clone(), recorder.documents());
    }
    logstash.stop()?;
    recorder.stop();
    Ok(Outcome { documents, conflicts: recorder.conflicts(), log: logstash.log() })
}

/// How a line comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    File,
    Tcp,
    Http,
    Beats,
}

/// Lines, and how they come.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The name of the file that they stand in.
    pub(crate) file: String,
    /// The key of a sender of audit events.
    pub(crate) key: Option<String>,
    pub(crate) lines: Vec<u8>,
}

impl Case {
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let name = name(folder);
        let lines =
            fs::read(folder.join("input.ndjson")).map_err(|e| format!("{}: {e}", folder.display()))?;
        let text = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| text.trim().to_owned());
        let file = if name.starts_with("audit-") { AUDIT_FILE } else { AGENT_FILE };
        let file = text("name").unwrap_or_else(|| file.to_owned());
        Ok(Self { name, file, key: text("key"), lines })
    }

    pub(crate) fn way(&self) -> Way {
        match self.name.split('-').next() {
            Some("tcp" | "generated") if self.name != "generated-huge" => Way::Tcp,
            Some("http") => Way::Http,
            Some("beats") => Way::Beats,
            _ => Way::File,
        }
    }
}

/// The cases of the folder, sorted.
pub(crate) fn read_cases(repository: &Path) -> Result<Vec<Case>, String> {
    case_folders(repository).iter().map(|folder| Case::read(folder)).collect()
}

/// Compares what came of a case with what it expects, or writes it there.
pub(crate) fn judge(folder: &Path, got: &[Document]) -> Result<(), String> {
    let file = folder.join("expected.ndjson");
    if std::env::var("LOGSTASH_CASES").is_ok_and(|value| value == "write") {
        return fs::write(&file, lines_of(got)).map_err(|e| e.to_string());
    }
    let expected = expected(&file)?;
    let has = |documents: &[Document], wanted: &Document| documents.iter().any(|one| same(one, wanted));
    let missing: Vec<_> = expected.iter().filter(|document| !has(got, document)).collect();
    let strange: Vec<_> = got.iter().filter(|document| !has(&expected, document)).collect();
    ensure(missing.is_empty() && strange.is_empty() && got.len() == expected.len(), || {
        let mut report = format!("{} documents, {} expected", got.len(), expected.len());
        for document in missing {
            let _ = write!(report, "\nmissing {}", line_of(document));
        }
        for document in strange {
            let _ = write!(report, "\nnot expected {}", line_of(document));
        }
        report
    })
}

fn same(one: &Document, other: &Document) -> bool {
    one.index == other.index && one.id == other.id && equal(&one.source, &other.source)
}

/// Whether two values are the same JSON, in which `50` and `50.0` are one number.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| equal(one, other)))
        }
        _ => one == other,
    }
}

fn send(case: &Case, logstash: &Logstash) -> Result<(), String> {
    match case.way() {
        Way::File => Ok(()),
        Way::Tcp => {
            let stream = TcpStream::connect(("127.0.0.1", logstash.ports().tcp));
            stream.and_then(|mut stream| stream.write_all(&case.lines)).map_err(|e| format!("tcp: {e}"))
        }
        Way::Http => {
            let url = format!("http://127.0.0.1:{}/", logstash.ports().http);
            let mut request = clients::client().post(url).header("content-type", "application/x-ndjson");
            if let Some(key) = &case.key {
                request = request.header("audit-key", key);
            }
            let answer = clients::send(request.body(case.lines.clone()))?;
            ensure(answer.status == 200, || format!("http: {}: {}", answer.status, answer.text))
        }
        Way::Beats => {
            let text = String::from_utf8_lossy(&case.lines);
            lumberjack::send(
                logstash.ports().beats,
                &text.lines().collect::<Vec<_>>(),
                &beats_fields(case.key.as_deref()),
            )
        }
    }
}

/// What Filebeat is set up to add.
pub(crate) fn beats_fields(key: Option<&str>) -> Value {
    key.map_or(Value::Null, |key| json!({ "audit_key": key }))
}

/// Waits for so many documents, and then for Logstash to have nothing left.
fn arrived(recorder: &Recorder, count: usize, logstash: &Logstash) -> Result<(), String> {
    wait::until("all documents arrive", LIMIT, || {
        let got = recorder.count();
        ensure(got >= count, || format!("{got} of {count} documents"))
    })
    .map_err(|e| format!("{e}\n{}", logstash.last_words()))?;
    wait::until("Logstash has nothing left", LIMIT, || {
        let stats = logstash.stats("pipelines")?;
        for pipeline in ["agent-logs", "dead-letters"] {
            let pipeline = &stats["pipelines"][pipeline];
            let waiting = pipeline["queue"]["events_count"].as_u64();
            ensure(waiting == Some(0), || format!("{waiting:?} events wait"))?;
        }
        Ok::<_, String>(())
    })
}

/// How many documents come of these lines: one of each that is not blank, and one of those that are the same.
fn documents_in(lines: &[u8]) -> usize {
    let lines = lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty()).collect::<std::collections::BTreeSet<_>>().len()
}

fn by_case(recorder: &Recorder, folder: &Path) -> BTreeMap<String, Vec<Document>> {
    let prefix = format!("{}/", folder.display());
    let mut cases = BTreeMap::<String, Vec<Document>>::new();
    for mut document in recorder.documents() {
        let path = document.source["log"]["file"]["path"].as_str().unwrap_or_default().to_owned();
        let (case, file) =
            path.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')).unwrap_or_default();
        document.source["log"]["file"]["path"] = format!("{LOG_DIR}{file}").into();
        cases.entry(case.to_owned()).or_default().push(document);
    }
    cases
}

/// Lines around the limit of a mebibyte, the last beyond what a page of the queue would hold if it were kept whole.
pub(crate) fn huge_lines() -> Vec<Vec<u8>> {
    [300_000, 1_000_000, 1_100_000, 9_000_000].into_iter().map(huge_line).collect()
}

fn huge_line(length: usize) -> Vec<u8> {
    let line = json!({ "v": 0, "msg": SECRET, "level": 30, "time": format!("2025-11-24T09:00:00.{length:09}Z"),
        "query_preview": "x".repeat(length) });
    line.to_string().into_bytes()
}

fn expected(file: &Path) -> Result<Vec<Document>, String> {
    let mut documents = read_expected(file)?;
    documents.sort_by(|a, b| (&a.index, &a.id).cmp(&(&b.index, &b.id)));
    Ok(documents)
}

/// The documents that a case expects.
pub(crate) fn read_expected(file: &Path) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for (line, number) in read(file)?.lines().zip(1..) {
        let at = || format!("{}:{number}", file.display());
        let document: Value = serde_json::from_str(line).map_err(|e| format!("{}: {e}", at()))?;
        let text =
            |name: &str| document[name].as_str().map(str::to_owned).ok_or(format!("{}: no {name}", at()));
        documents.push(Document {
            index: text("_index")?,
            id: text("_id")?,
            source: document["_source"].clone(),
        });
    }
    Ok(documents)
}

fn line_of(document: &Document) -> String {
    let Document { index, id, source } = document;
    json!({ "_index": index, "_id": id, "_source": source }).to_string()
}

/// In the order of their time, so that a case reads like its input.
fn lines_of(documents: &[Document]) -> String {
    let mut documents: Vec<_> = documents.iter().collect();
    documents.sort_by_key(|document| document.source["@timestamp"].as_str().unwrap_or_default().to_owned());
    documents.iter().map(|document| line_of(document) + "\n").collect()
}
