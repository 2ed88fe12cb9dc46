//! The cases of `logstash/tests/cases` through the scripts of the pipelines alone, run by a `JRuby`, and what has to hold for more lines
//! than a case can list. A document that does not fit the index templates comes to the script for dead letters, as Elasticsearch and the
//! dead letter queue would have it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use stack_tests::logpath::{
    Document, Program,
    jruby::{Jruby, Parameters},
    mapping::Templates,
    recorder::refusal,
};

use crate::{
    Check, case_folders,
    cases::{Case, LOG_DIR, Way, beats_fields, huge_lines, judge, read_cases},
    ensure, name, needing,
};

/// So many that the days of all cases have indices of their own, whenever the cases run.
const EVERY_DAY: Parameters = Parameters { log_days: 36_500, audit_days: 36_500, set_aside: "" };
/// As in `agent-logs.conf`.
const KEPT: Parameters = Parameters { log_days: 14, audit_days: 365, set_aside: "" };
/// Its bound, in `bunyan.rb`.
const DEPTH: usize = 50;
/// Bounds of a line in `bunyan.rb`: objects and lists, and commas.
const CONTAINERS: usize = 1000;
const COMMAS: usize = 5000;
/// Between the seconds that these lines take on a slow machine and the hour that they take where a pattern goes back.
const FAR_LESS_THAN_AN_HOUR: Duration = Duration::from_mins(10);

pub(crate) fn trials(repository: &Path, logstash: &Result<Program, String>) -> Vec<Trial> {
    // A whole Logstash runs the same scripts.
    let jruby = if logstash.is_ok() { Err("a Logstash runs them".to_owned()) } else { Jruby::find() };
    let available = || jruby.clone().map(drop);
    let run =
        Arc::new(Run { repository: repository.to_owned(), jruby: jruby.clone(), documents: OnceLock::new() });
    let mut trials = Vec::new();
    for folder in case_folders(repository) {
        let run = run.clone();
        let case = format!("mapping::{}", name(&folder));
        trials.push(needing(case, available(), move || judge(&folder, run.documents(&name(&folder))?)));
    }
    let own: [(&str, Check<Run>); 8] = [
        ("what_is_nested_deeper_than_the_bound_is_kept_as_text", nesting),
        ("what_holds_more_values_than_the_bound_is_kept_as_text", many_values),
        ("no_line_takes_longer_than_the_others", slow_patterns),
        ("days_outside_of_what_is_kept_open_no_index_of_their_own", days),
        ("lines_of_more_than_a_mebibyte_are_cut_and_kept", huge),
        ("what_is_set_aside_is_kept_as_text", set_aside),
        ("only_known_senders_make_audit_events", audit_senders),
        ("a_time_that_a_client_says_opens_no_index_of_its_own", clients_times),
    ];
    for (name, check) in own {
        let run = run.clone();
        trials.push(needing(format!("mapping::{name}"), available(), move || check(&run)));
    }
    trials
}

/// One start of `JRuby` for all cases, begun by the first of them.
struct Run {
    repository: PathBuf,
    jruby: Result<Jruby, String>,
    documents: OnceLock<Result<BTreeMap<String, Vec<Document>>, String>>,
}

impl Run {
    fn documents(&self, case: &str) -> Result<&[Document], String> {
        let documents = self.documents.get_or_init(|| self.cases());
        Ok(documents.as_ref().map_err(Clone::clone)?.get(case).map_or(&[], Vec::as_slice))
    }

    fn cases(&self) -> Result<BTreeMap<String, Vec<Document>>, String> {
        let cases = read_cases(&self.repository)?;
        let mut requests = Vec::new();
        let mut owners = Vec::new();
        for case in &cases {
            for line in case.lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                requests.push(request(case, line));
                owners.push(case.name.as_str());
            }
        }
        let mut found = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (case, document) in owners.into_iter().zip(self.indexed(EVERY_DAY, &requests)?) {
            // The second of two that are the same finds the first there.
            let of_case = found.entry(case.to_owned()).or_default();
            of_case.insert((document.index.clone(), document.id.clone()), document);
        }
        Ok(found.into_iter().map(|(case, documents)| (case, documents.into_values().collect())).collect())
    }

    /// What is indexed of each request, in their order.
    fn indexed(&self, parameters: Parameters, requests: &[Value]) -> Result<Vec<Document>, String> {
        let templates = Templates::read(&self.repository.join("elasticsearch"))?;
        let answers = self.jruby.clone()?.answers(&self.repository, parameters, requests)?;
        let mut documents: Vec<_> = answers.iter().map(document).collect();
        let mut refused = Vec::new();
        for (answer, (at, document)) in answers.iter().zip(documents.iter().enumerate()) {
            let refused_because = match &document.source {
                Value::Null => Err("not JSON, or a number out of range".to_owned()),
                source => templates.accept(&document.index, source),
            };
            if let Err(reason) = refused_because {
                let request = json!({ "document": answer["document"], "metadata": answer["metadata"],
                    "response": refusal(400, "document_parsing_exception", &reason) });
                refused.push((at, request));
            }
        }
        if refused.is_empty() {
            return Ok(documents);
        }
        let requests: Vec<_> = refused.iter().map(|(_, request)| request.clone()).collect();
        let letters = self.jruby.clone()?.answers(&self.repository, parameters, &requests)?;
        for ((at, _), letter) in refused.into_iter().zip(letters) {
            documents[at] = document(&letter);
            templates.accept(&documents[at].index, &documents[at].source)?;
        }
        Ok(documents)
    }
}

/// Without a source where the document is no JSON for a reader that bounds numbers, as Elasticsearch does.
fn document(answer: &Value) -> Document {
    let text = |name: &str| answer["metadata"][name].as_str().unwrap_or_default().to_owned();
    let source = answer["document"].as_str().and_then(|text| serde_json::from_str(text).ok());
    Document { index: text("index"), id: text("id"), source: source.unwrap_or_default() }
}

fn request(case: &Case, line: &[u8]) -> Value {
    let mut request = json!({ "line": base64(line) });
    match case.way() {
        Way::File => {
            request["way"] =
                if case.file.starts_with("audit.") { "audit_files" } else { "agent_files" }.into();
            request["path"] = format!("{LOG_DIR}{}", case.file).into();
        }
        Way::Tcp => request["way"] = "tcp".into(),
        Way::Http => {
            request["way"] = "http".into();
            request["metadata"] = json!({ "input": { "http": { "request": { "headers": {
                "audit_key": case.key, "content_type": "application/x-ndjson" } } } } });
        }
        Way::Beats => {
            request["way"] = "beats".into();
            request["fields"] = beats_fields(case.key.as_deref());
        }
    }
    request
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number =
            part.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for digit in 0..=part.len() {
            text.push(char::from(DIGITS[(number >> (18 - 6 * digit) & 63) as usize]));
        }
        text.push_str(&"=="[..3 - part.len()]);
    }
    text
}

/// A line in a file of the agent.
fn of_agent(line: &str) -> Value {
    json!({ "line": base64(line.as_bytes()), "way": "agent_files", "path": format!("{LOG_DIR}agent.log") })
}

fn nested(open: &str, close: &str, levels: usize) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

fn nesting(run: &Run) -> Result<(), String> {
    let depths: BTreeSet<usize> =
        (40..=60).chain((60..=2000).step_by(97)).chain([300, 450, 500, 999, 1000, 2000]).collect();
    let (mut requests, mut wanted) = (Vec::new(), Vec::new());
    for depth in depths {
        // The line itself is a level, and so is the object in the text.
        let lines = [
            (format!(r#"{{"msg":"n{depth}","x":{}}}"#, nested(r#"{"n":"#, "}", depth - 1)), depth <= DEPTH),
            (format!(r#"{{"msg":"n{depth}","x":{}}}"#, nested("[", "]", depth - 1)), depth <= DEPTH),
            (format!(r#"{{"msg":"n{depth}","x":{}}}"#, nested(r#"[{"a":1,"n":"#, "}]", depth / 2)), 2 * (depth / 2) < DEPTH),
            (json!({ "msg": format!("n{depth}"), "context": nested(r#"{"n":"#, "}", depth) }).to_string(), true),
            (json!({ "msg": format!("n{depth}"), "context": format!("{{\"l\":{}}}", nested("[", "]", depth)) }).to_string(), true),
            (json!({ "msg": format!("n{depth}"), "error": nested("[", "]", depth) }).to_string(), true),
        ];
        for (line, parsed) in lines {
            requests.push(of_agent(&line));
            wanted.push((line, parsed));
        }
    }
    let answers = run.jruby.clone()?.answers(&run.repository, EVERY_DAY, &requests)?;
    for (answer, (line, parsed)) in answers.iter().zip(wanted) {
        let document = document(answer);
        let what = || format!("{:.60}… of {} bytes: {}", line, line.len(), document.index);
        ensure(document.index.contains("-unparsed-") != parsed, what)?;
        ensure(levels(&document.source) <= DEPTH + 1, what)?;
        let whole = document.source["event"]["original"].as_str().is_none_or(|original| original == line);
        ensure(whole, what)?;
    }
    Ok(())
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Object(object) => 1 + object.values().map(levels).max().unwrap_or(0),
        Value::Array(list) => 1 + list.iter().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// 1200 days of both streams: up to today, and beyond.
fn days(run: &Run) -> Result<(), String> {
    let mut requests = Vec::new();
    for number in 0..1200_u64 {
        let day = Duration::from_hours(24 * number);
        for time in [SystemTime::now() - day, SystemTime::now() + Duration::from_hours(25) + day] {
            let time = humantime::format_rfc3339_seconds(time).to_string();
            requests.push(of_agent(&json!({ "msg": "a day", "time": time }).to_string()));
            let event = json!({ "msg": "a day", "time": time, "actor": "a", "action": "b", "outcome": "c" });
            requests.push(of_agent(&event.to_string()));
            // What is in no way a line has the time of its file.
            let (day, hour) = (&time[..10], &time[11..13]);
            let path = format!("{LOG_DIR}agent.{day}-{hour}.part3.ndjson");
            requests.push(json!({ "line": base64(format!("no JSON {time}").as_bytes()), "way": "agent_files", "path": path }));
            requests.push(
                json!({ "line": base64(b"{\"msg\":\"no time\"}"), "way": "agent_files", "path": path }),
            );
        }
    }
    let documents = run.indexed(KEPT, &requests)?;
    let identities: BTreeSet<_> = documents.iter().map(|document| (&document.index, &document.id)).collect();
    ensure(identities.len() == requests.len(), || {
        format!("{} documents of {} lines", identities.len(), requests.len())
    })?;
    for (stream, days) in [("agent-logs", KEPT.log_days), ("agent-audit", KEPT.audit_days)] {
        let of_stream: BTreeSet<_> = documents
            .iter()
            .map(|document| document.index.as_str())
            .filter(|index| index.starts_with(stream))
            .collect();
        let months = of_stream.iter().filter(|index| index.contains("-outside-")).count();
        let daily = of_stream.iter().filter(|index| index.matches('.').count() == 2).count();
        // The day that is begun, and the one that is a day ahead.
        ensure(daily <= days as usize + 2 && daily + 1 >= days as usize, || {
            format!("{stream}: {daily} days")
        })?;
        ensure((1..=2).contains(&months), || format!("{stream}: {of_stream:?}"))?;
        ensure(of_stream.len() <= daily + 6, || format!("{stream}: {of_stream:?}"))?;
    }
    Ok(())
}

fn huge(run: &Run) -> Result<(), String> {
    let lines = huge_lines();
    let requests: Vec<_> =
        lines.iter().map(|line| json!({ "line": base64(line), "way": "agent_files" })).collect();
    for (document, line) in run.indexed(EVERY_DAY, &requests)?.iter().zip(&lines) {
        let event = &document.source["event"];
        let kept = event["original"].as_str().map(str::len);
        let wanted = (line.len() > 1 << 20).then_some(1 << 20);
        ensure(
            kept == wanted && event["original_bytes"].as_u64() == wanted.map(|_| line.len() as u64),
            || format!("{} bytes: {kept:?} kept", line.len()),
        )?;
    }
    Ok(())
}

/// Signs that stand in text are no values.
fn many_values(run: &Run) -> Result<(), String> {
    let list = |values: usize| format!("{{\"x\":[{}]}}", vec!["[]"; values].join(","));
    let vector = |commas: usize| format!("{{\"x\":[{}0.5]}}", "0.5,".repeat(commas));
    // The object and the list around them count too.
    let most = CONTAINERS - 2;
    let context = |text: &str| json!({ "msg": "m", "context": text }).to_string();
    let lines = [
        (list(most), false),
        (list(most + 1), true),
        (list(300_000), true),
        (vector(COMMAS), false),
        (vector(COMMAS + 1), true),
        (context(&format!("{{{}", ",[{\"".repeat(100_000))), false),
        (context(&list(most + 1)), false),
    ];
    let requests: Vec<_> = lines.iter().map(|(line, _)| of_agent(line)).collect();
    let documents = run.indexed(EVERY_DAY, &requests)?;
    for (document, (line, text)) in documents.iter().zip(&lines) {
        let unparsed = document.index.contains("-unparsed-");
        ensure(unparsed == *text, || format!("{}: {line:.100}", document.index))?;
    }
    let context = documents[6].source["context"]["text"].as_str();
    ensure(context == Some(&list(most + 1)), || format!("{:?}", documents[6]))
}

/// A pattern that goes back takes the square of what it looks at: an hour for these, and the queue gives the line back at each start.
fn slow_patterns(run: &Run) -> Result<(), String> {
    let blanks = " ".repeat(200_000);
    let letters = "a".repeat(200_000);
    let quotes = "\\\"x,".repeat(200_000);
    let requests = [
        of_agent(&format!("{{\"msg\":\"m\",\"time\":\"2025-11-24T09:00:00{blanks}!\"}}")),
        of_agent(&format!("{{\"msg\":\"[{letters} - {blanks}\",\"level\":\"{blanks}!\"}}")),
        of_agent(&format!("{{\"msg\":\"{quotes}")),
        json!({ "line": base64(b"{}"), "way": "beats", "path": format!("{letters}/{letters}/") }),
    ];
    let started = Instant::now();
    let documents = run.indexed(EVERY_DAY, &requests)?;
    let took = started.elapsed();
    ensure(took < FAR_LESS_THAN_AN_HOUR, || format!("{} lines took {took:?}", documents.len()))
}

fn set_aside(run: &Run) -> Result<(), String> {
    let lines = [r#"{"msg":"one","request_id":"r-1"}"#, r#"{"msg":"poison","request_id":"r-2"}"#];
    let parameters = Parameters { set_aside: "\"r-2\"", ..EVERY_DAY };
    let documents = run.indexed(parameters, &lines.map(of_agent))?;
    let unparsed: Vec<_> = documents.iter().map(|document| document.index.contains("-unparsed-")).collect();
    ensure(unparsed == [false, true], || format!("{documents:?}"))?;
    let original = documents[1].source["event"]["original"].as_str();
    ensure(original == Some(lines[1]), || format!("{documents:?}"))
}

/// The key of `logstash/tests/jruby/audit_senders`, others, and the ways on which none counts.
fn audit_senders(run: &Run) -> Result<(), String> {
    let key = std::fs::read_to_string(run.repository.join("logstash/tests/jruby/audit_senders"));
    let key = key.map_err(|e| e.to_string())?;
    let key = key.lines().last().and_then(|line| line.split_whitespace().nth(1)).ok_or("no key")?.to_owned();
    let line =
        r#"{"msg":"m","time":"2025-11-24T09:54:00Z","actor":"a","action":"query","outcome":"allowed"}"#;
    let audit_file = format!("{LOG_DIR}audit.2025-11-24.ndjson");
    let header =
        |value: &str| json!({ "input": { "http": { "request": { "headers": { "audit_key": value } } } } });
    let requests = [
        (json!({ "way": "audit_files", "path": audit_file }), true),
        (json!({ "way": "agent_files", "path": format!("{LOG_DIR}agent.2025-11-24-09.ndjson") }), true),
        (json!({ "way": "tcp" }), false),
        (json!({ "way": "tcp", "fields": { "audit_key": key } }), false),
        (json!({ "way": "http" }), false),
        (json!({ "way": "http", "metadata": header(&key) }), true),
        (json!({ "way": "http", "metadata": header(&format!("Bearer {key}")) }), false),
        (json!({ "way": "http", "metadata": header("") }), false),
        (json!({ "way": "http", "metadata": header(&format!("{key}x")) }), false),
        (json!({ "way": "http", "metadata": header("elsewhere") }), false),
        (json!({ "way": "beats", "path": audit_file }), false),
        (json!({ "way": "beats", "path": audit_file, "fields": { "audit_key": key } }), true),
        (json!({ "way": "beats", "path": audit_file, "fields": { "audit_key": [key] } }), false),
        (json!({ "way": "beats", "path": audit_file, "fields": "audit_key" }), false),
        // What the client wrote there itself, and what the input adds.
        (json!({ "way": ["audit_files", "beats"], "path": audit_file }), false),
        (json!({ "path": audit_file }), false),
    ];
    let lines: Vec<_> = requests
        .iter()
        .map(|(request, _)| {
            let mut request = request.clone();
            request["line"] = base64(line.as_bytes()).into();
            request
        })
        .collect();
    let documents = run.indexed(EVERY_DAY, &lines)?;
    for (document, (request, audit)) in documents.iter().zip(&requests) {
        let what = || format!("{request}: {document:?}");
        let marked = document.source["tags"]
            .as_array()
            .is_some_and(|tags| tags.contains(&"_audit_sender_unknown".into()));
        ensure(
            document.index == if *audit { "agent-audit-2025.11.24" } else { "agent-logs-2025.11.24" },
            what,
        )?;
        ensure(marked != *audit, what)?;
        ensure(!document.source.to_string().contains(&key), || format!("{request}: the key is kept"))?;
        let known = *audit && !request["way"].as_str().is_some_and(|way| way.ends_with("_files"));
        let provider = document.source["event"]["provider"].as_str();
        ensure(provider == known.then_some("elsewhere"), what)?;
    }
    Ok(())
}

fn clients_times(run: &Run) -> Result<(), String> {
    let requests: Vec<_> = (1990..2100)
        .map(|year| json!({ "line": base64(b"no JSON"), "way": "beats", "timestamp": format!("{year}-01-01T00:00:00Z") }))
        .collect();
    let indices: BTreeSet<_> =
        run.indexed(KEPT, &requests)?.into_iter().map(|document| document.index).collect();
    ensure(indices.len() <= 3, || format!("{indices:?}"))
}
