//! How long Prometheus has seen nothing.

use std::time::Duration;

use serde_json::Value;

use super::load::Moment;
use crate::stack::Stack;

/// The longest time between two successful scrapes, each a time and whether it was one, that lie round or within a window.
///
/// Unknown where there are no two such scrapes.
pub(super) fn longest(samples: &[(Moment, bool)], from: Moment, to: Moment) -> Option<f64> {
    let mut good: Vec<_> = samples.iter().filter(|(_, up)| *up).map(|(at, _)| *at).collect();
    good.sort_unstable_by(f64::total_cmp);
    let pairs = good.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
    pairs.map(|pair| pair[1] - pair[0]).max_by(f64::total_cmp)
}

/// The scrapes of a job's first target in the seconds before now.
///
/// # Errors
/// That Prometheus does not answer, or knows no such target.
pub(super) fn scrapes(stack: &Stack, job: &str, seconds: u64) -> Result<Vec<(Moment, bool)>, String> {
    let series = stack.promql(&format!("up{{job=\"{job}\"}}[{seconds}s]"))?;
    let values = series.iter().filter_map(|series| series["values"].as_array());
    // A target that has changed its labels meanwhile is two series.
    let samples: Vec<_> = values.flatten().filter_map(sample).collect();
    if samples.is_empty() { Err(format!("no scrape of {job} in {seconds} s")) } else { Ok(samples) }
}

fn sample(value: &Value) -> Option<(Moment, bool)> {
    Some((value[0].as_f64()?, value[1].as_str()? == "1"))
}

/// How often a job's targets are asked.
///
/// # Errors
/// That Prometheus does not answer, or knows no such target.
pub(super) fn interval(stack: &Stack, job: &str) -> Result<Duration, String> {
    let targets = stack.get(&format!("{}/api/v1/targets?state=active", stack.prometheus))?;
    let mut targets = targets["data"]["activeTargets"].as_array().into_iter().flatten();
    let target = targets.find(|target| target["labels"]["job"] == job);
    let text =
        target.and_then(|target| target["scrapeInterval"].as_str()).ok_or(format!("no target of {job}"))?;
    humantime::parse_duration(text).map_err(|e| format!("scrape interval {text}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_between_good_scrapes_and_counts_where_it_touches_the_window() {
        let samples: Vec<_> = (0..100).map(|n| (f64::from(n), !(20..27).contains(&n))).collect();
        let gap = |from, to| longest(&samples, from, to);
        assert_eq!(gap(21.0, 30.0), Some(8.0), "from 19 to 27");
        assert_eq!(gap(23.0, 24.0), Some(8.0), "the window may lie in the gap");
        assert_eq!(gap(40.0, 60.0), Some(1.0));
        assert_eq!(longest(&samples[..1], 0.0, 1.0), None);
        // Scrapes that are not there at all are a gap too: Prometheus was down.
        let holes: Vec<_> = samples.iter().copied().filter(|(at, _)| !(50.0..60.0).contains(at)).collect();
        assert_eq!(longest(&holes, 45.0, 70.0), Some(11.0));
    }
}
