//! Grafana's own way to data sources: what its pages use.

use serde_json::{Value, json};

use super::{Asking, Data, When, answered};
use crate::dashboards::{list, text};

impl Asking<'_> {
    pub(super) fn grafana(&self, uid: &str, query: &Value, when: When) -> Result<Data, String> {
        let mut query = query.clone();
        if text(&query, "refId").is_empty() {
            query["refId"] = json!("A");
        }
        query["datasource"] = json!({"uid": uid});
        query["maxDataPoints"] = json!(when.points);
        query["intervalMs"] = json!(1000 * when.seconds().div_ceil(when.points));
        let reference = text(&query, "refId").to_owned();
        let body = json!({"queries": [query], "from": (when.from * 1000).to_string(), "to": (when.to * 1000).to_string()});
        let request = self.client.post(format!("{}/api/ds/query", self.stack.grafana)).json(&body);
        let answer = answered(self.signed_in(request))?;
        let result = &answer["results"][&reference];
        if let Some(error) = result["error"].as_str() {
            return Err(error.to_owned());
        }
        let mut data = Data::default();
        for frame in list(result, "frames") {
            let columns = list(&frame["data"], "values");
            let rows = columns.first().and_then(Value::as_array).map_or(0, Vec::len);
            if frame["schema"]["name"] == "exemplar" {
                data.exemplars += rows;
            } else if rows > 0 {
                data.series += 1;
                data.rows += rows;
            }
        }
        Ok(data)
    }
}
