//! Which metrics an expression names, and which there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use regex::Regex;

/// What others' exporters call theirs: too many to list, and the walk asks for each.
const EXPORTERS: [&str; 10] = [
    "alertmanager_",
    "elasticsearch_",
    "log_",
    "logstash_",
    "node_",
    "otelcol_",
    "process_",
    "prometheus_",
    "scrape_",
    "traces_span_metrics_",
];
/// What Prometheus itself makes.
const BUILT_IN: [&str; 2] = ["up", "ALERTS"];

static LEFT_OUT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`"#,
        r"|\{[^}]*\}|\[[^\]]*\]",
        r"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
    ))
});
static STRING: LazyLock<Regex> = LazyLock::new(|| pattern(r#""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`"#));
static TOKEN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9][0-9A-Za-z_.]*|([A-Za-z_:][A-Za-z0-9_:]*)\s*(\()?"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// The metrics that an expression names.
pub fn named(expr: &str) -> BTreeSet<String> {
    const WORDS: [&str; 13] = [
        "and",
        "or",
        "unless",
        "bool",
        "offset",
        "by",
        "on",
        "inf",
        "nan",
        "atan2",
        "group_left",
        "group_right",
        "ignoring",
    ];
    // Texts first: what is in them may look like anything.
    let bare = STRING.replace_all(expr, r#""""#);
    let bare = LEFT_OUT.replace_all(&bare, " ");
    let names = TOKEN.captures_iter(&bare).filter(|token| token.get(2).is_none());
    let names = names.filter_map(|token| Some(token.get(1)?.as_str().to_owned()));
    names.filter(|name| !WORDS.contains(&name.to_ascii_lowercase().as_str())).collect()
}

/// The metrics that there are.
pub struct Known(BTreeSet<String>);

impl Known {
    /// Of the agent by its page, of the rules by their files.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn of(repository: &Path) -> Result<Self, String> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
        let mut names: BTreeSet<String> = BTreeSet::new();
        let row = pattern(r"(?m)^\| `([a-z0-9_]+)` \| (counter|gauge|histogram) \|");
        let page = read(&repository.join("docs/metrics.md"))?;
        for found in row.captures_iter(&page) {
            if &found[2] == "histogram" {
                names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", &found[1])));
            } else {
                names.insert(found[1].to_owned());
            }
        }
        // Pushed by a batch: in that page's text.
        names
            .extend(pattern("`(agent_[a-z_]+_ratio)`").captures_iter(&page).map(|found| found[1].to_owned()));
        let record = pattern(r"(?m)^\s*- record: (\S+)$");
        for folder in ["prometheus/rules", "prometheus/thresholds"] {
            for file in super::entries(&repository.join(folder))? {
                names.extend(record.captures_iter(&read(&file)?).map(|found| found[1].to_owned()));
            }
        }
        Ok(Self(names))
    }

    /// Some of them have other names from now on; two may change places.
    pub fn rename(&mut self, names: &BTreeMap<String, String>) {
        self.0.retain(|name| !names.contains_key(name));
        self.0.extend(names.values().cloned());
    }

    /// Whether there is such a metric.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
            || BUILT_IN.contains(&name)
            || EXPORTERS.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// The service without which nobody tells of a metric.
pub fn teller(name: &str) -> Option<&'static str> {
    let has = |part: &str| name.contains(part);
    if name.starts_with("agent:threshold:") {
        return None;
    }
    if has("logstash") || has("log_lines_missing") {
        Some("logstash")
    } else if has("elasticsearch") || name.starts_with("log_") || name.starts_with("stream:log_") {
        Some("elasticsearch")
    } else if name.starts_with("node_") || name.starts_with("instance:") {
        Some("node-exporter")
    } else if name.starts_with("traces_span_metrics_") || name.starts_with("otelcol_") {
        Some("jaeger")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_among_what_only_looks_like_one() {
        let cases: [(&str, &[&str]); 6] = [
            (r#"sum by (tenant_id) (rate(a_total{b="c_total{"}[5m]))"#, &["a_total"]),
            ("a:b:rate5m / on (job) group_left (version) (c > 0) or vector(0)", &["a:b:rate5m", "c"]),
            (r#"label_replace(a, "x_total", "$1", "y", ".*;(.*)")"#, &["a"]),
            ("topk(10, a @ end()) and on (t) b offset 1h", &["a", "b"]),
            ("1e3 * 0x1F * histogram_quantile(0.95, a_bucket)", &["a_bucket"]),
            ("(1 - scalar(agent:threshold:x)) * time() % 86400", &["agent:threshold:x"]),
        ];
        for (expr, wanted) in cases {
            assert_eq!(named(expr).iter().map(String::as_str).collect::<Vec<_>>(), wanted, "{expr}");
        }
    }

    #[test]
    fn a_metric_that_nobody_has_is_not_known() {
        let known = Known::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("this repository");
        for name in [
            "agent_requests_total",
            "agent_request_duration_seconds_bucket",
            "agent:threshold:p95_seconds",
            "up",
        ] {
            assert!(known.has(name), "{name}");
        }
        // The names of the article that the kit came from.
        for name in ["agent_api_cost_usd", "agent_request_duration_seconds", "agent_request_total"] {
            assert!(!known.has(name), "{name}");
        }
    }
}
