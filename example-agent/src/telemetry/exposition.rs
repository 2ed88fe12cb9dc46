//! From the recorder's text to what `/metrics` shows: fractions for the counters kept in billionths, types the
//! recorder cannot declare, no line for a gauge that has no value, and OpenMetrics, which the recorder does not speak.
use std::{collections::HashMap, fmt::Write as _, time::UNIX_EPOCH};

use super::{
    declared::{ALL, Kind},
    exemplars::Exemplar,
};

/// How `/metrics` can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0: with units and exemplars.
    OpenMetrics,
}

impl Format {
    /// Value of the `content-type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Kept as a gauge, since the recorder's counters have no fractions, but a counter by its nature and its name.
const COUNTER_KEPT_AS_GAUGE: (&str, &str) = ("process_cpu_seconds_total", "gauge");
/// What OpenMetrics takes off a counter to have the name of its family.
const COUNTER_SUFFIX: &str = "_total";
/// The units OpenMetrics declares, for those families whose name ends in one.
const UNITS: [&str; 4] = ["bytes", "seconds", "tokens", "usd"];
const NANO: u64 = 1_000_000_000;

/// The Prometheus text format.
pub(super) fn text(recorded: &str) -> String {
    let mut text = String::with_capacity(recorded.len());
    let mut in_billionths = false;
    for line in recorded.lines().filter_map(Line::parse) {
        match line {
            Line::Help { name, help } => _ = writeln!(text, "# HELP {name} {help}"),
            Line::Type { name, kind } => {
                in_billionths = kept_in_billionths(name);
                let _ = writeln!(text, "# TYPE {name} {kind}");
            }
            Line::Sample { series, value } => {
                text.extend([series, " "]);
                if in_billionths {
                    write_from_billionths(&mut text, value);
                } else {
                    text.push_str(value);
                }
                text.push('\n');
            }
        }
    }
    text
}

/// OpenMetrics, with the exemplars of these series of buckets.
pub(super) fn open_metrics(recorded: &str, exemplars: &HashMap<String, Exemplar>) -> String {
    let mut text = String::with_capacity(recorded.len() + recorded.len() / 8);
    let mut in_billionths = false;
    for line in recorded.lines().filter_map(Line::parse) {
        match line {
            Line::Help { name, help } => _ = writeln!(text, "# HELP {} {help}", family(name)),
            Line::Type { name, kind } => {
                in_billionths = kept_in_billionths(name);
                let family = family(name);
                let _ = writeln!(text, "# TYPE {family} {kind}");
                let unit = family.rsplit_once('_').map(|(_, last)| last).filter(|last| UNITS.contains(last));
                if let Some(unit) = unit {
                    let _ = writeln!(text, "# UNIT {family} {unit}");
                }
            }
            Line::Sample { series, value } => {
                write_series(&mut text, series);
                text.push(' ');
                if in_billionths {
                    write_from_billionths(&mut text, value);
                } else {
                    text.push_str(value);
                }
                if let Some(Exemplar { trace, value, at }) = exemplars.get(series) {
                    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                    let _ = write!(text, " # {{trace_id=\"{trace}\"}} {value} {at:.3}");
                }
                text.push('\n');
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

/// A line of the recorder's that is worth showing.
enum Line<'a> {
    Help { name: &'a str, help: &'a str },
    Type { name: &'a str, kind: &'a str },
    Sample { series: &'a str, value: &'a str },
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ')?;
            return Some(Self::Help { name, help });
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ')?;
            let kind = if (name, kind) == COUNTER_KEPT_AS_GAUGE { "counter" } else { kind };
            return Some(Self::Type { name, kind });
        }
        let (series, value) = line.rsplit_once(' ').filter(|(_, value)| *value != "NaN")?;
        Some(Self::Sample { series, value })
    }
}

fn family(name: &str) -> &str {
    name.strip_suffix(COUNTER_SUFFIX).unwrap_or(name)
}

/// OpenMetrics wants a bucket's upper bound as a float even where it is whole.
fn write_series(text: &mut String, series: &str) {
    text.push_str(series);
    let Some((_, bound)) = series.rsplit_once("le=\"") else { return };
    if bound.trim_end_matches("\"}").bytes().all(|byte| byte.is_ascii_digit()) {
        text.truncate(text.len() - "\"}".len());
        text.push_str(".0\"}");
    }
}

fn write_from_billionths(text: &mut String, value: &str) {
    match value.parse() {
        Ok(nano) => write_decimal(text, nano),
        Err(_) => text.push_str(value),
    }
}

/// Of a whole family: its type comes before its samples.
fn kept_in_billionths(name: &str) -> bool {
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
    use std::time::Duration;

    use opentelemetry::trace::TraceId;

    use super::*;

    const RECORDED: &str = "# HELP agent_api_cost_usd_total Cost.\n\
        # TYPE agent_api_cost_usd_total counter\n\
        agent_api_cost_usd_total{model=\"a b\",tenant_id=\"x\"} 1234567890\n\
        agent_api_cost_usd_total{model=\"m\",tenant_id=\"y\"} 150\n\
        agent_api_cost_usd_total{model=\"m\",tenant_id=\"z\"} 3000000000\n\
        agent_api_cost_usd_total{model=\"m\",tenant_id=\"0\"} 0\n\
        \n\
        # TYPE agent_cache_hit_rate gauge\n\
        agent_cache_hit_rate{cache_type=\"response\"} NaN\n\
        # TYPE process_cpu_seconds_total gauge\n\
        process_cpu_seconds_total 1.25\n\
        agent_requests_total{status=\"success\"} 1234567890\n\
        # TYPE s_seconds histogram\n\
        s_seconds_bucket{a=\"b\",le=\"0.1\"} 1\n\
        s_seconds_bucket{a=\"b\",le=\"1\"} 2\n\
        s_seconds_bucket{a=\"b\",le=\"+Inf\"} 2\n\
        s_seconds_sum{a=\"b\"} 0.5\n";

    #[test]
    fn money_has_fractions_and_what_has_no_value_is_left_out() {
        let shown = "# HELP agent_api_cost_usd_total Cost.\n\
            # TYPE agent_api_cost_usd_total counter\n\
            agent_api_cost_usd_total{model=\"a b\",tenant_id=\"x\"} 1.23456789\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"y\"} 0.00000015\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"z\"} 3\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"0\"} 0\n\
            # TYPE agent_cache_hit_rate gauge\n\
            # TYPE process_cpu_seconds_total counter\n\
            process_cpu_seconds_total 1.25\n\
            agent_requests_total{status=\"success\"} 1234567890\n\
            # TYPE s_seconds histogram\n\
            s_seconds_bucket{a=\"b\",le=\"0.1\"} 1\n\
            s_seconds_bucket{a=\"b\",le=\"1\"} 2\n\
            s_seconds_bucket{a=\"b\",le=\"+Inf\"} 2\n\
            s_seconds_sum{a=\"b\"} 0.5\n";
        assert_eq!(text(RECORDED), shown);
    }

    #[test]
    fn open_metrics_has_families_units_whole_bounds_as_floats_and_exemplars() {
        let exemplar = Exemplar {
            trace: TraceId::from(0xabc),
            value: 0.75,
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
        };
        let exemplars = HashMap::from([("s_seconds_bucket{a=\"b\",le=\"1\"}".to_owned(), exemplar)]);
        let shown = "# HELP agent_api_cost_usd Cost.\n\
            # TYPE agent_api_cost_usd counter\n\
            # UNIT agent_api_cost_usd usd\n\
            agent_api_cost_usd_total{model=\"a b\",tenant_id=\"x\"} 1.23456789\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"y\"} 0.00000015\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"z\"} 3\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"0\"} 0\n\
            # TYPE agent_cache_hit_rate gauge\n\
            # TYPE process_cpu_seconds counter\n\
            # UNIT process_cpu_seconds seconds\n\
            process_cpu_seconds_total 1.25\n\
            agent_requests_total{status=\"success\"} 1234567890\n\
            # TYPE s_seconds histogram\n\
            # UNIT s_seconds seconds\n\
            s_seconds_bucket{a=\"b\",le=\"0.1\"} 1\n\
            s_seconds_bucket{a=\"b\",le=\"1.0\"} 2 \
            # {trace_id=\"00000000000000000000000000000abc\"} 0.75 1700000000.500\n\
            s_seconds_bucket{a=\"b\",le=\"+Inf\"} 2\n\
            s_seconds_sum{a=\"b\"} 0.5\n\
            # EOF\n";
        assert_eq!(open_metrics(RECORDED, &exemplars), shown);
    }
}
