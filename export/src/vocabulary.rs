//! The kit's own names: what there is to be mapped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::Value;
use stack_tests::dashboards::{self, lint::SOURCES};

use crate::{
    document,
    promql::{self, Kind},
    template,
};

/// What Prometheus calls so, and nobody can call otherwise.
pub const FIXED_METRICS: [&str; 2] = ["ALERTS", "up"];
/// Prometheus' own labels, and those that the language looks at itself.
pub const FIXED_LABELS: [&str; 5] = ["__name__", "alertname", "alertstate", "le", "quantile"];
/// The series of a histogram.
pub const HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];
/// The label of exemplars: no query names it.
const EXEMPLAR: &str = "trace_id";

static ROW: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^\| `([a-z0-9_]+)` \| (counter|gauge|histogram) \| [^|]* \| ([^|]*) \|")
        .expect("a constant pattern")
});

/// The kit's names.
#[derive(Default)]
pub struct Vocabulary {
    /// What is scraped or pushed. A histogram is one of them, by its name without an ending.
    pub metrics: BTreeSet<String>,
    /// Which of them are histograms.
    pub histograms: BTreeSet<String>,
    /// What the rules record.
    pub recorded: BTreeSet<String>,
    /// Labels of metrics and of alerts.
    pub labels: BTreeSet<String>,
    /// Labels that expressions make for themselves.
    pub made: BTreeSet<String>,
    /// What the agent's own metrics have for labels, by its page.
    pub documented: BTreeMap<String, BTreeSet<String>>,
    /// Jobs in the configuration of Prometheus.
    pub jobs: BTreeSet<String>,
    /// The jobs that a rule asks for by name.
    pub asked_jobs: BTreeSet<String>,
    /// Services that dashboards ask Jaeger for.
    pub services: BTreeSet<String>,
    /// Grafana's data sources, by uid.
    pub sources: BTreeSet<String>,
}

impl Vocabulary {
    /// The names in a clone of the kit.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn of(kit: &Path) -> Result<Self, String> {
        let mut words = Self { sources: SOURCES.map(str::to_owned).into(), ..Self::default() };
        words.labels.insert(EXEMPLAR.to_owned());
        let mut series = BTreeSet::new();
        words.page(&read(&kit.join("docs/metrics.md"))?);
        for folder in ["rules", "thresholds"] {
            for file in files(&kit.join("prometheus").join(folder), "yml")? {
                words.rules(&file, &mut series)?;
            }
        }
        // Of the rules alone: whatever else names a job only looks at it.
        let asked_jobs = words.asked_jobs.clone();
        for scalar in document::scalars(&read(&kit.join("prometheus/prometheus.yml"))?)? {
            if scalar.at() == ["scrape_configs", "-", "job_name"] && !scalar.is_key {
                words.jobs.insert(scalar.text());
            }
        }
        for dashboard in dashboards::load(&kit.join("grafana/dashboards"))? {
            for query in dashboard.queries() {
                let text = |key: &str| query.json[key].as_str().unwrap_or_default().to_owned();
                let variable = query.json["query"]["query"].as_str().unwrap_or_default().to_owned();
                if query.source == "prometheus" {
                    words.expression(&text("expr"), &mut series);
                    words.expression(&variable, &mut series);
                }
                words.services.extend(Some(text("service")).filter(|service| !service.is_empty()));
            }
        }
        let sources = read(&kit.join("grafana/provisioning/datasources/datasources.yaml"))?;
        for scalar in document::scalars(&sources)?.iter().filter(|scalar| is_span_query(&scalar.at())) {
            words.expression(&scalar.text(), &mut series);
        }
        for page in files(&kit.join("docs/runbooks"), "md")? {
            for query in read(&page)?.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next())
            {
                words.expression(query, &mut series);
            }
        }
        words.asked_jobs = asked_jobs;
        words.sort_out(series);
        Ok(words)
    }

    /// The agent's own page: all that it emits, whether or not somebody asks for it.
    fn page(&mut self, page: &str) {
        for row in ROW.captures_iter(page) {
            let labels: BTreeSet<_> = row[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            self.labels.extend(labels.iter().cloned());
            self.documented.insert(row[1].to_owned(), labels);
            self.metrics.insert(row[1].to_owned());
            if &row[2] == "histogram" {
                self.histograms.insert(row[1].to_owned());
            }
        }
    }

    fn rules(&mut self, file: &Path, series: &mut BTreeSet<String>) -> Result<(), String> {
        let text = read(file)?;
        for scalar in document::scalars(&text).map_err(|e| format!("{}: {e}", file.display()))? {
            match scalar.at()[..] {
                ["groups", "-", "rules", "-", "labels"] if scalar.is_key => {
                    self.labels.insert(scalar.text());
                }
                ["groups", "-", "rules", "-", "record"] => {
                    self.recorded.insert(scalar.text());
                }
                ["groups", "-", "rules", "-", "expr"] => self.expression(&scalar.text(), series),
                ["groups", "-", "rules", "-", "annotations", _] => {
                    for query in template::queries(&scalar.text()) {
                        self.expression(&query, series);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn expression(&mut self, expr: &str, series: &mut BTreeSet<String>) {
        for found in promql::names(expr) {
            let name = expr[found.range].to_owned();
            match found.kind {
                Kind::Metric { .. } => drop(series.insert(name)),
                Kind::Label => drop(self.labels.insert(name)),
                Kind::Made => drop(self.made.insert(name)),
                Kind::Job => drop(self.asked_jobs.insert(name)),
                Kind::Comment => {}
            }
        }
    }

    /// Which of the series that are asked for are scraped, and which of those belong to a histogram.
    fn sort_out(&mut self, series: BTreeSet<String>) {
        self.histograms
            .extend(series.iter().filter_map(|name| Some(name.strip_suffix("_bucket")?.to_owned())));
        // What has no _ is no metric but a piece of a template's pattern.
        let scraped = series
            .into_iter()
            .filter(|name| name.contains('_') && !name.contains(':') && !FIXED_METRICS.contains(&&**name));
        for name in scraped {
            let name = self.histogram_of(&name).unwrap_or(name);
            self.metrics.insert(name);
        }
        self.labels.retain(|label| !FIXED_LABELS.contains(&&**label));
        self.made.retain(|label| !self.labels.contains(label));
        self.asked_jobs.retain(|job| self.jobs.contains(job));
    }

    /// The histogram that a series belongs to.
    pub fn histogram_of(&self, series: &str) -> Option<String> {
        let base = HISTOGRAM.iter().find_map(|end| series.strip_suffix(end))?;
        self.histograms.contains(base).then(|| base.to_owned())
    }

    /// The series of a metric: its own name, or the three of a histogram.
    pub fn series(&self, metric: &str) -> Vec<String> {
        if self.histograms.contains(metric) {
            HISTOGRAM.map(|end| format!("{metric}{end}")).into()
        } else {
            vec![metric.to_owned()]
        }
    }
}

/// The queries that lead from a span to its metrics.
pub fn is_span_query(path: &[&str]) -> bool {
    path == ["datasources", "-", "jsonData", "tracesToMetrics", "queries", "-", "query"]
}

/// A file's text.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The files in a folder whose names end in `.extension`, sorted, links left out.
///
/// # Errors
/// Names the folder.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == extension) && !path.is_symlink());
    files.sort();
    Ok(files)
}

/// A string of JSON, empty where it is none.
pub fn string<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kits_names_are_sorted_by_what_they_are() {
        let words =
            Vocabulary::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("this repository");
        for name in [
            "agent_requests_total",
            "agent_request_duration_seconds",
            "node_load5",
            "process_start_time_seconds",
            "agent_answer_accuracy_ratio",
            "agent_tenant_budget_usd",
            "traces_span_metrics_duration_milliseconds",
        ] {
            assert!(words.metrics.contains(name), "{name}");
        }
        for name in
            ["agent_request_duration_seconds_bucket", "agent:requests:rate5m", "up", "ALERTS", "vector"]
        {
            assert!(!words.metrics.contains(name), "{name}");
        }
        for name in ["tenant_id", "status", "severity", "mountpoint", "trace_id", "job"] {
            assert!(words.labels.contains(name), "{name}");
        }
        assert!(!words.labels.contains("le") && words.made.contains("part") && words.made.contains("scope"));
        let asked = ["alertmanager", "elasticsearch-exporter", "grafana", "jaeger", "log-watch"];
        let asked = asked.into_iter().chain(["node-exporter", "prometheus", "pushgateway"]);
        assert_eq!(words.asked_jobs, asked.map(str::to_owned).collect());
        assert_eq!(words.services, ["example-agent".to_owned()].into());
        assert!(words.documented["agent_requests_total"].contains("status"));
    }
}
