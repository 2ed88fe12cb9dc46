//! Log and audit lines, as the agent wrote them or as Elasticsearch keeps them: one shape for both.
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::elasticsearch::PREFIXES;

/// Longer lines are passed over: the agent writes none.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// The agent's names of what has an ECS name in Elasticsearch; see docs/logs.md and `logstash/`.
const ECS: [(&str, &str); 15] = [
    ("/@timestamp", "time"),
    ("/message", "msg"),
    ("/log/level", "level"),
    ("/log/logger", "target"),
    ("/log/origin/file/name", "file"),
    ("/log/origin/file/line", "line"),
    ("/service/name", "name"),
    ("/service/version", "service_version"),
    ("/server/address", "server_address"),
    ("/host/name", "hostname"),
    ("/trace/id", "trace_id"),
    ("/span/id", "span_id"),
    ("/error/type", "error_type"),
    ("/error/message", "error_message"),
    ("/error/stack_trace", "error_stack"),
];
/// What a story need not say of each line.
const SAME_ON_ALL: [&str; 24] = [
    "v",
    "name",
    "hostname",
    "pid",
    "target",
    "file",
    "line",
    "time",
    "msg",
    "level",
    "request_id",
    "trace_id",
    "span_id",
    "tenant_id",
    "tenant_tier",
    "endpoint",
    "service_version",
    "boot_id",
    "log",
    "event",
    "service",
    "host",
    "tags",
    "process",
];

/// The level of a line of the audit log, which has none of its own.
const AUDIT: &str = "AUDIT";

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// RFC 3339, as written.
    pub time: String,
    /// `INFO` and so on; `AUDIT` for a line of the audit log.
    pub level: String,
    /// The event.
    pub message: String,
    /// All fields, by the agent's names.
    pub fields: Map<String, Value>,
}

impl Line {
    /// A line as the agent wrote it.
    pub fn from_bunyan(fields: Map<String, Value>, audit: bool) -> Self {
        let level = match fields.get("level") {
            _ if audit => AUDIT,
            Some(level) => match level.as_u64() {
                Some(10) => "TRACE",
                Some(20) => "DEBUG",
                Some(30) => "INFO",
                Some(40) => "WARN",
                Some(50 | 60) => "ERROR",
                _ => level.as_str().unwrap_or("?"),
            },
            None => "?",
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { time: text("time"), level: level.to_owned(), message: text("msg"), fields }
    }

    /// A document of Elasticsearch.
    pub fn from_document(index: &str, source: &Value) -> Self {
        let mut fields = source.as_object().cloned().unwrap_or_default();
        for (pointer, name) in ECS {
            if let Some(value) = source.pointer(pointer) {
                fields.insert(name.to_owned(), value.clone());
            }
        }
        for object in [
            "@timestamp",
            "@version",
            "message",
            "log",
            "service",
            "host",
            "trace",
            "span",
            "error",
            "server",
        ] {
            fields.remove(object);
        }
        // What the template does not name; the agent wrote it flat.
        if let Some(Value::Object(extra)) = fields.remove("extra") {
            fields.extend(extra);
        }
        Self::from_bunyan(fields, index.starts_with(PREFIXES[1]))
    }

    /// Whether it is of the audit log.
    pub fn is_audit(&self) -> bool {
        self.level == AUDIT
    }

    /// The trace, if the line has one.
    pub fn trace_id(&self) -> Option<String> {
        self.text("trace_id").map(str::to_owned)
    }

    /// A field that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name).and_then(Value::as_f64)
    }

    /// What only this line says, as `name=value`.
    pub fn details(&self) -> Vec<String> {
        let own = self
            .fields
            .iter()
            .filter(|(name, value)| !SAME_ON_ALL.contains(&name.as_str()) && !value.is_null());
        own.map(|(name, value)| match value {
            Value::String(text) if text.contains([' ', '\n', '"']) || text.is_empty() => {
                format!("{name}={text:?}")
            }
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect()
    }
}

/// Oldest first. The audit line has its outcome, so it stands after the log lines of the same moment.
pub fn sort(lines: &mut [Line]) {
    lines.sort_by(|a, b| {
        instant(&a.time).cmp(&instant(&b.time)).then_with(|| a.is_audit().cmp(&b.is_audit()))
    });
}

/// A time that can be compared whatever its number of decimals: `…:01Z` is before `…:01.5Z`.
fn instant(time: &str) -> (String, String) {
    let bare = time.trim_end_matches('Z');
    let (seconds, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    (seconds.to_owned(), format!("{fraction:0<9}"))
}

/// The lines in the agent's files that carry this id, and how many files there were.
pub fn from_files(directory: &Path, id: &str) -> Result<(Vec<Line>, usize), String> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| format!("{path}: {e}")
    };
    let mut files: Vec<(PathBuf, bool)> = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".ndjson") && (name.starts_with("agent.") || name.starts_with("audit.")) {
            files.push((path, name.starts_with("audit.")));
        }
    }
    let mut lines = Vec::new();
    for (path, audit) in &files {
        // An old file may be deleted while it is its turn.
        let Ok(file) = File::open(path) else { continue };
        read_lines(file, id, *audit, &mut lines).map_err(at(path))?;
    }
    Ok((lines, files.len()))
}

fn read_lines(file: File, id: &str, audit: bool, found: &mut Vec<Line>) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // Most lines are of other requests, and are not worth being parsed.
        if !line.windows(id.len()).any(|window| window == id.as_bytes()) {
            continue;
        }
        if let Ok(Value::Object(fields)) = serde_json::from_slice(&line)
            && ["request_id", "trace_id"]
                .iter()
                .any(|name| fields.get(*name).and_then(Value::as_str) == Some(id))
        {
            found.push(Line::from_bunyan(fields, audit));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bunyan(line: &Value) -> Line {
        Line::from_bunyan(line.as_object().unwrap().clone(), false)
    }

    #[test]
    fn a_document_and_its_line_say_the_same() {
        let line = json!({"v": 0, "name": "example-agent", "msg": "request completed", "level": 40, "hostname": "h",
            "pid": 1, "time": "2026-11-24T10:00:00.123456Z", "target": "t", "line": 3, "file": "f.rs",
            "service_version": "0.1.0", "request_id": "r", "trace_id": "t1", "span_id": "s1", "tenant_id": "acme",
            "status": "error", "duration_seconds": 2.5, "error_type": "upstream_timeout"});
        let document = json!({"@timestamp": "2026-11-24T10:00:00.123456Z", "message": "request completed",
            "log": {"level": "WARN", "logger": "t", "origin": {"file": {"name": "f.rs", "line": 3}},
                "file": {"path": "/var/log/agent/agent.2026-11-24-10.ndjson"}},
            "event": {"dataset": "agent.app"}, "service": {"name": "example-agent"}, "host": {"name": "h"},
            "process": {"pid": 1}, "trace": {"id": "t1"}, "span": {"id": "s1"}, "request_id": "r",
            "tenant_id": "acme", "status": "error", "duration_seconds": 2.5,
            "error": {"type": "upstream_timeout"}, "extra": {"service_version": "0.1.0"}});
        let (line, document) = (bunyan(&line), Line::from_document("agent-logs-2026.11.24", &document));
        for line in [&line, &document] {
            assert_eq!((line.level.as_str(), line.message.as_str()), ("WARN", "request completed"));
            assert_eq!(line.trace_id().as_deref(), Some("t1"));
            assert_eq!(
                line.details(),
                ["duration_seconds=2.5", "error_type=upstream_timeout", "status=error"]
            );
        }
        assert_eq!(line.time, document.time);
    }

    #[test]
    fn lines_are_in_the_order_of_their_times_to_the_nanosecond() {
        let line = |time: &str, level: &str| Line {
            level: level.into(),
            ..bunyan(&json!({"time": time, "msg": time}))
        };
        let mut lines = [
            line("2026-11-24T10:00:01Z", "INFO"),
            line("2026-11-24T10:00:00.9Z", "AUDIT"),
            line("2026-11-24T10:00:00.900000Z", "INFO"),
            line("2026-11-24T10:00:00.123456789Z", "INFO"),
            line("2026-11-24T10:00:00.1234Z", "INFO"),
        ];
        sort(&mut lines);
        let order: Vec<_> = lines.iter().map(|line| (line.time.as_str(), line.level.as_str())).collect();
        assert_eq!(
            order,
            [
                ("2026-11-24T10:00:00.1234Z", "INFO"),
                ("2026-11-24T10:00:00.123456789Z", "INFO"),
                ("2026-11-24T10:00:00.900000Z", "INFO"),
                ("2026-11-24T10:00:00.9Z", "AUDIT"),
                ("2026-11-24T10:00:01Z", "INFO"),
            ]
        );
    }

    #[test]
    fn files_give_the_lines_of_this_request_only() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write(
            "agent.2026-11-24-10.ndjson",
            concat!(
                r#"{"time":"2026-11-24T10:00:00Z","level":30,"msg":"request started","request_id":"r1","query_preview":"r2"}"#,
                "\n",
                r#"{"time":"2026-11-24T10:00:01Z","level":30,"msg":"request started","request_id":"r2"}"#,
                "\n",
                "{\"request_id\":\"r1\", broken\n",
                r#"{"time":"2026-11-24T10:00:02Z","level":30,"msg":"feedback given","request_id":"r3","rated_request_id":"r1"}"#
            ),
        );
        write(
            "audit.2026-11-24.ndjson",
            r#"{"time":"2026-11-24T10:00:03Z","level":30,"msg":"access decision","request_id":"r1"}"#,
        );
        write("other.txt", r#"{"request_id":"r1"}"#);
        let (lines, files) = from_files(directory.path(), "r1").unwrap();
        assert_eq!(files, 2);
        let mut found: Vec<_> =
            lines.iter().map(|line| (line.level.as_str(), line.message.as_str())).collect();
        found.sort_unstable();
        assert_eq!(found, [("AUDIT", "access decision"), ("INFO", "request started")]);
        assert!(from_files(&directory.path().join("nowhere"), "r1").is_err());
    }
}
