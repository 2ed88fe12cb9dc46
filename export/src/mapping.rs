//! What the adopter has said: a mapping file, and variables that add to it or overrule it.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use regex::Regex;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::{
    names::{Names, Source},
    vocabulary::{FIXED_LABELS, FIXED_METRICS, Vocabulary},
};

type Pairs = BTreeMap<String, String>;

/// Words that PromQL would not take for a metric.
const WORDS: [&str; 13] = [
    "and",
    "atan2",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "nan",
    "offset",
    "on",
    "or",
    "unless",
];
/// As Prometheus' data model has it; names that need quotes in queries are not for this.
static METRIC: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[a-zA-Z_:][a-zA-Z0-9_:]*$").expect("a constant pattern"));
static LABEL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[a-zA-Z_][a-zA-Z0-9_]*$").expect("a constant pattern"));
/// What Grafana takes for a uid.
static UID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[a-zA-Z0-9_-]{1,40}$").expect("a constant pattern"));

/// A mapping, as its file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// Grafana's folder; without it there is one for each folder of dashboards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Metrics; a histogram by its name without `_bucket`, `_sum` and `_count`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: Pairs,
    /// Labels of metrics and alerts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Pairs,
    /// Jobs of Prometheus.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: Pairs,
    /// Services of traces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: Pairs,
    /// Data sources of Grafana: `uid`, or `uid:name`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub datasources: Pairs,
    /// Where links lead: `grafana`, `prometheus`, `runbooks`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub urls: Pairs,
}

/// Where links lead; what is not said stays as the kit has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Urls {
    /// Where people open Grafana.
    pub grafana: Option<String>,
    /// Where people open Prometheus.
    pub prometheus: Option<String>,
    /// Where the runbooks are.
    pub runbooks: Option<String>,
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// One line that names the file, and the line in it.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!("{}, line {line}: {}", path.display(), error.message())
        })
    }

    /// This one, with what another says beside it or instead.
    #[must_use]
    pub fn overruled_by(mut self, other: Self) -> Self {
        self.metrics.extend(other.metrics);
        self.labels.extend(other.labels);
        self.jobs.extend(other.jobs);
        self.services.extend(other.services);
        self.datasources.extend(other.datasources);
        self.urls.extend(other.urls);
        self.folder = other.folder.or(self.folder);
        self
    }

    /// The names, once it is certain that they can be taken.
    ///
    /// # Errors
    /// One line: the name that the kit does not have, that nothing can be called, or that two would have.
    pub fn names(&self, words: &Vocabulary) -> Result<Names, String> {
        Ok(Names {
            metrics: metrics(&self.metrics, words)?,
            labels: labels(&self.labels, words)?,
            jobs: plain("job", &self.jobs, &words.jobs)?,
            services: plain("service", &self.services, &words.services)?,
            sources: sources(&self.datasources, words)?,
        })
    }

    /// Where links lead.
    ///
    /// # Errors
    /// One line: a link that there is not, or that leads nowhere.
    pub fn links(&self) -> Result<Urls, String> {
        let mut urls = Urls::default();
        for (name, url) in &self.urls {
            let place = match &**name {
                "grafana" => &mut urls.grafana,
                "prometheus" => &mut urls.prometheus,
                "runbooks" => &mut urls.runbooks,
                _ => {
                    return Err(format!(
                        "urls: there is no {name}: it can be grafana, prometheus or runbooks"
                    ));
                }
            };
            let parsed: Result<Url, _> = url.parse();
            let sound = parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            // It is written into YAML, templates and JSON: what has a meaning there has no place in it.
            if !sound || url.contains(|c: char| c.is_whitespace() || "'\"`{}\\#<>".contains(c)) {
                return Err(format!("urls: {name}: {url:?} is no address such as https://example.com/path"));
            }
            *place = Some(url.trim_end_matches('/').to_owned());
        }
        Ok(urls)
    }
}

/// `a=b,c=d`, for clap's `value_parser`.
pub fn pairs(value: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (from, to) =
            pair.split_once('=').ok_or(format!("{pair:?} is no pair such as kit_name=your_name"))?;
        let (from, to) = (from.trim(), to.trim());
        if from.is_empty() || to.is_empty() {
            return Err(format!("{pair:?} is no pair such as kit_name=your_name"));
        }
        if pairs.insert(from.to_owned(), to.to_owned()).is_some() {
            return Err(format!("{from} is mapped twice"));
        }
    }
    Ok(pairs)
}

fn metrics(mapped: &Pairs, words: &Vocabulary) -> Result<Pairs, String> {
    let mut series = Pairs::new();
    for (from, to) in mapped {
        if words.recorded.contains(from) {
            return Err(format!(
                "metrics: {from} is recorded by the kit's own rules: there is nothing to map"
            ));
        }
        if let Some(histogram) = words.histogram_of(from) {
            return Err(format!(
                "metrics: {from} belongs to a histogram: map {histogram}, and its three series follow"
            ));
        }
        known("metric", from, words.metrics.iter())?;
        if !METRIC.is_match(to) || WORDS.contains(&&*to.to_ascii_lowercase()) {
            return Err(format!(
                "metrics: {from}: {to:?} is no name of a metric: letters, digits, _ and :, no digit first"
            ));
        }
        let ends: &[&str] =
            if words.histograms.contains(from) { &["", "_bucket", "_count", "_sum"] } else { &[""] };
        series.extend(ends.iter().map(|end| (format!("{from}{end}"), format!("{to}{end}"))));
    }
    let all = words.metrics.iter().flat_map(|metric| {
        let mut series = words.series(metric);
        series.push(metric.clone());
        series
    });
    let fixed = FIXED_METRICS.map(str::to_owned);
    apart("metrics", &series, all.chain(words.recorded.iter().cloned()).chain(fixed))?;
    Ok(series)
}

fn labels(mapped: &Pairs, words: &Vocabulary) -> Result<Pairs, String> {
    for (from, to) in mapped {
        if FIXED_LABELS.contains(&&**from) {
            return Err(format!("labels: {from} is Prometheus' own: it has that name everywhere"));
        }
        known("label", from, words.labels.iter())?;
        if !LABEL.is_match(to) || to.starts_with("__") {
            return Err(format!(
                "labels: {from}: {to:?} is no name of a label: letters, digits and _, no digit first, and not __"
            ));
        }
    }
    let fixed = FIXED_LABELS.map(str::to_owned);
    apart("labels", mapped, words.labels.iter().chain(&words.made).cloned().chain(fixed))?;
    Ok(mapped.clone())
}

fn plain(what: &str, mapped: &Pairs, all: &std::collections::BTreeSet<String>) -> Result<Pairs, String> {
    for (from, to) in mapped {
        known(what, from, all.iter())?;
        if !to.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c)) {
            return Err(format!("{what}s: {from}: {to:?} has more than letters, digits and . _ / -"));
        }
    }
    apart(&format!("{what}s"), mapped, all.iter().cloned())?;
    Ok(mapped.clone())
}

fn sources(mapped: &Pairs, words: &Vocabulary) -> Result<BTreeMap<String, Source>, String> {
    let mut sources = BTreeMap::new();
    let mut uids = Pairs::new();
    for (from, to) in mapped {
        known("datasource", from, words.sources.iter())?;
        let (uid, name) = to.split_once(':').map_or((&**to, None), |(uid, name)| (uid, Some(name)));
        if !UID.is_match(uid) {
            return Err(format!(
                "datasources: {from}: {uid:?} is no uid: letters, digits, _ and -, 40 at the most"
            ));
        }
        if name.is_some_and(|name| name.is_empty() || name.contains(['"', '\'', '\\', '#', ':'])) {
            return Err(format!("datasources: {from}: no name after the colon, or one with quotes"));
        }
        uids.insert(from.clone(), uid.to_owned());
        sources.insert(from.clone(), Source { uid: uid.to_owned(), name: name.map(str::to_owned) });
    }
    apart("datasources", &uids, words.sources.iter().cloned())?;
    Ok(sources)
}

/// That the kit has such a name.
fn known<'n>(what: &str, name: &str, all: impl Iterator<Item = &'n String>) -> Result<(), String> {
    let mut nearest: Option<(f64, &str)> = None;
    for other in all {
        if other == name {
            return Ok(());
        }
        let alike = strsim::jaro_winkler(other, name);
        if nearest.is_none_or(|(most, _)| alike > most) {
            nearest = Some((alike, other));
        }
    }
    // Below that it is another word.
    let hint = nearest.filter(|(alike, _)| *alike > 0.8);
    let hint = hint.map_or(String::new(), |(_, other)| format!(": did you mean {other}?"));
    Err(format!("{what}s: the kit has no {what} {name}{hint}"))
}

/// That no two of the kit's names become one.
fn apart(what: &str, mapped: &Pairs, all: impl Iterator<Item = String>) -> Result<(), String> {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for name in all {
        let new = mapped.get(&name).unwrap_or(&name).clone();
        match taken.get(&new) {
            Some(other) if *other != name => {
                let (kept, moved) = if mapped.contains_key(&name) { (other, &name) } else { (&name, other) };
                return Err(format!("{what}: {moved} cannot become {new}: {kept} is called so as well"));
            }
            _ => drop(taken.insert(new, name)),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
