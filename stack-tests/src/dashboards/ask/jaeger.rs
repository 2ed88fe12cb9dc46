//! Jaeger's search, as Grafana's data source asks for it.

use serde_json::Value;

use super::{Asking, Data, When, answered};
use crate::dashboards::{list, text};

impl Asking<'_> {
    pub(super) fn jaeger(&self, query: &Value, when: When) -> Result<Data, String> {
        if query["queryType"] != "search" {
            return Err(format!("queryType {}: this test knows none", query["queryType"]));
        }
        let mut parameters = vec![
            ("start", (when.from * 1_000_000).to_string()),
            ("end", (when.to * 1_000_000 + 999_999).to_string()),
            ("limit", query["limit"].to_string()),
        ];
        for name in ["service", "operation", "minDuration", "maxDuration", "tags"] {
            if !text(query, name).is_empty() {
                parameters.push((name, text(query, name).to_owned()));
            }
        }
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = answered(self.get(&format!("{}/api/traces", self.stack.jaeger), &parameters)?)?;
        let rows = list(&answer, "data").len();
        Ok(Data { series: usize::from(rows > 0), rows, exemplars: 0 })
    }
}
