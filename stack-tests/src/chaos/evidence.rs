//! What the stack keeps of requests: in the agent's files, in its own counters, in Jaeger, in Elasticsearch.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::json;

use super::{
    judgement::Promise,
    lines::{Account, ByTrace, Cut, Numbers, by_trace},
    load::Asked,
    users::has_answer,
};
use crate::{
    drill::{Drill, faults::containers},
    stack::Stack,
    wait::{SOON, until},
};

const LOGS: &str = "/var/log/agent";

/// How things were before a fault.
pub(super) struct Before {
    gaps: BTreeSet<(String, u64)>,
    twice: usize,
    counters: BTreeMap<&'static str, f64>,
}

/// What has changed since.
pub(super) struct After {
    pub(super) account: Account,
    pub(super) gaps: usize,
    pub(super) lines_dropped: f64,
    pub(super) spans_dropped: f64,
    pub(super) traces_missing: Option<usize>,
    pub(super) unshipped: Option<i64>,
}

const LINES: &str = "agent_log_lines_dropped_total";
const SPANS: &str = "agent_spans_dropped_total";
const STARTED: &str = "process_start_time_seconds";

fn counters(stack: &Stack) -> Result<BTreeMap<&'static str, f64>, String> {
    [LINES, SPANS, STARTED]
        .into_iter()
        .map(|name| stack.metric(name, &[]).map(|value| (name, value)))
        .collect()
}

/// What a counter has grown by; a process that has started since counts from nothing.
fn grown(before: &BTreeMap<&'static str, f64>, now: &BTreeMap<&'static str, f64>, name: &str) -> f64 {
    let of = |counters: &BTreeMap<&str, f64>, name| counters.get(name).copied().unwrap_or(0.0);
    let same = (of(before, STARTED) - of(now, STARTED)).abs() < 0.5;
    of(now, name) - if same { of(before, name) } else { 0.0 }
}

impl Before {
    /// How things are.
    ///
    /// # Errors
    /// That the agent does not say so.
    pub(super) fn look(stack: &Stack) -> Result<Self, String> {
        let numbers = numbers(stack)?;
        Ok(Self { gaps: numbers.gaps(), twice: numbers.twice(), counters: counters(stack)? })
    }

    /// What has changed, by the requests of a fault that is over. Each has a trace that begins with `prefix`.
    ///
    /// # Errors
    /// That the agent or Jaeger does not say so.
    pub(super) fn compare(
        &self,
        drill: &Drill,
        asked: &[Asked],
        prefix: &str,
        cut: Option<Cut>,
        promise: &Promise,
    ) -> Result<After, String> {
        let stack = &drill.stack;
        let mut account = Self::account(stack, asked, prefix, cut)?;
        // Events that are not on the disk yet have others behind them.
        let numbers = until("the audit log's numbers", SOON, || {
            let numbers = numbers(stack)?;
            let new = numbers.gaps().difference(&self.gaps).count();
            if new == 0 { Ok(Ok(numbers)) } else { Err(format!("{new} missing")) }
        });
        let numbers = numbers.unwrap_or_else(|_| self::numbers(stack))?;
        account.twice += numbers.twice().saturating_sub(self.twice);
        let now = counters(stack)?;
        Ok(After {
            account,
            gaps: numbers.gaps().difference(&self.gaps).count(),
            lines_dropped: grown(&self.counters, &now, LINES),
            spans_dropped: grown(&self.counters, &now, SPANS),
            // Those that may be lost are not waited for as long.
            traces_missing: traces_missing(drill, asked, if promise.spans { SOON / 10 } else { SOON })?,
            unshipped: unshipped(drill, prefix)?,
        })
    }

    /// The requests, held against the files. What is on its way to the disk is waited for.
    pub(super) fn account(
        stack: &Stack,
        asked: &[Asked],
        prefix: &str,
        cut: Option<Cut>,
    ) -> Result<Account, String> {
        let account = || lines_of(stack, prefix).map(|lines| Account::of(asked, &lines, cut));
        let whole = until("all lines", SOON, || {
            let account = account()?;
            if account.is_whole() { Ok(account) } else { Err("some are missing".to_owned()) }
        });
        whole.or_else(|_| account())
    }
}

/// What a command prints in the agent's container.
fn in_the_agent(stack: &Stack, script: &str) -> Result<String, String> {
    containers(stack)?.exec("example-agent", &["sh", "-c", script])
}

fn lines_of(stack: &Stack, prefix: &str) -> Result<ByTrace, String> {
    let script = format!("grep -hsF -e '\"trace_id\":\"{prefix}' {LOGS}/*.ndjson || true");
    in_the_agent(stack, &script).map(|text| by_trace(&text))
}

fn numbers(stack: &Stack) -> Result<Numbers, String> {
    let script = format!(
        r#"cat {LOGS}/audit.*.ndjson | sed -n 's/.*"boot_id":"\([^"]*\)","seq":\([0-9]*\).*/\1 \2/p'"#
    );
    in_the_agent(stack, &script).map(|text| Numbers::read(&text))
}

/// How many answered requests have no trace; those that are on their way are waited for. None where nobody keeps traces.
fn traces_missing(drill: &Drill, asked: &[Asked], patience: Duration) -> Result<Option<usize>, String> {
    if drill.stack.missing.contains_key("jaeger") {
        return Ok(None);
    }
    let answered: BTreeSet<_> =
        asked.iter().filter(|asked| has_answer(asked)).map(|asked| asked.trace.as_str()).collect();
    let (Some(first), Some(last)) = (asked.first(), asked.last()) else { return Ok(Some(0)) };
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    let url = format!(
        "{}/api/traces?service=example-agent&start={}&end={}&limit={}",
        drill.stack.jaeger,
        micros(first.due - 1.0),
        micros(last.due + 60.0),
        // The base traffic's are among them.
        4 * asked.len() + 200
    );
    let missing = || -> Result<usize, String> {
        let answer = drill.stack.get(&url)?;
        let found =
            answer["data"].as_array().into_iter().flatten().filter_map(|trace| trace["traceID"].as_str());
        let found: BTreeSet<_> = found.map(|id| format!("{id:0>32}")).collect();
        Ok(answered.iter().filter(|trace| !found.contains(**trace)).count())
    };
    let all = until("all traces", patience, || match missing()? {
        0 => Ok(0),
        some => Err(format!("{some} missing")),
    });
    all.or_else(|_| missing()).map(Some)
}

/// How many lines Elasticsearch has fewer than the files. None where nobody ships them.
fn unshipped(drill: &Drill, prefix: &str) -> Result<Option<i64>, String> {
    let stack = &drill.stack;
    if !containers(stack)?.services()?.iter().any(|service| service == "logstash") {
        return Ok(None);
    }
    let script = format!("cat {LOGS}/*.ndjson | grep -cF -e '\"trace_id\":\"{prefix}' || true");
    let query = json!({"query": {"prefix": {"trace.id": prefix}}});
    let fewer = || -> Result<i64, String> {
        let count = in_the_agent(stack, &script)?;
        let count: i64 = count.trim().parse().map_err(|e| format!("{count}: {e}"))?;
        let answer =
            stack.elasticsearch_as("elastic", "POST /agent-logs-*,agent-audit-*/_count", Some(&query))?;
        let found = answer.json()?["count"].as_i64().ok_or_else(|| format!("no count: {}", answer.text))?;
        Ok(count - found)
    };
    let all = drill.wait("all lines in Elasticsearch", Duration::from_mins(3), || match fewer()? {
        0 => Ok(0),
        some => Err(format!("{some} fewer")),
    });
    all.or_else(|_| fewer()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_begins_anew_with_its_process() {
        let counters = |started, spans| [(STARTED, started), (SPANS, spans)].into();
        assert!((grown(&counters(10.0, 3.0), &counters(10.0, 8.0), SPANS) - 5.0).abs() < 1e-9);
        assert!((grown(&counters(10.0, 9.0), &counters(20.0, 2.0), SPANS) - 2.0).abs() < 1e-9);
    }
}
