//! Which of the metrics and labels that an export needs a Prometheus lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use command_line::http;
use reqwest::{Url, blocking::Client};
use serde_json::Value;
use stack_tests::dashboards;

use crate::{
    parts::{self, Part, Request},
    promql::{self, Kind},
    vocabulary::{FIXED_METRICS, string},
};

/// What was there within this time counts as there: as long as Prometheus keeps its newest block open at the least.
const LATELY: Duration = Duration::from_hours(2);
/// For one question, of which there are about a hundred.
const PATIENCE: Duration = Duration::from_secs(30);
/// Labels that whoever scrapes adds, and that of a histogram's buckets.
const ALWAYS: [&str; 3] = ["instance", "job", "le"];
/// The kit's metrics that are rightly not there yet, and until when. The kit's agent shows most of its counters at 0 from the
/// start; with other libraries a counter is not there before it has counted once.
const NOT_YET: [(&str, &str); 16] = [
    ("agent_answer_accuracy_ratio", "the evaluation of answers has pushed its result"),
    ("agent_cache_hit_rate", "the cache has been asked"),
    ("agent_compliance_violations_total", "a compliance rule has been broken"),
    ("agent_errors_total", "a request has failed"),
    ("agent_feedback_total", "an answer has been rated"),
    ("agent_llm_estimated_calls_total", "the model has been called"),
    ("agent_llm_retries_total", "a call of the model has been made again"),
    ("agent_llm_unpriced_calls_total", "a model without a price has been called"),
    ("agent_tenant_budget_usd", "a tenant has a budget"),
    ("agent_tenant_spent_today_usd", "a tenant has a budget"),
    ("alertmanager_notifications_failed_total", "Alertmanager runs with receivers"),
    ("gen_ai_client_operation_duration_seconds", "the model has been called"),
    ("gen_ai_client_operation_time_to_first_chunk_seconds", "the model has been called"),
    ("gen_ai_client_token_usage", "the model has been called"),
    ("prometheus_notifications_errors_total", "Prometheus knows an Alertmanager"),
    ("push_time_seconds", "a batch has pushed"),
];

/// What is asked of one series.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// The labels.
    pub labels: BTreeSet<String>,
    /// Who asks: alerts and recorded series, or panels.
    pub by: BTreeSet<String>,
    /// The event before which it is rightly not there.
    pub not_yet: Option<&'static str>,
    /// The rules of the kit record it.
    pub recorded: bool,
}

/// What an export asks for, by the adopter's names.
pub type Needs = BTreeMap<String, Need>;

/// All that the rules or dashboards in a folder ask for.
///
/// # Errors
/// Names the file that cannot be read.
pub fn needs(part: Part, folder: &Path, request: &Request<'_>) -> Result<Needs, String> {
    let mut asked = Vec::new();
    if part == Part::Prometheus {
        for file in crate::vocabulary::files(&folder.join("rules"), "yml")? {
            asked.extend(parts::asked(&file)?);
        }
    } else {
        let uid = request.names.sources.get("prometheus").map_or("prometheus", |source| &source.uid);
        for dashboard in dashboards::load(&folder.join("dashboards"))? {
            let title = string(&dashboard.json, "title").to_owned();
            for query in dashboard.queries().iter().filter(|query| query.source == uid) {
                let who = format!("{title}: {}", query.title);
                for expr in [string(&query.json, "expr"), string(&query.json["query"], "query")] {
                    // The variable that completes the name of a recorded series, with each of its values.
                    asked.extend(
                        ["agent", "tenant"].map(|scope| (who.clone(), expr.replace("${scope}", scope))),
                    );
                }
            }
        }
    }
    let mut needs = Needs::new();
    for (who, expr) in asked {
        for found in promql::names(&expr) {
            let Kind::Metric { needs: labels } = found.kind else { continue };
            let name = &expr[found.range];
            let own =
                FIXED_METRICS.contains(&name) || name.starts_with("scrape_") || !name.contains(['_', ':']);
            let recorded = request.words.recorded.contains(name);
            if own || (recorded && part == Part::Prometheus) {
                continue;
            }
            let need = needs.entry(name.to_owned()).or_default();
            need.recorded = recorded;
            need.labels.extend(labels);
            need.by.insert(who.clone());
        }
    }
    for (name, need) in &mut needs {
        know(name, need, request);
    }
    Ok(needs)
}

/// What the kit knows of a series: the labels it has, and whether it is there from the start.
fn know(name: &str, need: &mut Need, request: &Request<'_>) {
    let kits = |names: &BTreeMap<String, String>, new: &str| {
        names.iter().find(|(_, named)| *named == new).map_or(new.to_owned(), |(old, _)| old.clone())
    };
    let old = kits(&request.names.metrics, name);
    let metric = request.words.histogram_of(&old).unwrap_or(old);
    need.not_yet = NOT_YET.iter().find(|(late, _)| *late == metric).map(|(_, until)| *until);
    let documented = request.words.documented.get(&metric);
    need.labels.retain(|label| {
        let old = kits(&request.names.labels, label);
        !ALWAYS.contains(&&*old) && documented.is_none_or(|has| has.contains(&old))
    });
}

/// What a Prometheus has of it.
#[derive(Debug, Default)]
pub struct Report {
    server: String,
    asked: usize,
    missing: Vec<(String, String)>,
    unrecorded: Vec<String>,
    labels: Vec<(String, String, String)>,
    not_yet: Vec<(String, &'static str)>,
}

impl Report {
    /// Something is missing that nothing excuses.
    pub fn is_lacking(&self) -> bool {
        !(self.missing.is_empty() && self.unrecorded.is_empty() && self.labels.is_empty())
    }
}

/// Asks a Prometheus.
///
/// # Errors
/// That it does not answer, or not as a Prometheus does.
pub fn ask(server: &Url, needs: &Needs) -> Result<Report, String> {
    let mut client = http::blocking_client([server]).timeout(PATIENCE);
    if matches!(server.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        client = client.no_proxy();
    }
    let client = client.build().map_err(|e| http::cannot_build(&e))?;
    let base = server.as_str().trim_end_matches('/');
    let since =
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(LATELY).as_secs();
    let list = |path: &str, query: &[(&str, &str)]| {
        let address = format!("{base}/api/v1/{path}");
        let mut url: Url = address.parse().map_err(|e| format!("{address}: {e}"))?;
        url.query_pairs_mut().extend_pairs(query).append_pair("start", &since.to_string());
        get(&client, url)
    };
    let there = list("label/__name__/values", &[])?;
    let mut report = Report { server: shown(server), asked: needs.len(), ..Report::default() };
    for (name, need) in needs {
        let by = few(&need.by);
        if !there.contains(name) {
            match need.not_yet {
                Some(until) => report.not_yet.push((name.clone(), until)),
                None if need.recorded => report.unrecorded.push(name.clone()),
                None => report.missing.push((name.clone(), by)),
            }
            continue;
        }
        if need.labels.is_empty() {
            continue;
        }
        let has = list("labels", &[("match[]", name)])?;
        for label in need.labels.difference(&has) {
            report.labels.push((name.clone(), label.clone(), by.clone()));
        }
    }
    Ok(report)
}

fn get(client: &Client, url: Url) -> Result<BTreeSet<String>, String> {
    let place = shown(&url);
    let failed = |e: reqwest::Error| format!("{place}: {}", e.without_url());
    let answer = client.get(url).send().map_err(failed)?;
    let status = answer.status();
    let text = answer.text().map_err(failed)?;
    let json: Value = serde_json::from_str(&text).map_err(|_| {
        format!("{place}: status {status}, and no answer of a Prometheus: {:.80}", text.trim())
    })?;
    if json["status"] != "success" {
        return Err(format!("{place}: status {status}: {}", string(&json, "error")));
    }
    let names = json["data"].as_array().into_iter().flatten();
    Ok(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

/// An address without what is secret in it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

/// Three of many.
fn few(all: &BTreeSet<String>) -> String {
    let shown: Vec<_> = all.iter().take(3).map(String::as_str).collect();
    let rest = all.len() - shown.len();
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{}{more}", shown.join(", "))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = self.missing.len() + self.unrecorded.len() + self.not_yet.len();
        write!(
            f,
            "{} has {} of the {} series that are asked for.",
            self.server,
            self.asked - absent,
            self.asked
        )?;
        if !self.missing.is_empty() {
            write!(f, "\nMissing, and what asks for it:")?;
            for (name, by) in &self.missing {
                write!(f, "\n  {name}  {by}")?;
            }
            write!(
                f,
                "\nScrape what has them; or map their names (METRICS=, or [metrics] in the mapping file) where yours are others; \
                 or leave out what asks."
            )?;
        }
        if !self.labels.is_empty() {
            write!(f, "\nMissing labels, and what asks for them:")?;
            for (name, label, by) in &self.labels {
                write!(f, "\n  {name}{{{label}}}  {by}")?;
            }
            write!(f, "\nMap them (LABELS=, or [labels]), or add them where the metrics are made.")?;
        }
        if !self.unrecorded.is_empty() {
            write!(
                f,
                "\nRecorded by the kit's rules, and not there: load the rules of PART=prometheus, and wait a minute."
            )?;
            for name in &self.unrecorded {
                write!(f, "\n  {name}")?;
            }
        }
        if !self.not_yet.is_empty() {
            write!(f, "\nNot there, which is no fault until something happens:")?;
            for (name, until) in &self.not_yet {
                write!(f, "\n  {name}  until {until}")?;
            }
        }
        Ok(())
    }
}
