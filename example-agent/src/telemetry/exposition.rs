//! From the recorder's text to what `/metrics` shows: fractions for the counters kept in billionths, types the
//! recorder cannot declare, and no line for a gauge that has no value.
use std::fmt::Write as _;

use super::metrics::{ALL, Kind};

/// Value of the `content-type` header for [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Kept as a gauge, since the recorder's counters have no fractions, but a counter by its nature and its name.
const COUNTER_KEPT_AS_GAUGE: &str = "# TYPE process_cpu_seconds_total gauge";
const NANO: u64 = 1_000_000_000;

/// The Prometheus text format, version 0.0.4.
pub fn text(recorded: &str) -> String {
    let mut text = String::with_capacity(recorded.len());
    for line in recorded.lines() {
        if line == COUNTER_KEPT_AS_GAUGE {
            text.push_str("# TYPE process_cpu_seconds_total counter\n");
        } else if line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        } else if let Some((series, value)) = line.rsplit_once(' ').filter(|(_, value)| *value != "NaN") {
            text.push_str(series);
            text.push(' ');
            match value.parse() {
                Ok(nano) if kept_in_billionths(series) => write_decimal(&mut text, nano),
                _ => text.push_str(value),
            }
            text.push('\n');
        }
    }
    text
}

fn kept_in_billionths(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    ALL.iter().any(|metric| metric.kind == Kind::NanoCounter && metric.name == name)
}

/// Exact, where a division of floats would round.
fn write_decimal(text: &mut String, nano: u64) {
    let (whole, fraction) = (nano / NANO, nano % NANO);
    let _ = if fraction == 0 {
        write!(text, "{whole}")
    } else {
        write!(text, "{whole}.{}", format!("{fraction:09}").trim_end_matches('0'))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_fractions_and_what_has_no_value_is_left_out() {
        let recorded = "# TYPE agent_api_cost_usd_total counter\n\
            agent_api_cost_usd_total{model=\"a b\",tenant_id=\"x\"} 1234567890\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"y\"} 150\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"z\"} 3000000000\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"0\"} 0\n\
            \n\
            # TYPE agent_cache_hit_rate gauge\n\
            agent_cache_hit_rate{cache_type=\"response\"} NaN\n\
            # TYPE process_cpu_seconds_total gauge\n\
            process_cpu_seconds_total 1.25\n\
            agent_requests_total{status=\"success\"} 1234567890\n";
        let shown = "# TYPE agent_api_cost_usd_total counter\n\
            agent_api_cost_usd_total{model=\"a b\",tenant_id=\"x\"} 1.23456789\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"y\"} 0.00000015\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"z\"} 3\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"0\"} 0\n\
            # TYPE agent_cache_hit_rate gauge\n\
            # TYPE process_cpu_seconds_total counter\n\
            process_cpu_seconds_total 1.25\n\
            agent_requests_total{status=\"success\"} 1234567890\n";
        assert_eq!(text(recorded), shown);
    }
}
