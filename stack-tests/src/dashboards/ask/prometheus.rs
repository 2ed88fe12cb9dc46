//! Prometheus, as Grafana's data source asks it.

use serde_json::Value;

use super::{Asking, Data, When, answered};
use crate::dashboards::{list, text};

/// What the data source is told (`timeInterval`): how often the agent is scraped.
const SCRAPE_SECONDS: u64 = 5;

impl Asking<'_> {
    pub(super) fn prometheus(&self, query: &Value, when: When) -> Result<Data, String> {
        let scrape = match text(query, "interval") {
            "" => SCRAPE_SECONDS,
            interval => humantime::parse_duration(interval)
                .map_err(|e| format!("interval {interval}: {e}"))?
                .as_secs(),
        };
        let step = scrape.max(when.seconds().div_ceil(when.points));
        let expr = text(query, "expr")
            .replace("$__rate_interval", &format!("{}s", (step + scrape).max(4 * scrape)))
            .replace("$__range", &format!("{}s", when.seconds()))
            .replace("$__interval", &format!("{step}s"));
        if expr.contains("$__") {
            return Err(format!("nobody fills in what is left in {expr}"));
        }
        let (from, to, step) = (when.from.to_string(), when.to.to_string(), step.to_string());
        let api = format!("{}/api/v1", self.stack.prometheus);
        let answer = if query["instant"] == true {
            answered(self.get(&format!("{api}/query"), &[("query", &expr), ("time", &to)])?)?
        } else {
            let parameters = [("query", expr.as_str()), ("start", &from), ("end", &to), ("step", &step)];
            answered(self.get(&format!("{api}/query_range"), &parameters)?)?
        };
        let mut data = Data::default();
        for series in list(&answer["data"], "result") {
            let samples = list(series, "values").iter().chain(series.get("value"));
            // A graph has no place for them.
            let rows = samples.filter(|sample| sample[1] != "NaN").count();
            data.series += usize::from(rows > 0);
            data.rows += rows;
        }
        if query["exemplar"] == true {
            let parameters = [("query", expr.as_str()), ("start", &from), ("end", &to)];
            let answer = answered(self.get(&format!("{api}/query_exemplars"), &parameters)?)?;
            data.exemplars = list(&answer, "data").iter().map(|series| list(series, "exemplars").len()).sum();
        }
        Ok(data)
    }
}
