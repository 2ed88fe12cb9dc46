//! `/metrics`, beside `docs/metrics.md`.
use std::collections::{BTreeMap, BTreeSet};

use crate::{
    pages::{names, page, plain, rows},
    service::{Kind, Service},
    surroundings::{Provider, eventually},
};

/// Name, kind, labels and buckets of each metric.
#[derive(Debug, Default, PartialEq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    buckets: Vec<String>,
}

/// What every service has, whatever it does.
const NEEDED: [&str; 9] = [
    "agent_requests_total",
    "agent_request_duration_seconds",
    "agent_errors_total",
    "agent_llm_tokens_total",
    "agent_api_cost_usd_total",
    "agent_requests_in_flight",
    "agent_log_lines_dropped_total",
    "agent_build_info",
    "process_start_time_seconds",
];

/// Of each metric of the contract name, type, labels and buckets are those of the page; there are no others but the language's own;
/// and the numbers are those of the requests.
pub(crate) fn are_as_documented(kind: &Kind) {
    let provider = Provider::start();
    let service = Service::start(kind, &provider, None);
    let before = service.metrics();
    for series in [
        "agent_requests_total{method=\"POST\",endpoint=\"/v1/summaries\",status=\"error\",tenant_id=\"acme\"}",
        "agent_errors_total{error_type=\"upstream_timeout\",tenant_id=\"initech\"}",
        "agent_api_cost_usd_total{model=\"sim-small\",tenant_id=\"globex\"}",
    ] {
        assert_eq!(sample(&before, series), Some(0.0), "{series} from the start, at 0:\n{before}");
    }
    assert_eq!(service.ask("acme", "A long text.", 1).status(), 200);
    assert_eq!(service.ask("nobody-we-know", "A long text.", 2).status(), 403);
    service.stray();
    provider.fail();
    assert_eq!(service.ask("acme", "A long text.", 3).status(), 502);

    let text = eventually("the last request is counted", || {
        let text = service.metrics();
        let error = "agent_requests_total{method=\"POST\",endpoint=\"/v1/summaries\",status=\"error\",tenant_id=\"acme\"}";
        (sample(&text, error) == Some(1.0)).then_some(text)
    });
    let (documented, seen) = (documented(), described(&text));
    for (name, metric) in &seen {
        if !name.starts_with("python_") {
            assert_eq!(documented.get(name), Some(metric), "{name} in docs/metrics.md and in /metrics");
        }
    }
    for name in NEEDED {
        assert!(seen.contains_key(name), "{name} is missing");
    }
    for (series, value) in [
        (
            "agent_requests_total{method=\"POST\",endpoint=\"/v1/summaries\",status=\"success\",tenant_id=\"acme\"}",
            1.0,
        ),
        (
            "agent_requests_total{method=\"POST\",endpoint=\"/v1/summaries\",status=\"rejected\",tenant_id=\"other\"}",
            1.0,
        ),
        (
            "agent_requests_total{method=\"other\",endpoint=\"other\",status=\"rejected\",tenant_id=\"other\"}",
            1.0,
        ),
        ("agent_errors_total{error_type=\"upstream_error\",tenant_id=\"acme\"}", 1.0),
        (
            "agent_request_duration_seconds_count{method=\"POST\",endpoint=\"/v1/summaries\",status=\"success\",tenant_id=\"acme\"}",
            1.0,
        ),
        ("agent_requests_in_flight", 0.0),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series}:\n{text}");
    }
    let tokens = |direction: &str| {
        let series = format!(
            "agent_llm_tokens_total{{model=\"sim-small\",tenant_id=\"acme\",direction=\"{direction}\"}}"
        );
        sample(&text, &series).unwrap()
    };
    let cost = sample(&text, "agent_api_cost_usd_total{model=\"sim-small\",tenant_id=\"acme\"}").unwrap();
    // Fractions of a cent must be there.
    let expected = (tokens("input") * 0.15 + tokens("output") * 0.6) / 1e6;
    assert!(expected > 0.0 && (cost - expected).abs() < 1e-9, "{cost} USD instead of {expected}");
}

/// Whichever process answers the scrape, it tells of all.
pub(crate) fn workers_add_up(kind: &Kind) {
    let provider = Provider::start();
    let service = Service::start(kind, &provider, None);
    let series = "agent_requests_total{method=\"POST\",endpoint=\"/v1/summaries\",status=\"success\",tenant_id=\"acme\"}";
    let mut asked = 0;
    // The second may still be starting, and it is the kernel that says who gets a connection: each time another one.
    eventually("both have answered", || {
        asked += 1;
        let answer = crate::surroundings::client()
            .post(service.api_url())
            .json(&serde_json::json!({ "tenant_id": "acme", "text": format!("Text {asked}.") }))
            .send();
        assert_eq!(answer.unwrap().status(), 200);
        let pids: BTreeSet<_> = service.lines(asked).iter().map(|line| line["pid"].to_string()).collect();
        (pids.len() == 2).then_some(())
    });
    for _ in 0..10 {
        assert_eq!(sample(&service.metrics(), series), Some(asked as f64));
    }
}

/// The value of a series, whatever the order of its labels.
fn sample(text: &str, series: &str) -> Option<f64> {
    let parts = |series: &str| -> (String, BTreeSet<String>) {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        (name.to_owned(), labels.trim_end_matches('}').split(',').map(str::to_owned).collect())
    };
    let wanted = parts(series);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut found =
        lines.filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| parts(series) == wanted);
    found.next().map(|(_, value)| value.parse().unwrap())
}

fn documented() -> BTreeMap<String, Metric> {
    let rows = rows(&page("metrics.md"), "metric");
    let metrics = rows.iter().map(|row| {
        let buckets = row[4].split(", ").filter(|bucket| *bucket != "–").map(str::to_owned).collect();
        let labels = names(&row[3]).0.into_iter().collect();
        (plain(&row[0]), Metric { kind: row[1].clone(), labels, buckets })
    });
    metrics.collect()
}

/// Reads the text format back.
fn described(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::<String, Metric>::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().kind);
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let family = family.filter(|family| metrics.contains_key(*family)).unwrap_or(name);
        let metric = metrics.get_mut(family).unwrap_or_else(|| panic!("no type: {line}"));
        for (label, value) in
            labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='))
        {
            let value = value.trim_matches('"').trim_end_matches(".0");
            if label != "le" {
                metric.labels.insert(label.to_owned());
            } else if value != "+Inf" && !metric.buckets.iter().any(|bucket| bucket == value) {
                metric.buckets.push(value.to_owned());
            }
        }
    }
    metrics
}
