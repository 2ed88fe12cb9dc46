//! What `/metrics` shows: the text of the recorder's library, but with types it cannot declare, without gauges that have no
//! value, and in OpenMetrics, which it does not speak; and the counters beside it.
use std::{collections::HashMap, fmt::Write as _, time::UNIX_EPOCH};

use super::exemplars::Exemplar;

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

/// What is shown, while it is written.
pub(super) struct Page {
    format: Format,
    /// By the series of their buckets. Shown in OpenMetrics only.
    exemplars: HashMap<String, Exemplar>,
    text: String,
}

impl Page {
    /// An empty one that is expected to have so many bytes.
    pub(super) fn new(format: Format, exemplars: HashMap<String, Exemplar>, bytes: usize) -> Self {
        Self { format, exemplars, text: String::with_capacity(bytes) }
    }

    /// All that the library has written.
    pub(super) fn recorded(&mut self, recorded: &str) {
        for line in recorded.lines().filter_map(Line::parse) {
            match line {
                Line::Help { name, help } => self.help(name, help),
                Line::Type { name, kind } => self.kind(name, kind),
                Line::Sample { series, value } => self.sample(series, value),
            }
        }
    }

    /// The help of a metric, escaped.
    pub(super) fn help(&mut self, name: &str, help: &str) {
        let family = self.family(name);
        self.text.extend(["# HELP ", family, " ", help, "\n"]);
    }

    /// The kind of a metric, and its unit.
    pub(super) fn kind(&mut self, name: &str, kind: &str) {
        let family = self.family(name);
        self.text.extend(["# TYPE ", family, " ", kind, "\n"]);
        let unit = family.rsplit_once('_').map(|(_, last)| last).filter(|last| UNITS.contains(last));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.text.extend(["# UNIT ", family, " ", unit, "\n"]);
        }
    }

    /// The value of a series, which is written with its labels.
    pub(super) fn sample(&mut self, series: &str, value: &str) {
        self.text.push_str(series);
        if self.format == Format::OpenMetrics {
            self.write_bound_as_float(series);
        }
        self.text.extend([" ", value]);
        if self.format == Format::OpenMetrics
            && let Some(Exemplar { trace, value, at }) = self.exemplars.get(series)
        {
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let _ = write!(self.text, " # {{trace_id=\"{trace}\"}} {value} {at:.3}");
        }
        self.text.push('\n');
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn family<'n>(&self, name: &'n str) -> &'n str {
        match self.format {
            Format::Text => name,
            Format::OpenMetrics => name.strip_suffix(COUNTER_SUFFIX).unwrap_or(name),
        }
    }

    /// OpenMetrics wants a bucket's upper bound as a float even where it is whole.
    fn write_bound_as_float(&mut self, series: &str) {
        let Some((_, bound)) = series.rsplit_once("le=\"") else { return };
        if bound.trim_end_matches("\"}").bytes().all(|byte| byte.is_ascii_digit()) {
            self.text.truncate(self.text.len() - "\"}".len());
            self.text.push_str(".0\"}");
        }
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::TraceId;

    use super::*;

    const RECORDED: &str = "# TYPE agent_cache_hit_rate gauge\n\
        agent_cache_hit_rate{cache_type=\"response\"} NaN\n\
        \n\
        # TYPE process_cpu_seconds_total gauge\n\
        process_cpu_seconds_total 1.25\n\
        # HELP s_seconds Time.\n\
        # TYPE s_seconds histogram\n\
        s_seconds_bucket{a=\"b\",le=\"0.1\"} 1\n\
        s_seconds_bucket{a=\"b\",le=\"1\"} 2\n\
        s_seconds_bucket{a=\"b\",le=\"+Inf\"} 2\n\
        s_seconds_sum{a=\"b\"} 0.5\n";

    fn shown(format: Format, exemplars: HashMap<String, Exemplar>) -> String {
        let mut page = Page::new(format, exemplars, 0);
        page.recorded(RECORDED);
        page.kind("cost_usd_total", "counter");
        page.sample("cost_usd_total{a=\"b\"}", "0.5");
        page.end()
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        let text = "# TYPE agent_cache_hit_rate gauge\n\
            # TYPE process_cpu_seconds_total counter\n\
            process_cpu_seconds_total 1.25\n\
            # HELP s_seconds Time.\n\
            # TYPE s_seconds histogram\n\
            s_seconds_bucket{a=\"b\",le=\"0.1\"} 1\n\
            s_seconds_bucket{a=\"b\",le=\"1\"} 2\n\
            s_seconds_bucket{a=\"b\",le=\"+Inf\"} 2\n\
            s_seconds_sum{a=\"b\"} 0.5\n\
            # TYPE cost_usd_total counter\n\
            cost_usd_total{a=\"b\"} 0.5\n";
        assert_eq!(shown(Format::Text, HashMap::new()), text);
    }

    #[test]
    fn open_metrics_has_families_units_whole_bounds_as_floats_and_exemplars() {
        let exemplar = Exemplar {
            trace: TraceId::from(0xabc),
            value: 0.75,
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
        };
        let exemplars = HashMap::from([("s_seconds_bucket{a=\"b\",le=\"1\"}".to_owned(), exemplar)]);
        let text = "# TYPE agent_cache_hit_rate gauge\n\
            # TYPE process_cpu_seconds counter\n\
            # UNIT process_cpu_seconds seconds\n\
            process_cpu_seconds_total 1.25\n\
            # HELP s_seconds Time.\n\
            # TYPE s_seconds histogram\n\
            # UNIT s_seconds seconds\n\
            s_seconds_bucket{a=\"b\",le=\"0.1\"} 1\n\
            s_seconds_bucket{a=\"b\",le=\"1.0\"} 2 \
            # {trace_id=\"00000000000000000000000000000abc\"} 0.75 1700000000.500\n\
            s_seconds_bucket{a=\"b\",le=\"+Inf\"} 2\n\
            s_seconds_sum{a=\"b\"} 0.5\n\
            # TYPE cost_usd counter\n\
            # UNIT cost_usd usd\n\
            cost_usd_total{a=\"b\"} 0.5\n\
            # EOF\n";
        assert_eq!(shown(Format::OpenMetrics, exemplars), text);
    }
}
