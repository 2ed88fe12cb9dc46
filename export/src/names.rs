//! The adopter's names in place of the kit's.

use std::collections::BTreeMap;

/// A data source of the adopter's Grafana.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What queries refer to it by.
    pub uid: String,
    /// What people see, and what the list of alerts refers to it by; none is the kit's own.
    pub name: Option<String>,
}

/// What the kit's names become. What is not in here keeps its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Metrics, a histogram's three series each by itself.
    pub metrics: BTreeMap<String, String>,
    /// Labels, of all metrics and alerts that have them.
    pub labels: BTreeMap<String, String>,
    /// Jobs of Prometheus.
    pub jobs: BTreeMap<String, String>,
    /// Services of traces.
    pub services: BTreeMap<String, String>,
    /// Grafana's data sources, by the kit's uid.
    pub sources: BTreeMap<String, Source>,
}

impl Names {
    /// What a metric becomes, if it becomes another.
    pub fn metric(&self, name: &str) -> Option<&str> {
        self.metrics.get(name).map(String::as_str)
    }

    /// What a label becomes, if it becomes another.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// What a job becomes, if it becomes another.
    pub fn job(&self, name: &str) -> Option<&str> {
        self.jobs.get(name).map(String::as_str)
    }

    /// The same without the jobs that `keep` refuses.
    #[must_use]
    pub fn with_jobs(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut names = self.clone();
        names.jobs.retain(|job, _| keep(job));
        names
    }
}
