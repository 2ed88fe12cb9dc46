//! Elasticsearch, as far as it is asked for lines. The names of indices and fields are those of `elasticsearch/`.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, Url};
use serde_json::{Value, json};

use crate::{
    http,
    ledger::{AUDIT, STREAMS},
    settings,
};

/// The prefix of each stream's indices, by [`STREAMS`]: `agent-logs-2026.11.24`, and those of lines that could not be used,
/// `agent-logs-unparsed-…` and `agent-logs-dead-…`.
pub const PREFIXES: [&str; STREAMS.len()] = ["agent-logs", "agent-audit"];
/// Why a line could not be used: a word in its index's name, and the values of the label `reason`.
pub const UNUSABLE: [&str; 2] = ["unparsed", "dead"];
/// In seconds.
const HOUR: u64 = 3600;
/// The most runs of agents in an hour, each with an audit trail of its own.
const MAX_RUNS: usize = 1_000;
/// The most lines of one story.
const MAX_LINES: usize = 10_000;

/// What Elasticsearch has of one stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Indexed {
    /// The time in its newest line, as seconds since 1970. Lines from the future do not count.
    pub newest: Option<f64>,
    /// Lines of all kinds in the time that was asked for.
    pub lines: u64,
    /// Lines of this hour and the last that could not be used, by [`UNUSABLE`].
    pub unusable: [u64; UNUSABLE.len()],
}

/// A node or a cluster, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct Elasticsearch {
    client: Client,
    settings: settings::Elasticsearch,
}

impl Elasticsearch {
    /// Does not ask yet.
    pub fn new(client: Client, settings: settings::Elasticsearch) -> Self {
        Self { client, settings }
    }

    /// Where it is.
    pub fn url(&self) -> &Url {
        &self.settings.url
    }

    /// What there is of a stream: the newest line up to `now`, and the lines later than `after` up to `until`.
    pub async fn indexed(
        &self,
        stream: usize,
        now: SystemTime,
        span: Option<(SystemTime, SystemTime)>,
    ) -> Result<Indexed, String> {
        let pattern = format!("{}-*", PREFIXES[stream]);
        let newest = json!({"size": 1, "_source": false, "track_total_hits": false,
            "query": {"range": {"@timestamp": {"lte": millis(now), "format": "epoch_millis"}}},
            "sort": [{"@timestamp": {"order": "desc", "unmapped_type": "date"}}]});
        let newest = self.search(&pattern, &newest).await?;
        let newest = newest["hits"]["hits"][0]["sort"][0].as_f64().map(|millis| millis / 1000.0);

        let range = |after: SystemTime, until: SystemTime| {
            json!({"range": {"@timestamp":
                {"gt": millis(after), "lte": millis(until), "format": "epoch_millis"}}})
        };
        let (after, until) = span.unwrap_or((now, now));
        // This hour and the last, whole: a line that is no JSON has the time of its file, which is that of its hour's start.
        let hours = (now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / HOUR).saturating_sub(1);
        let last_hour = UNIX_EPOCH + Duration::from_secs(hours * HOUR) - Duration::from_millis(1);
        let unusable = |reason: &str| {
            let index = format!("{}-{reason}-", PREFIXES[stream]);
            json!({"filter": {"bool": {"filter": [{"prefix": {"_index": index}}, range(last_hour, now)]}}})
        };
        let counts = json!({"size": 0, "track_total_hits": false, "query": range(after.min(last_hour), now), "aggs": {
            "span": {"filter": range(after, until)},
            "unparsed": unusable(UNUSABLE[0]), "dead": unusable(UNUSABLE[1])}});
        let counts = self.search(&pattern, &counts).await?;
        let count = |name: &str| counts["aggregations"][name]["doc_count"].as_u64().unwrap_or_default();
        Ok(Indexed { newest, lines: count("span"), unusable: UNUSABLE.map(count) })
    }

    /// How many numbers of the audit trail are missing between two others of the same run, of the events later than `after` up to
    /// `until`. Each line is one document, so there are as many numbers as documents.
    pub async fn audit_gaps(&self, after: SystemTime, until: SystemTime) -> Result<u64, String> {
        let pattern = format!("{}-*", PREFIXES[AUDIT]);
        let query = json!({"size": 0, "track_total_hits": false,
            "query": {"range": {"@timestamp":
                {"gt": millis(after), "lte": millis(until), "format": "epoch_millis"}}},
            "aggs": {"runs": {"terms": {"field": "boot_id", "size": MAX_RUNS}, "aggs": {
                "first": {"min": {"field": "seq"}}, "last": {"max": {"field": "seq"}},
                "numbers": {"value_count": {"field": "seq"}}}}}});
        let answer = self.search(&pattern, &query).await?;
        let runs = answer["aggregations"]["runs"]["buckets"].as_array().into_iter().flatten();
        Ok(runs.map(missing_in).sum())
    }

    /// The documents that carry an id of a request or a trace, oldest first, each with the name of its index.
    pub async fn lines_of(&self, id: &str) -> Result<Vec<(String, Value)>, String> {
        let pattern = PREFIXES.map(|prefix| format!("{prefix}-*")).join(",");
        let query = json!({"size": MAX_LINES, "track_total_hits": false,
            "query": {"bool": {"should": [{"term": {"request_id": id}}, {"term": {"trace.id": id}}]}},
            "sort": [{"@timestamp": {"order": "asc", "unmapped_type": "date"}}]});
        let mut answer = self.search(&pattern, &query).await?;
        let hits = answer["hits"]["hits"].as_array_mut().map(std::mem::take).unwrap_or_default();
        Ok(hits
            .into_iter()
            .map(|mut hit| (hit["_index"].as_str().unwrap_or_default().to_owned(), hit["_source"].take()))
            .collect())
    }

    /// Searches; an index that is not there yet is no error, but an answer with a part missing is.
    async fn search(&self, pattern: &str, query: &Value) -> Result<Value, String> {
        let mut url = self.settings.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{pattern}/_search"));
        url.set_query(Some(
            "ignore_unavailable=true&allow_no_indices=true&allow_partial_search_results=false",
        ));
        let mut request = self.client.post(url).json(query);
        if let Some(password) = &self.settings.password {
            request = request.basic_auth(&self.settings.user, Some(&password.0));
        }
        http::json(request).await
    }
}

/// The numbers that are missing in one run; none where it has none.
fn missing_in(run: &Value) -> u64 {
    let number = |name: &str| run[name]["value"].as_f64().map(|value| value as u64);
    let (Some(first), Some(last), Some(numbers)) = (number("first"), number("last"), number("numbers"))
    else {
        return 0;
    };
    (last.saturating_sub(first) + 1).saturating_sub(numbers)
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: f64, last: f64, numbers: u64) -> Value {
        json!({"first": {"value": first}, "last": {"value": last}, "numbers": {"value": numbers}})
    }

    #[test]
    fn what_is_between_two_numbers_and_not_there_is_missing() {
        assert_eq!(missing_in(&run(7.0, 9.0, 3)), 0);
        assert_eq!(missing_in(&run(7.0, 9.0, 2)), 1);
        assert_eq!(missing_in(&run(1.0, 100.0, 2)), 98);
        assert_eq!(missing_in(&run(4.0, 4.0, 1)), 0, "a single one is between none");
        assert_eq!(missing_in(&run(4.0, 4.0, 2)), 0, "twice is not too few");
        assert_eq!(
            missing_in(&json!({"first": {"value": null}, "last": {"value": null}, "numbers": {"value": 0}})),
            0,
            "lines that could not be read have no number"
        );
    }
}
