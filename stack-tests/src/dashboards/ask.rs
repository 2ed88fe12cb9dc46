//! Queries, sent to where their data is: through Grafana where it runs, else straight to the source.

mod elasticsearch;
mod grafana;
mod jaeger;
mod prometheus;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reqwest::{
    Url,
    blocking::{Client, RequestBuilder},
};
use serde_json::Value;

use super::{
    Query, text,
    variables::{self, Choice},
};
use crate::{
    clients::{Answer, client, send},
    stack::Stack,
};

/// What a data source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Metrics.
    Prometheus,
    /// Documents in indices of a day, read by a user.
    Elasticsearch {
        /// What the names of the indices begin with.
        indices: &'static str,
        /// Who may read them.
        user: &'static str,
    },
    /// Traces.
    Jaeger,
}

/// The data sources by their uids.
pub type Sources = BTreeMap<String, Source>;

/// Those of `grafana/provisioning/datasources` that panels ask; `rename` gives the uids that they have.
pub fn sources(rename: &dyn Fn(&str) -> String) -> Sources {
    let elasticsearch = |indices, user| Source::Elasticsearch { indices, user };
    [
        ("prometheus", Source::Prometheus),
        ("elasticsearch", elasticsearch("agent-logs-", "agent_logs_reader")),
        ("elasticsearch-audit", elasticsearch("agent-audit-", "agent_audit_reader")),
        ("jaeger", Source::Jaeger),
    ]
    .map(|(uid, source)| (rename(uid), source))
    .into()
}

/// More points in a series Prometheus refuses.
const MOST_POINTS: u64 = 11_000;

/// What came back.
#[derive(Clone, Copy, Default, Debug)]
pub struct Data {
    /// Lines, slices, bars: what the eye has to tell apart.
    pub series: usize,
    /// Values in all of them.
    pub rows: usize,
    /// Points that lead to traces, where the query wants them.
    pub exemplars: usize,
}

/// The moments that a query is about, and how finely.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// Seconds since 1970.
    pub from: u64,
    /// Seconds since 1970.
    pub to: u64,
    /// How many points across there is room for.
    pub points: u64,
}

impl When {
    /// The time up to now.
    pub fn last(length: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { from: now.saturating_sub(length.as_secs()), to: now, points: 600 }
    }

    /// The same time with a point for each second, as far as Prometheus goes.
    #[must_use]
    pub fn every_second(self) -> Self {
        Self { points: self.seconds().min(MOST_POINTS), ..self }
    }

    fn seconds(&self) -> u64 {
        self.to - self.from
    }
}

/// Somebody who asks.
pub struct Asking<'s> {
    stack: &'s Stack,
    sources: Sources,
    client: Client,
    through_grafana: bool,
}

impl<'s> Asking<'s> {
    /// Asks a stack: through its Grafana, if there is one that has these data sources.
    pub fn of(stack: &'s Stack, sources: Sources, through_grafana: bool) -> Self {
        Self { stack, sources, client: client(), through_grafana }
    }

    /// What a query's source is.
    pub fn source(&self, query: &Query) -> Option<Source> {
        self.sources.get(&query.source).copied()
    }

    /// Asks, and says how long the answer took.
    ///
    /// # Errors
    /// What the source, or Grafana, says is wrong.
    pub fn ask(&self, query: &Query, choice: &Choice, when: When) -> Result<(Data, Duration), String> {
        let source = self.source(query).ok_or(format!("there is no data source {}", query.source))?;
        let lucene = matches!(source, Source::Elasticsearch { .. });
        let filled = variables::fill_all(&query.json, choice, lucene)?;
        let when = When { points: query.points.unwrap_or(when.points), ..when };
        let began = Instant::now();
        let data = if query.kind == "alertlist" {
            self.alerts(&query.source)
        } else if self.through_grafana {
            self.grafana(&query.source, &filled, when)
        } else {
            match source {
                Source::Prometheus => self.prometheus(&filled, when),
                Source::Elasticsearch { indices, user } => self.elasticsearch(&filled, indices, user, when),
                Source::Jaeger => self.jaeger(&filled, when),
            }
        };
        Ok((data?, began.elapsed()))
    }

    /// The values of a variable: `label_values(metric, label)`, or `query_result(expression)` and a pattern. Those that stand
    /// before it are chosen already.
    ///
    /// # Errors
    /// That it is of another form, or what the source says.
    pub fn values(&self, query: &Query, choice: &Choice) -> Result<(Vec<String>, Duration), String> {
        let definition = variables::fill(text(&query.json["query"], "query"), choice, false)?;
        let inner =
            |function: &str| definition.strip_prefix(function).and_then(|rest| rest.strip_suffix(')'));
        let base = if self.through_grafana {
            format!("{}/api/datasources/uid/{}/resources", self.stack.grafana, query.source)
        } else {
            self.stack.prometheus.clone()
        };
        let began = Instant::now();
        let values = if let Some(expr) = inner("query_result(") {
            let answer = answered(self.get(&format!("{base}/api/v1/query"), &[("query", expr)])?)?;
            matched(text(&query.json, "regex"), super::list(&answer["data"], "result"))?
        } else {
            let parts = inner("label_values(").and_then(|parts| parts.rsplit_once(','));
            let (metric, label) =
                parts.ok_or(format!("{definition}: a variable that this test does not know"))?;
            let url = format!("{base}/api/v1/label/{}/values", label.trim());
            let answer = answered(self.get(&url, &[("match[]", metric.trim())])?)?;
            let values = answer["data"].as_array().ok_or(format!("{definition}: {answer}"))?;
            values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
        };
        Ok((values, began.elapsed()))
    }

    /// What a list of alerts reads: pending and firing ones, of rules that there must be.
    fn alerts(&self, uid: &str) -> Result<Data, String> {
        let url = if self.through_grafana {
            format!("{}/api/prometheus/{uid}/api/v1/rules", self.stack.grafana)
        } else {
            format!("{}/api/v1/rules", self.stack.prometheus)
        };
        let answer = answered(self.get(&url, &[("type", "alert")])?)?;
        let groups = super::list(&answer["data"], "groups").iter();
        let rules: Vec<_> = groups
            .flat_map(|group| super::list(group, "rules"))
            .filter(|rule| rule["type"] == "alerting")
            .collect();
        if rules.is_empty() {
            return Err("Prometheus has no alert".into());
        }
        let shown = rules.iter().flat_map(|rule| super::list(rule, "alerts"));
        let rows = shown.filter(|alert| alert["labels"]["severity"] != "none").count();
        Ok(Data { series: usize::from(rows > 0), rows, exemplars: 0 })
    }

    fn get(&self, url: &str, parameters: &[(&str, &str)]) -> Result<RequestBuilder, String> {
        let url = Url::parse_with_params(url, parameters).map_err(|e| format!("{url}: {e}"))?;
        let request = self.client.get(url);
        Ok(if self.through_grafana { self.signed_in(request) } else { request })
    }

    fn signed_in(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth("admin", Some(&self.stack.grafana_password))
    }
}

/// The JSON that a request is answered with.
fn answered(request: RequestBuilder) -> Result<Value, String> {
    let answer: Answer = send(request)?;
    if answer.status == 200 { answer.json() } else { Err(format!("{}: {:.300}", answer.status, answer.text)) }
}

/// What a pattern `/…(…)…/` takes out of series, written as Prometheus does: `label="value"`.
fn matched(pattern: &str, series: &[Value]) -> Result<Vec<String>, String> {
    let pattern = regex::Regex::new(pattern.trim_matches('/')).map_err(|e| format!("{pattern}: {e}"))?;
    let written = series.iter().map(|series| {
        let labels = series["metric"].as_object().into_iter().flatten();
        labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    });
    Ok(written.filter_map(|text| Some(pattern.captures(&text)?.get(1)?.as_str().to_owned())).collect())
}
