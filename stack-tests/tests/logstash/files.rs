//! What can be said of the pipelines without a Logstash: they are the language, their fields are in the index templates, and
//! their cases have every line that `docs/logs.md` promises.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use libtest_mimic::Trial;
use regex::Regex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stack_tests::logpath::mapping::Templates;

use crate::{
    Check, case_folders,
    cases::{Case, Way, read_cases, read_expected},
    ensure, grammar, name, read, trial,
};

const LOGS: &str = "agent-logs-2025.11.24";
const AUDIT: &str = "agent-audit-2025.11.24";
/// Cases whose values have types that Elasticsearch makes fit.
const COERCED: [&str; 1] = ["wrong-types"];

pub(crate) fn trials(repository: &Path) -> Vec<Trial> {
    let mut trials = vec![trial("grammar::tells_right_from_wrong".into(), grammar::tells_right_from_wrong)];
    let of_repository: [(&str, Check<Path>); 8] = [
        ("pipelines::what_batches_hold_fits_into_the_heap", batches),
        ("pipelines::are_the_language_and_each_plugin_has_an_id_of_its_own", pipelines),
        ("pipelines::every_variable_has_a_default_or_is_set_by_compose", variables),
        ("mapping::every_field_it_writes_is_in_the_templates", written_fields),
        ("mapping::knows_every_field_of_the_documentation", documented_fields),
        ("cases::no_line_of_a_file_is_in_two_of_them", shared_lines),
        ("cases::every_event_of_the_documentation_has_one", documented_events),
        ("cases::every_audited_action_and_outcome_has_one", audited),
    ];
    for (name, check) in of_repository {
        let repository = repository.to_owned();
        trials.push(trial(name.into(), move || check(&repository)));
    }
    for folder in case_folders(repository) {
        let (repository, case) = (repository.to_owned(), name(&folder));
        trials.push(trial(format!("documents::{case}"), move || documents(&repository, &folder)));
    }
    trials
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

fn pipelines(repository: &Path) -> Result<(), String> {
    let folder = repository.join("logstash/pipeline");
    let listed = read(&repository.join("logstash/config/pipelines.yml"))?;
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        count += 1;
        let file = name(&path);
        ensure(listed.contains(&file), || format!("pipelines.yml does not have {file}"))?;
        let plugins = grammar::plugins(&read(&path)?).map_err(|e| format!("{file}: {e}"))?;
        for section in ["input", "filter", "output"] {
            ensure(plugins.iter().any(|plugin| plugin.section == section), || {
                format!("{file} has no {section}")
            })?;
        }
        for plugin in plugins {
            // A codec stands in a setting, and is none of these.
            let id =
                plugin.settings.get("id").ok_or(format!("{file}: a plugin {} has no id", plugin.name))?;
            ensure(ids.insert(id.clone()), || format!("{file}: the id {id} is there twice"))?;
            if let Some(script) = plugin.settings.get("path").filter(|_| plugin.name == "ruby") {
                let script = script.rsplit('/').next().unwrap_or_default();
                ensure(folder.join(script).is_file(), || format!("{file}: there is no {script}"))?;
            }
        }
    }
    ensure(count == listed.matches("pipeline.id:").count(), || {
        "pipelines.yml has a pipeline without a file".into()
    })
}

fn variables(repository: &Path) -> Result<(), String> {
    let component = repository.join("logstash");
    let compose = read(&repository.join("docker-compose.yml"))?;
    let service =
        compose.split("\n  logstash:\n").nth(1).ok_or("docker-compose.yml has no service logstash")?;
    let service = service.split("\n\n").next().unwrap_or_default();
    let mut used = BTreeSet::new();
    for file in [
        "config/logstash.yml",
        "config/pipelines.yml",
        "pipeline/agent-logs.conf",
        "pipeline/dead-letters.conf",
    ] {
        for found in regex(r"\$\{([A-Z0-9_]+)(:?)").captures_iter(&read(&component.join(file))?) {
            used.insert(found[1].to_owned());
            let is_set = service.contains(&format!(" {}:", &found[1]));
            ensure(&found[2] == ":" || is_set, || format!("{file}: nothing sets {}", &found[1]))?;
        }
    }
    // What starts with these names is for the pipelines; a misspelt one would be for nobody.
    for found in regex(r"(?m)^      ((?:LOGSTASH|ELASTICSEARCH|AGENT)_[A-Z0-9_]+):").captures_iter(service) {
        ensure(used.contains(&found[1]), || {
            format!("docker-compose.yml sets {}, which nothing reads", &found[1])
        })?;
    }
    Ok(())
}

/// All cases that are files are read by one Logstash, so a line that two of them share becomes one document, and one of them
/// lacks it. Without a Logstash each line gets its own document, so only this check would tell.
fn shared_lines(repository: &Path) -> Result<(), String> {
    let mut seen = BTreeMap::<Vec<u8>, String>::new();
    for case in read_cases(repository)?.iter().filter(|case| case.way() == Way::File) {
        let lines: BTreeSet<_> = case.lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            if let Some(other) = seen.insert(line.to_vec(), case.name.clone()) {
                let text = String::from_utf8_lossy(line);
                return Err(format!("{other} and {} both have the line {text:.200}", case.name));
            }
        }
    }
    Ok(())
}

/// A batch never spans two pages of the queue, so a page bounds its bytes.
fn batches(repository: &Path) -> Result<(), String> {
    /// What a line takes on its way, as a multiple of its size; and what Logstash takes without any, in MB.
    const TIMES: u64 = 6;
    const IDLE: u64 = 200;
    let settings = read(&repository.join("logstash/config/logstash.yml"))?;
    let compose = read(&repository.join("docker-compose.yml"))?;
    let pipeline = read(&repository.join("logstash/pipeline/agent-logs.conf"))?;
    let number = |text: &str, pattern: &str| {
        let found = regex(pattern).captures(text).and_then(|found| found[1].parse::<u64>().ok());
        found.ok_or(format!("nothing like {pattern}"))
    };
    let page = number(&settings, r"(?m)^queue\.page_capacity: (\d+)mb$")?;
    let workers = number(&settings, r"(?m)^pipeline\.workers: (\d+)$")?;
    let heap = number(&compose, r"LOGSTASH_HEAP:-(\d+)m")?;
    ensure(workers * page * TIMES + IDLE <= heap, || {
        format!("{workers} workers with {page} MB each do not fit into a heap of {heap} MB")
    })?;
    let body = number(&pipeline, r"max_content_length => (\d+)")?;
    ensure(body < page << 20, || format!("HTTP takes {body} bytes, which may be a line larger than a page"))
}

/// Field of a line => place in the document, as `bunyan.rb` has it.
fn mapping(repository: &Path) -> Result<BTreeMap<String, String>, String> {
    let script = read(&repository.join("logstash/pipeline/bunyan.rb"))?;
    let between = |from: &str, to: &str| {
        let text = script.split(from).nth(1).and_then(|rest| rest.split(to).next());
        text.ok_or(format!("bunyan.rb has no {from}"))
    };
    let mut fields = BTreeMap::new();
    for found in regex(r#""(\w+)" => %w\[([\w ]+)\]"#).captures_iter(between("ECS = {", "}")?) {
        fields.insert(found[1].to_owned(), found[2].replace(' ', "."));
    }
    for own in between("OWN = %w[", "]")?.split_whitespace() {
        fields.insert(own.to_owned(), own.to_owned());
    }
    for message in between("ERROR_MESSAGES = %w[", "]")?.split_whitespace() {
        fields.insert(message.to_owned(), "error.message".to_owned());
    }
    for (from, to) in [("time", "@timestamp"), ("level", "log.level"), ("msg", "message")] {
        fields.insert(from.into(), to.into());
    }
    fields.insert("context".into(), "context".into());
    ensure(fields.len() > 50, || format!("only {fields:?}"))?;
    Ok(fields)
}

fn written_fields(repository: &Path) -> Result<(), String> {
    let templates = Templates::read(&repository.join("elasticsearch"))?;
    let own = ["extra", "tags", "span.name", "log.file.path", "event.dataset", "event.kind", "event.type"];
    let own = own.into_iter().chain(["event.provider"]);
    let own = own.into_iter().chain(["event.original", "event.original_bytes", "event.original_time"]);
    let mut missing = Vec::new();
    for field in mapping(repository)?.into_values().chain(own.map(str::to_owned)) {
        for index in [LOGS, AUDIT] {
            if templates.type_of(index, &field)?.is_none() {
                missing.push(format!("{field} in {index}"));
            }
        }
    }
    ensure(missing.is_empty(), || format!("not mapped: {}", missing.join(", ")))
}

fn documented_fields(repository: &Path) -> Result<(), String> {
    let page = read(&repository.join("docs/logs.md"))?;
    let mapping = mapping(repository)?;
    let mut fields = BTreeSet::new();
    for title in ["common field", "request field", "audit field"] {
        fields.extend(rows(&page, title).into_iter().map(|row| row[0].trim_matches('`').to_owned()));
    }
    for title in ["event", "message"] {
        fields.extend(rows(&page, title).into_iter().flat_map(|row| names(&row[2])));
    }
    // The format's version, which is always 0, is dropped.
    fields.remove("v");
    let unknown: Vec<_> = fields.iter().filter(|field| !mapping.contains_key(*field)).collect();
    ensure(unknown.is_empty(), || format!("bunyan.rb does not know {unknown:?}"))
}

fn documented_events(repository: &Path) -> Result<(), String> {
    let page = read(&repository.join("docs/logs.md"))?;
    let lines = lines(repository, |case| !case.starts_with("audit-"));
    let level = |name: &str| match name {
        "DEBUG" => 20,
        "INFO" => 30,
        "WARN" => 40,
        _ => 50,
    };
    for (title, of_request) in [("event", true), ("message", false)] {
        let events = rows(&page, title);
        ensure(events.len() > 10, || format!("docs/logs.md has no table of {title}"))?;
        for row in events {
            let message = row[0].trim_matches('`').replace("{seconds}", "3");
            let of_event = |line: &&Value| {
                line["msg"] == message.as_str() && line.get("request_id").is_some() == of_request
            };
            let of_event: Vec<_> = lines.iter().filter(of_event).collect();
            for name in names(&row[1]) {
                let is_there = of_event.iter().any(|line| line["level"] == level(&name));
                ensure(is_there, || format!("no case has `{message}` as {name}"))?;
            }
            for field in names(&row[2]) {
                let is_there = of_event.iter().any(|line| line.get(&field).is_some());
                ensure(is_there, || format!("no case has `{message}` with {field}"))?;
            }
        }
    }
    Ok(())
}

fn audited(repository: &Path) -> Result<(), String> {
    let page = read(&repository.join("docs/logs.md"))?;
    let lines = lines(repository, |case| case.starts_with("audit-"));
    let fields = rows(&page, "audit field");
    ensure(fields.len() > 10, || "docs/logs.md has no table of the audit log".into())?;
    for row in fields {
        let field = row[0].trim_matches('`');
        ensure(lines.iter().any(|line| line.get(field).is_some()), || format!("no case has {field}"))?;
        if matches!(field, "msg" | "action" | "outcome") {
            for found in regex("`([a-z_ ]+)`").captures_iter(&row[1]) {
                let is_there = lines.iter().any(|line| line[field] == found[1]);
                ensure(is_there, || format!("no case has the {field} {}", &found[1]))?;
            }
        }
    }
    Ok(())
}

/// The expected documents of a case fit the templates, and each of its lines is in exactly one of them.
fn documents(repository: &Path, folder: &Path) -> Result<(), String> {
    let case = name(folder);
    let templates = Templates::read(&repository.join("elasticsearch"))?;
    let expected = read_expected(&folder.join("expected.ndjson"))?;
    let mut indices = BTreeSet::new();
    for document in &expected {
        let fits = if COERCED.contains(&case.as_str()) { Templates::accept } else { Templates::conform };
        fits(&templates, &document.index, &document.source)
            .map_err(|e| format!("{e}\n{}", document.source))?;
        indices.insert(document.index.as_str());
        let day = document.source["@timestamp"].as_str().unwrap_or_default()[..10].replace('-', ".");
        let monthly = ["-unparsed-", "-dead-", "-outside-"].iter().any(|kind| document.index.contains(kind));
        let span = if monthly { &day[..7] } else { &day };
        ensure(monthly || document.index.ends_with(span), || format!("{}: not of {span}", document.index))?;
    }
    let mut ids: Vec<_> = expected.iter().map(|document| document.id.clone()).collect();
    let Case { file, lines: input, .. } = Case::read(folder)?;
    let mut not_text = 0;
    let mut lines: Vec<_> =
        input.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    for line in lines {
        let Ok(text) = std::str::from_utf8(line) else {
            // Logstash hands these over with the bad bytes written out.
            not_text += 1;
            continue;
        };
        let text = text.strip_suffix('\r').unwrap_or(text);
        let possible = [sha256(text), sha256(&format!("{text}{file}"))];
        let at =
            ids.iter().position(|id| possible.contains(id)).ok_or(format!("no document is of {text}"))?;
        ids.swap_remove(at);
    }
    ensure(ids.len() == not_text, || format!("documents without a line: {ids:?}"))
}

fn sha256(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Every line of the cases that is an object.
fn lines(repository: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let mut lines = Vec::new();
    for folder in case_folders(repository).into_iter().filter(|folder| wanted(&name(folder))) {
        let input = std::fs::read(folder.join("input.ndjson")).unwrap_or_default();
        let parsed = input.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        lines.extend(parsed.filter(Value::is_object));
    }
    lines
}

/// The rows of the table in a page whose first heading is `title`.
fn rows(page: &str, title: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('|') && cells(line)[0] == title {
            rows.extend(lines.by_ref().take_while(|line| line.starts_with('|')).skip(1).map(cells));
        }
    }
    rows
}

/// Names in a cell.
fn names(cell: &str) -> Vec<String> {
    let names = cell.split(", ").filter(|name| !name.is_empty());
    names.map(|name| name.trim_end_matches('?').trim_matches('`').to_owned()).collect()
}
