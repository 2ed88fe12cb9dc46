//! The metrics, declared once: README.md lists them, and a test compares the two.
use std::collections::HashMap;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::{
    elasticsearch::{Indexed, UNUSABLE},
    ledger::{Due, STREAMS},
    logstash::Pipeline,
};

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A metric as `/metrics` shows it.
#[derive(Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// The name of its label, if it has one.
    pub label: &'static str,
    /// Its help text.
    pub help: &'static str,
}

macro_rules! declare {
    ($($id:ident = $name:literal, $counter:literal, $label:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Declared =
            Declared { name: $name, counter: $counter, label: $label, help: $help };)*
        /// All of them.
        pub const ALL: &[Declared] = &[$($id),*];
    };
}

declare! {
    SOURCE_UP = "log_watch_source_up", false, "source",
        "1 if the source (agent, logstash, elasticsearch) answered when last asked, else 0. Absent while it may be starting.";
    SHIPPING = "log_watch_shipping", false, "",
        "1 if somebody ships lines to Elasticsearch, 0 if they stop at the file on purpose.";
    NEWEST = "log_newest_line_timestamp_seconds", false, "stream",
        "Time in the newest line that Elasticsearch has, in seconds since 1970. Absent before the first line.";
    EXPECTED = "log_lines_expected", false, "stream",
        "Lines that the agents wrote in the window, and that have had their time to arrive. NaN while not known.";
    INDEXED = "log_lines_indexed", false, "stream",
        "Lines of that same time that are in Elasticsearch. NaN while not known.";
    MISSING = "log_lines_missing", false, "stream",
        "Expected lines that are not in Elasticsearch. NaN while not known.";
    AUDIT_GAPS = "log_audit_events_missing", false, "",
        "Numbers of the window that the audit trail in Elasticsearch lacks between two others of the same run. NaN while not known.";
    UNUSABLE_LINES = "log_lines_unusable", false, "reason",
        "Lines of this hour and the last, by stream, that are no JSON (unparsed) or that Elasticsearch refused (dead): kept as text.";
    EVENTS_IN = "logstash_events_in_total", true, "pipeline",
        "Events that came into the pipeline.";
    EVENTS_OUT = "logstash_events_out_total", true, "pipeline",
        "Events that the pipeline's outputs took.";
    QUEUE_EVENTS = "logstash_queue_events", false, "pipeline",
        "Events that wait in the pipeline's queue.";
    QUEUE_BYTES = "logstash_queue_bytes", false, "pipeline",
        "What the pipeline's persistent queue takes on the disk, in bytes.";
    QUEUE_LIMIT = "logstash_queue_limit_bytes", false, "pipeline",
        "What that queue may take, in bytes. 0 for one in memory.";
    DEAD_LETTER_BYTES = "logstash_dead_letter_queue_bytes", false, "pipeline",
        "What the pipeline's dead letter queue takes on the disk, in bytes.";
    DEAD_LETTERS_DROPPED = "logstash_dead_letters_dropped_total", true, "pipeline",
        "Events that had no room in the dead letter queue: they are lost.";
    DOCUMENTS_REFUSED = "logstash_documents_refused_total", true, "pipeline",
        "Documents that Elasticsearch refused for good. Those of agent-logs become dead letters; a dead letter that is refused again stays on Logstash's disk.";
}

/// Keeps the series.
pub struct Report {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// What each counter of another process showed last.
    seen: HashMap<(&'static str, String), u64>,
}

impl Report {
    /// Describes all metrics; series come with their first value.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in ALL {
            let (name, help) = (KeyName::from_const_str(metric.name), SharedString::const_str(metric.help));
            if metric.counter {
                recorder.describe_counter(name, None, help);
            } else {
                recorder.describe_gauge(name, None, help);
            }
        }
        Self { handle: recorder.handle(), recorder, seen: HashMap::new() }
    }

    /// What renders them.
    pub fn handle(&self) -> PrometheusHandle {
        self.handle.clone()
    }

    /// Whether lines are shipped.
    pub fn shipping(&self, on: bool) {
        self.gauge(&SHIPPING, &[], flag(on));
    }

    /// Whether a source answered.
    pub fn source(&self, source: &'static str, up: bool) {
        self.gauge(&SOURCE_UP, &[("source", source.to_owned())], flag(up));
    }

    /// What Elasticsearch has of a stream; nothing where it did not answer.
    pub fn indexed(&self, stream: usize, indexed: Option<&Indexed>) {
        // The newest line stays what it was: that it grows old is what matters.
        let Some(indexed) = indexed else { return };
        if let Some(newest) = indexed.newest {
            self.gauge(&NEWEST, &label("stream", STREAMS[stream]), newest);
        }
        for (reason, lines) in UNUSABLE.iter().zip(indexed.unusable) {
            let labels = [("stream", STREAMS[stream].to_owned()), ("reason", (*reason).to_owned())];
            self.gauge(&UNUSABLE_LINES, &labels, lines as f64);
        }
    }

    /// The numbers that the audit trail lacks; not known where Elasticsearch did not answer.
    pub fn audit_gaps(&self, missing: Option<u64>) {
        self.gauge(&AUDIT_GAPS, &[], missing.map_or(f64::NAN, |missing| missing as f64));
    }

    /// The comparison of a stream: unknown unless both sides are.
    pub fn compared(&self, stream: usize, due: Option<&Due>, indexed: Option<&Indexed>) {
        let values = match (due, indexed) {
            (Some(due), Some(indexed)) => {
                let missing = due.missing(stream, indexed.lines);
                [due.lines[stream] as f64, indexed.lines as f64, missing as f64]
            }
            _ => [f64::NAN; 3],
        };
        for (metric, value) in [&EXPECTED, &INDEXED, &MISSING].into_iter().zip(values) {
            self.gauge(metric, &label("stream", STREAMS[stream]), value);
        }
    }

    /// A pipeline of Logstash.
    pub fn pipeline(&mut self, pipeline: &Pipeline) {
        self.counter(&EVENTS_IN, pipeline, pipeline.events_in);
        self.counter(&EVENTS_OUT, pipeline, pipeline.events_out);
        self.counter(&DEAD_LETTERS_DROPPED, pipeline, pipeline.dead_letters_dropped);
        self.counter(&DOCUMENTS_REFUSED, pipeline, pipeline.refused);
        for (metric, value) in [
            (&QUEUE_EVENTS, pipeline.queue_events),
            (&QUEUE_BYTES, pipeline.queue_bytes),
            (&QUEUE_LIMIT, pipeline.queue_limit_bytes),
            (&DEAD_LETTER_BYTES, pipeline.dead_letter_bytes),
        ] {
            self.gauge(metric, &label("pipeline", &pipeline.id), value as f64);
        }
    }

    /// A counter of another process, which begins again with that process while ours goes on.
    fn counter(&mut self, metric: &Declared, pipeline: &Pipeline, value: u64) {
        let before = self.seen.insert((metric.name, pipeline.id.clone()), value).unwrap_or(0);
        let grown = value.checked_sub(before).unwrap_or(value);
        let key = key(metric, &label("pipeline", &pipeline.id));
        self.recorder.register_counter(&key, &METADATA).increment(grown);
    }

    fn gauge(&self, metric: &Declared, labels: &[(&'static str, String)], value: f64) {
        self.recorder.register_gauge(&key(metric, labels), &METADATA).set(value);
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

fn label(name: &'static str, value: &str) -> [(&'static str, String); 1] {
    [(name, value.to_owned())]
}

fn key(metric: &Declared, labels: &[(&'static str, String)]) -> Key {
    let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect();
    Key::from_parts(metric.name, labels)
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn filled() -> Report {
        let mut report = Report::new();
        report.shipping(true);
        report.source("elasticsearch", true);
        report.audit_gaps(Some(0));
        let indexed = Indexed { newest: Some(1_790_000_000.25), lines: 9, unusable: [2, 0] };
        let now = SystemTime::now();
        let due = Due { after: now, until: now, lines: [10, 9], doubtful: [0, 0] };
        for stream in 0..STREAMS.len() {
            report.indexed(stream, Some(&indexed));
            report.compared(stream, Some(&due), Some(&indexed));
        }
        report.pipeline(&Pipeline {
            id: "agent-logs".into(),
            events_in: 5,
            events_out: 4,
            ..Pipeline::default()
        });
        report
    }

    #[test]
    fn a_counter_goes_on_when_logstash_starts_again() {
        let mut report = filled();
        for events_in in [7, 2] {
            report.pipeline(&Pipeline { id: "agent-logs".into(), events_in, ..Pipeline::default() });
        }
        let text = report.handle().render();
        assert!(text.contains("logstash_events_in_total{pipeline=\"agent-logs\"} 9\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_no_number() {
        let report = filled();
        assert!(report.handle().render().contains("log_lines_missing{stream=\"app\"} 1\n"));
        report.indexed(0, None);
        report.compared(0, None, None);
        let text = report.handle().render();
        assert!(text.contains("log_lines_missing{stream=\"app\"} NaN\n"), "{text}");
        assert!(text.contains("log_newest_line_timestamp_seconds{stream=\"app\"} 1790000000.25\n"), "{text}");
    }

    #[test]
    fn the_readme_lists_what_is_shown() {
        let shown = filled().handle().render();
        let readme = include_str!("../README.md");
        for metric in ALL {
            assert!(shown.contains(metric.name), "{} is never shown", metric.name);
            let row =
                format!("| `{}` | {} | ", metric.name, if metric.counter { "counter" } else { "gauge" });
            let row =
                readme.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
            assert!(row.ends_with(&format!("| {} |", metric.help)), "{row} says not {}", metric.help);
        }
        let rows = readme.lines().filter(|line| line.starts_with("| `log")).count();
        assert_eq!(rows, ALL.len());
    }
}
