//! Logstash's API (`GET /_node/stats`), as far as it tells of its pipelines.
use reqwest::{Client, Url};
use serde_json::Value;

use crate::http;

/// One pipeline, as it is now. Counters are of Logstash's process: they begin again with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pipeline {
    /// Its id in pipelines.yml.
    pub id: String,
    /// Events that came in.
    pub events_in: u64,
    /// Events that its outputs took.
    pub events_out: u64,
    /// Events that wait in its persistent queue.
    pub queue_events: u64,
    /// What the queue takes on the disk.
    pub queue_bytes: u64,
    /// What it may take; 0 for a queue in memory.
    pub queue_limit_bytes: u64,
    /// What the dead letter queue takes on the disk.
    pub dead_letter_bytes: u64,
    /// Events that the dead letter queue had no room for: they are lost.
    pub dead_letters_dropped: u64,
    /// Documents that Elasticsearch refused for good and that the outputs gave to the dead letter queue.
    pub refused: u64,
}

/// Asks Logstash.
pub async fn pipelines(client: &Client, base: &Url) -> Result<Vec<Pipeline>, String> {
    let url = base.join("_node/stats/pipelines").map_err(|e| format!("{base}: {e}"))?;
    let stats = http::json(client.get(url)).await?;
    let pipelines = stats["pipelines"].as_object().ok_or("Logstash's answer has no pipelines")?;
    Ok(pipelines.iter().map(|(id, stats)| Pipeline::from_stats(id, stats)).collect())
}

impl Pipeline {
    fn from_stats(id: &str, stats: &Value) -> Self {
        let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        let outputs = stats.pointer("/plugins/outputs").and_then(Value::as_array);
        let refused = |output: &Value| output.pointer("/documents/dlq_routed").and_then(Value::as_u64);
        Self {
            id: id.to_owned(),
            events_in: number("/events/in"),
            events_out: number("/events/out"),
            queue_events: number("/queue/events_count"),
            queue_bytes: number("/queue/queue_size_in_bytes"),
            queue_limit_bytes: number("/queue/max_queue_size_in_bytes"),
            dead_letter_bytes: number("/dead_letter_queue/queue_size_in_bytes"),
            dead_letters_dropped: number("/dead_letter_queue/dropped_events"),
            refused: outputs.into_iter().flatten().filter_map(refused).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_a_pipeline_with_a_persistent_queue_and_one_without() {
        let stats = json!({
            "events": {"in": 10, "filtered": 9, "out": 8, "queue_push_duration_in_millis": 3, "duration_in_millis": 5},
            "queue": {"type": "persisted", "events_count": 2, "queue_size_in_bytes": 4096,
                "max_queue_size_in_bytes": 1_073_741_824_u64,
                "capacity": {"max_unread_events": 0, "page_capacity_in_bytes": 67_108_864}},
            "dead_letter_queue": {"queue_size_in_bytes": 1, "max_queue_size_in_bytes": 1_073_741_824_u64,
                "dropped_events": 3, "expired_events": 0, "storage_policy": "drop_newer"},
            "plugins": {"inputs": [{"id": "agent_files", "events": {"out": 10}}], "outputs": [
                {"id": "elasticsearch", "documents": {"successes": 5, "dlq_routed": 4, "non_retryable_failures": 1}},
                {"id": "file", "events": {"in": 8}}]},
        });
        let pipeline = Pipeline::from_stats("agent-logs", &stats);
        assert_eq!((pipeline.events_in, pipeline.events_out, pipeline.queue_events), (10, 8, 2));
        assert_eq!((pipeline.queue_bytes, pipeline.queue_limit_bytes), (4096, 1_073_741_824));
        assert_eq!((pipeline.dead_letter_bytes, pipeline.dead_letters_dropped), (1, 3));
        assert_eq!(pipeline.refused, 4);
        // A pipeline that is just starting has null for all of it.
        let starting = json!({"events": null, "queue": {"type": "memory"}});
        assert_eq!(Pipeline::from_stats("x", &starting), Pipeline { id: "x".into(), ..Pipeline::default() });
    }
}
