//! Elasticsearch, as Grafana's data source asks it: the buckets of a query become nested aggregations.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{Asking, Data, When, answered};
use crate::dashboards::{list, text};

impl Asking<'_> {
    pub(super) fn elasticsearch(
        &self,
        query: &Value,
        indices: &str,
        user: &str,
        when: When,
    ) -> Result<Data, String> {
        let range = json!({"range": {"@timestamp": {"gte": when.from * 1000, "lte": when.to * 1000 + 999, "format": "epoch_millis"}}});
        let words = json!({"query_string": {"query": text(query, "query"), "analyze_wildcard": true}});
        let mut body = json!({"size": 0, "query": {"bool": {"filter": [range, words]}}});
        let metrics = list(query, "metrics");
        let lines = metrics.iter().find(|metric| metric["type"] == "logs");
        if let Some(lines) = lines {
            let size: u64 = text(&lines["settings"], "limit").parse().map_err(|e| format!("limit: {e}"))?;
            body["size"] = json!(size);
            body["sort"] = json!([{"@timestamp": "desc"}]);
        } else {
            body["aggs"] = aggregations(list(query, "bucketAggs"), metrics, when)?;
        }
        let days = days(when);
        let names: Vec<_> = days.iter().map(|day| format!("{indices}{day}")).collect();
        let url = format!(
            "{}/{}/_search?ignore_unavailable=true&allow_no_indices=true",
            self.stack.elasticsearch,
            names.join(",")
        );
        let password = self.stack.elasticsearch_password(user)?;
        let answer = answered(self.client.post(url).basic_auth(user, Some(password)).json(&body))?;
        if lines.is_some() {
            let rows = list(&answer["hits"], "hits").len();
            return Ok(Data { series: usize::from(rows > 0), rows, exemplars: 0 });
        }
        let buckets: Vec<_> = list(query, "bucketAggs").iter().map(|bucket| text(bucket, "id")).collect();
        let rows = leaves(&answer["aggregations"], &buckets);
        // Over time each bucket but that of time is a line; without time all is one table.
        let over_time =
            list(query, "bucketAggs").last().is_some_and(|bucket| bucket["type"] == "date_histogram");
        let series = if over_time {
            leaves(&answer["aggregations"], &buckets[..buckets.len() - 1])
        } else {
            rows.min(1)
        };
        Ok(Data { series, rows, exemplars: 0 })
    }
}

/// The names that indices of these days have.
fn days(when: When) -> Vec<String> {
    const DAY: u64 = 24 * 60 * 60;
    (when.from / DAY..=when.to / DAY)
        .map(|day| {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(day * DAY)).to_string()[..10]
                .replace('-', ".")
        })
        .collect()
}

fn aggregations(buckets: &[Value], metrics: &[Value], when: When) -> Result<Value, String> {
    let Some((bucket, inner)) = buckets.split_first() else {
        let values = metrics.iter().filter(|metric| metric["type"] != "count");
        let values = values.map(|metric| {
            (text(metric, "id").to_owned(), json!({text(metric, "type"): {"field": metric["field"]}}))
        });
        return Ok(Value::Object(values.collect::<Map<_, _>>()));
    };
    let (field, settings) = (&bucket["field"], &bucket["settings"]);
    let mut made = match text(bucket, "type") {
        "terms" => {
            let size: u64 = text(settings, "size").parse().map_err(|e| format!("size of {field}: {e}"))?;
            let order = match text(settings, "orderBy") {
                "_term" => "_key",
                other => other,
            };
            let mut terms =
                json!({"terms": {"field": field, "size": size, "order": {order: settings["order"]}}});
            // What they are ordered by must be beside them.
            if let Some(metric) = metrics.iter().find(|metric| metric["id"] == order) {
                terms["aggs"] = json!({order: {text(metric, "type"): {"field": metric["field"]}}});
            }
            terms
        }
        "date_histogram" => {
            let step = when.seconds().div_ceil(when.points).max(10);
            json!({"date_histogram": {"field": field, "fixed_interval": format!("{step}s"), "min_doc_count": 0}})
        }
        other => return Err(format!("buckets by {other}: this test knows none")),
    };
    let below = aggregations(inner, metrics, when)?;
    for (name, aggregation) in below.as_object().into_iter().flatten() {
        made["aggs"][name] = aggregation.clone();
    }
    Ok(json!({text(bucket, "id"): made}))
}

/// How many buckets there are at the bottom that hold anything.
fn leaves(aggregations: &Value, ids: &[&str]) -> usize {
    match ids.split_first() {
        None => 1,
        Some((id, inner)) => {
            let buckets = list(&aggregations[*id], "buckets").iter();
            buckets.filter(|bucket| bucket["doc_count"] != 0).map(|bucket| leaves(bucket, inner)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEN: When = When { from: 1_764_000_000, to: 1_764_003_600, points: 60 };

    #[test]
    fn buckets_are_nested_and_ordered() {
        let term = |id: &str, field: &str, by: &str| json!({"id": id, "type": "terms", "field": field, "settings": {"size": "10", "order": "desc", "orderBy": by}});
        let got = aggregations(
            &[term("2", "request_id", "1"), term("3", "tenant_id", "_term")],
            &[json!({"id": "1", "type": "max", "field": "d"})],
            WHEN,
        );
        let max = json!({"max": {"field": "d"}});
        let tenants = json!({"terms": {"field": "tenant_id", "size": 10, "order": {"_key": "desc"}}, "aggs": {"1": max}});
        let wanted = json!({"2": {"terms": {"field": "request_id", "size": 10, "order": {"1": "desc"}}, "aggs": {"1": max, "3": tenants}}});
        assert_eq!(got, Ok(wanted));
    }

    #[test]
    fn leaves_are_counted_where_something_is_in_them() {
        let answer = json!({"3": {"buckets": [
            {"doc_count": 2, "2": {"buckets": [{"doc_count": 2}, {"doc_count": 0}]}},
            {"doc_count": 1, "2": {"buckets": [{"doc_count": 1}]}}]}});
        assert_eq!(leaves(&answer, &["3", "2"]), 2);
        assert_eq!(leaves(&json!(null), &["3"]), 0);
    }

    #[test]
    fn a_range_over_midnight_has_two_days() {
        let midnight = 1_764_028_800;
        assert_eq!(
            days(When { from: midnight - 10, to: midnight + 10, points: 1 }),
            ["2025.11.24", "2025.11.25"]
        );
    }
}
