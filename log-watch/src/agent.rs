//! What an agent says it has written, from its metrics.
use reqwest::{Client, Url};

use crate::{
    http,
    ledger::{STREAMS, Written},
};

/// The agent's own counter, see docs/metrics.md.
const LINES: &str = "agent_log_lines_written_total";
const STARTED: &str = "process_start_time_seconds";

/// Asks an agent.
pub async fn written(client: &Client, url: &Url) -> Result<Written, String> {
    parse(&http::text(client.get(url.clone())).await?).map_err(|e| format!("{url}: {e}"))
}

fn parse(metrics: &str) -> Result<Written, String> {
    let value = |series: String| {
        let mut lines = metrics.lines();
        let value =
            lines.find_map(|line| line.strip_prefix(series.as_str())?.strip_prefix(' ')?.parse::<f64>().ok());
        value.ok_or_else(|| format!("there is no {series}: is this the agent, and with AGENT_LOG_DIR?"))
    };
    let mut lines = [0; 2];
    for (lines, stream) in lines.iter_mut().zip(STREAMS) {
        *lines = value(format!("{LINES}{{stream=\"{stream}\"}}"))? as u64;
    }
    Ok(Written { started: value(STARTED.to_owned())?, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_streams_and_says_what_is_not_there() {
        let metrics = "# TYPE agent_log_lines_written_total counter\n\
            agent_log_lines_written_total{stream=\"app\"} 42\nagent_log_lines_written_total{stream=\"audit\"} 7\n\
            process_start_time_seconds 1790000000\n";
        assert_eq!(parse(metrics), Ok(Written { started: 1_790_000_000.0, lines: [42, 7] }));
        assert!(parse("up 1\n").unwrap_err().contains(LINES));
    }
}
