//! The recorder's counters. Its library keeps and writes the rest: it has no counters with fractions, and takes about a
//! microsecond to write a series, of which each tenant has some twenty.
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{
    PrometheusRecorder,
    formatting::{sanitize_description, sanitize_label_value},
};

use super::{
    declared::{ALL, Kind},
    exposition::Page,
};

const NANO: u64 = 1_000_000_000;

/// A recorder with counters of its own.
#[derive(Debug)]
pub(super) struct CountingRecorder {
    counters: Arc<Counters>,
    others: PrometheusRecorder,
}

impl CountingRecorder {
    /// The library's, but for counters.
    pub(super) fn new(others: PrometheusRecorder) -> Self {
        Self { counters: Arc::default(), others }
    }

    /// What it has counted.
    pub(super) fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

impl Recorder for CountingRecorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.counters.describe(name.as_str(), &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.others.describe_gauge(name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.others.describe_histogram(name, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.counters.get(key))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.others.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.others.register_histogram(key, metadata)
    }
}

/// Counters by family and series.
#[derive(Debug, Default)]
pub(super) struct Counters(RwLock<BTreeMap<String, Family>>);

#[derive(Debug, Default)]
struct Family {
    help: String,
    /// Counted in billionths, and shown with their fractions.
    in_billionths: bool,
    /// By the series as it is shown: made into text once.
    series: BTreeMap<String, Arc<AtomicU64>>,
}

impl Family {
    fn new(name: &str) -> Self {
        let in_billionths = ALL.iter().any(|metric| metric.name == name && metric.kind == Kind::NanoCounter);
        Self { in_billionths, ..Self::default() }
    }
}

impl Counters {
    fn describe(&self, name: &str, help: &str) {
        let mut families = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name.to_owned()).or_insert_with(|| Family::new(name));
        family.help = sanitize_description(help);
    }

    fn get(&self, key: &Key) -> Arc<AtomicU64> {
        let (name, series) = (key.name(), series(key));
        let families = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = families.get(name).and_then(|family| family.series.get(&series)) {
            return counter.clone();
        }
        drop(families);
        let mut families = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name.to_owned()).or_insert_with(|| Family::new(name));
        family.series.entry(series).or_default().clone()
    }

    /// Puts those that exist on the page.
    pub(super) fn render(&self, page: &mut Page) {
        let families = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in families.iter().filter(|(_, family)| !family.series.is_empty()) {
            page.help(name, &family.help);
            page.kind(name, "counter");
            let mut shown = String::new();
            for (series, counter) in &family.series {
                let value = counter.load(Ordering::Acquire);
                shown.clear();
                if family.in_billionths {
                    write_from_billionths(&mut shown, value);
                } else {
                    let _ = write!(shown, "{value}");
                }
                page.sample(series, &shown);
            }
        }
    }
}

/// The series as the library would write it.
fn series(key: &Key) -> String {
    let mut text = key.name().to_owned();
    for (number, label) in key.labels().enumerate() {
        text.push(if number == 0 { '{' } else { ',' });
        text.extend([label.key(), "=\"", &sanitize_label_value(label.value()), "\""]);
    }
    if key.labels().len() > 0 {
        text.push('}');
    }
    text
}

/// Exact, where a division of floats would round.
fn write_from_billionths(text: &mut String, nano: u64) {
    let (whole, fraction) = (nano / NANO, nano % NANO);
    let _ = if fraction == 0 {
        write!(text, "{whole}")
    } else {
        write!(text, "{whole}.{}", format!("{fraction:09}").trim_end_matches('0'))
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{
        super::{
            declared::{API_COST, COMPLIANCE_VIOLATIONS, FEEDBACK, counter},
            exposition::Format,
        },
        *,
    };

    #[test]
    fn money_has_fractions_and_a_family_without_series_is_not_shown() {
        let recorder = CountingRecorder::new(PrometheusBuilder::new().build_recorder());
        for metric in [&API_COST, &FEEDBACK] {
            recorder.describe_counter(metric.name.into(), None, "Cost\nor not.".into());
        }
        let spent = [("a b", 1_234_567_890), ("x", 150), ("y", 3_000_000_000), ("z", 0), ("x", 1)];
        for (tenant, nano) in spent {
            counter(&recorder, &API_COST, &["m".into(), tenant.into()]).increment(nano);
        }
        let mut page = Page::new(Format::Text, HashMap::new(), 0);
        recorder.counters().render(&mut page);
        let shown = "# HELP agent_api_cost_usd_total Cost\\nor not.\n\
            # TYPE agent_api_cost_usd_total counter\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"a b\"} 1.23456789\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"x\"} 0.000000151\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"y\"} 3\n\
            agent_api_cost_usd_total{model=\"m\",tenant_id=\"z\"} 0\n";
        assert_eq!(page.end(), shown);
    }

    #[test]
    fn a_series_is_written_as_the_library_writes_it() {
        let library = PrometheusBuilder::new().build_recorder();
        let handle = library.handle();
        let own = CountingRecorder::new(PrometheusBuilder::new().build_recorder());
        let rules = ["plain", "a\"quote\"", "back\\slash", "line\nbreak", "größer 1%", ""];
        for (number, rule) in (1..).zip(rules) {
            for recorder in [&library as &dyn Recorder, &own] {
                counter(recorder, &COMPLIANCE_VIOLATIONS, &[rule.into(), "x".into()]).absolute(number);
            }
        }
        let mut page = Page::new(Format::Text, HashMap::new(), 0);
        own.counters().render(&mut page);
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text
                .lines()
                .filter(|l| l.starts_with(COMPLIANCE_VIOLATIONS.name))
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        };
        let (own, library) = (sorted(&page.end()), sorted(&handle.render()));
        assert_eq!(own.len(), rules.len(), "{own:?}");
        assert_eq!(own, library);
    }
}
