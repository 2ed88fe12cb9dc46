//! Names in what people read: comments, descriptions, pages.
//!
//! A metric's name is like no word, so it is found wherever it stands alone. A label's may be an everyday word (`status`,
//! `model`): it is taken for one only where a value follows it, as in `status="error"`.

use std::sync::LazyLock;

use regex::Regex;

use crate::{edit::Edit, names::Names};

static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"([A-Za-z_:][A-Za-z0-9_:]*)(\s*(?:=~|!~|!=|=)\s*\\?["'])?"#).expect("a constant pattern")
});

/// The changes that give a text other names.
pub(crate) fn edits(text: &str, names: &Names) -> Vec<Edit> {
    let change = |found: regex::Captures<'_>| {
        let name = found.get(1)?;
        let new = match names.metric(name.as_str()) {
            Some(new) => new,
            None => found.get(2).and_then(|_| names.label(name.as_str()))?,
        };
        Some(Edit::new(name.range(), new))
    };
    NAME.captures_iter(text).filter_map(change).collect()
}

/// Where an alert's text names the job of its labels: at the beginning, or as in `alertmanager:9093 of alertmanager`.
static JOB: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:^|\bof )([a-z][a-z0-9-]*)(?: |$)").expect("a constant pattern"));

/// The changes that give the expected text of an alert other jobs.
pub(crate) fn job_edits(text: &str, names: &Names) -> Vec<Edit> {
    let jobs = JOB.captures_iter(text).filter_map(|found| found.get(1));
    jobs.filter_map(|job| Some(Edit::new(job.range(), names.job(job.as_str())?))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::edit::apply;

    #[test]
    fn metrics_are_found_anywhere_and_labels_with_their_values() {
        let map = |from: &str, to: &str| BTreeMap::from([(from.to_owned(), to.to_owned())]);
        let names = Names {
            metrics: map("agent_errors_total", "failures"),
            labels: map("status", "outcome"),
            ..Names::default()
        };
        for (text, wanted) in [
            ("agent_errors_total is above agent:errors", "failures is above agent:errors"),
            ("my_agent_errors_total, agent_errors_totals", "my_agent_errors_total, agent_errors_totals"),
            (
                "the status (status=\"error\") of a status: up",
                "the status (outcome=\"error\") of a status: up",
            ),
            ("http_status=\"x\" status !~ 'y'", "http_status=\"x\" outcome !~ 'y'"),
        ] {
            assert_eq!(apply(text, edits(text, &names)), wanted);
        }
    }

    #[test]
    fn jobs_are_found_where_a_text_has_them_from_its_labels() {
        let jobs = BTreeMap::from([("prometheus".to_owned(), "metrics".to_owned())]);
        let names = Names { jobs, ..Names::default() };
        for (text, wanted) in [
            ("prometheus refused it", "metrics refused it"),
            ("prometheus:9090 of prometheus is down", "prometheus:9090 of metrics is down"),
            ("asked by prometheus", "asked by prometheus"),
        ] {
            assert_eq!(apply(text, job_edits(text, &names)), wanted);
        }
    }
}
