//! What the agent's files have of each request: none of their lines may be lost, none may stand there twice, and whoever was
//! accepted must have been answered.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    load::{Asked, Moment},
    users::has_answer,
};

/// What a killed process takes with it: lines wait for 20 ms and audit events for 100 ms, and then for the disk.
pub const UNDER_WAY: f64 = 1.0;

/// How often a file has each kind of line of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// `request started`.
    pub started: usize,
    /// `request completed`.
    pub completed: usize,
    /// `access decision`, in the audit log.
    pub audited: usize,
}

/// Lines by the trace of their request.
pub type ByTrace = BTreeMap<String, Lines>;

/// Counts lines of NDJSON by their trace; what is no JSON is counted under an empty one.
pub fn by_trace(text: &str) -> ByTrace {
    let mut all = ByTrace::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        let lines = all.entry(line["trace_id"].as_str().unwrap_or_default().to_owned()).or_default();
        let message = line["msg"].as_str().unwrap_or_default();
        lines.started += usize::from(message.ends_with("request started"));
        lines.completed += usize::from(message.ends_with("request completed"));
        lines.audited += usize::from(message == "access decision");
    }
    all
}

/// When the agent was killed, or its network cut: what it was working on then is gone with it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// No request that was sent later can have been under way.
    pub at: Moment,
    /// Whether the process ended, with the lines that it had not written yet.
    pub killed: bool,
}

/// What is missing, and what there is too much of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Accepted requests that nobody answered,
    pub unanswered: usize,
    /// and those that were under way in the agent when it was cut off.
    pub under_way: usize,
    /// Answered requests without their last log line,
    pub lines_lost: usize,
    /// and those whose lines a killed agent had not written yet.
    pub lines_killed: usize,
    /// Answered requests without their audit event,
    pub events_lost: usize,
    /// and those whose events a killed agent had not written yet.
    pub events_killed: usize,
    /// Lines and events that stand there more than once.
    pub twice: usize,
    /// Lines that are no JSON, which is what a process leaves that is killed in the middle of one.
    pub torn: usize,
}

impl Account {
    /// Holds the requests against what the files have of them.
    pub fn of(asked: &[Asked], files: &ByTrace, cut: Option<Cut>) -> Self {
        let mut account = Self::default();
        let nothing = Lines::default();
        for request in asked {
            let lines = files.get(&request.trace).unwrap_or(&nothing);
            let more = |count: usize| count.saturating_sub(1);
            account.twice += more(lines.started) + more(lines.completed) + more(lines.audited);
            if !has_answer(request) {
                if *lines != nothing {
                    let gone = cut.is_some_and(|cut| request.due <= cut.at);
                    *(if gone { &mut account.under_way } else { &mut account.unanswered }) += 1;
                }
                continue;
            }
            let killed = cut.is_some_and(|cut| {
                let before = |ended| ended <= cut.at && cut.at - ended <= UNDER_WAY;
                cut.killed && request.ended.is_some_and(before)
            });
            if lines.completed == 0 {
                *(if killed { &mut account.lines_killed } else { &mut account.lines_lost }) += 1;
            }
            if lines.audited == 0 {
                *(if killed { &mut account.events_killed } else { &mut account.events_lost }) += 1;
            }
        }
        account.torn = files.get("").map_or(0, |_| 1);
        account
    }

    /// Whether everything is there that has to be: what is not may still be on its way to the disk.
    pub fn is_whole(&self) -> bool {
        self.lines_lost + self.events_lost == 0
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({"accepted_without_answer": self.unanswered, "under_way_when_cut": self.under_way,
            "log_lines_lost": self.lines_lost, "log_lines_lost_with_the_process": self.lines_killed,
            "audit_events_lost": self.events_lost, "audit_events_lost_with_the_process": self.events_killed,
            "lines_twice": self.twice})
    }
}

/// The numbers of the audit log, by the run of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(BTreeMap<String, Vec<u64>>);

impl Numbers {
    /// Reads `"boot_id":"…","seq":…` out of lines.
    pub fn read(text: &str) -> Self {
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in text.lines() {
            let Some((run, seq)) = line.split_once(' ') else { continue };
            let Ok(seq) = seq.trim().parse() else { continue };
            numbers.entry(run.to_owned()).or_default().push(seq);
        }
        Self(numbers)
    }

    /// What each run lacks from 1 up to its last number.
    pub fn gaps(&self) -> BTreeSet<(String, u64)> {
        let mut gaps = BTreeSet::new();
        for (run, numbers) in &self.0 {
            let known: BTreeSet<_> = numbers.iter().copied().collect();
            let (Some(last), 1..) = (known.last().copied(), known.len()) else { continue };
            gaps.extend((1..last).filter(|seq| !known.contains(seq)).map(|seq| (run.clone(), seq)));
        }
        gaps
    }

    /// How many numbers a run has more than once.
    pub fn twice(&self) -> usize {
        let unique = |numbers: &Vec<u64>| numbers.iter().collect::<BTreeSet<_>>().len();
        self.0.values().map(|numbers| numbers.len() - unique(numbers)).sum()
    }
}

#[cfg(test)]
mod tests {
    use load_test::client::{Failure, Outcome};

    use super::*;

    fn asked(trace: &str, due: f64, ended: f64, outcome: Outcome) -> Asked {
        Asked { trace: trace.to_owned(), due, ended: Some(ended), outcome: Some(outcome) }
    }

    fn answered(trace: &str, due: f64, ended: f64) -> Asked {
        asked(trace, due, ended, Outcome::Answered { cached: false })
    }

    fn broken(trace: &str, due: f64) -> Asked {
        asked(trace, due, due + 1.0, Outcome::Failed(Failure::Broken))
    }

    fn files(whole: &[&str], started: &[&str]) -> ByTrace {
        let whole = whole.iter().map(|trace| {
            format!(
                "{{\"msg\":\"request started\",\"trace_id\":\"{trace}\"}}\n{{\"msg\":\"request completed\",\"trace_id\":\"{trace}\"}}\n\
                 {{\"msg\":\"access decision\",\"trace_id\":\"{trace}\"}}\n"
            )
        });
        let started =
            started.iter().map(|trace| format!("{{\"msg\":\"request started\",\"trace_id\":\"{trace}\"}}\n"));
        by_trace(&whole.chain(started).collect::<String>())
    }

    #[test]
    fn in_fair_weather_nothing_is_missing() {
        let all = [answered("a", 1.0, 2.0), asked("b", 1.0, 2.0, Outcome::Failed(Failure::Status(502)))];
        assert_eq!(Account::of(&all, &files(&["a", "b"], &[]), None), Account::default());
        // Whom nobody has let in is not lost.
        let refused = asked("c", 1.0, 1.0, Outcome::Unreachable("refused".into()));
        assert_eq!(Account::of(&[refused, broken("d", 1.0)], &files(&[], &[]), None), Account::default());
    }

    #[test]
    fn who_was_accepted_and_not_answered_is_lost_unless_he_was_under_way_when_the_agent_was_cut_off() {
        let all = [broken("a", 1.0), broken("b", 3.0)];
        let files = files(&[], &["a", "b"]);
        let account = Account::of(&all, &files, None);
        assert_eq!((account.unanswered, account.under_way), (2, 0));
        let account = Account::of(&all, &files, Some(Cut { at: 2.0, killed: false }));
        assert_eq!((account.unanswered, account.under_way), (1, 1));
    }

    #[test]
    fn a_killed_agent_takes_the_lines_of_its_last_second_with_it_and_no_others() {
        let all = [answered("a", 1.0, 8.9), answered("b", 1.0, 9.5), answered("c", 10.5, 11.0)];
        let nothing = ByTrace::new();
        let account = Account::of(&all, &nothing, Some(Cut { at: 10.0, killed: true }));
        assert_eq!((account.lines_killed, account.events_killed), (1, 1));
        assert_eq!((account.lines_lost, account.events_lost), (2, 2), "a: long before; c: the next process");
        let account = Account::of(&all, &nothing, Some(Cut { at: 10.0, killed: false }));
        assert_eq!(account.lines_lost, 3, "whose network is cut loses no line");
        assert!(!account.is_whole());
    }

    #[test]
    fn what_stands_there_twice_shows() {
        let account = Account::of(&[answered("a", 1.0, 2.0)], &files(&["a", "a"], &[]), None);
        assert_eq!((account.twice, account.lines_lost), (3, 0));
        let torn = by_trace("{\"msg\":\"requ");
        assert_eq!(Account::of(&[], &torn, None).torn, 1);
    }

    #[test]
    fn a_number_that_is_missing_shows_whatever_the_order() {
        let numbers = Numbers::read("run-1 1\nrun-1 3\nrun-1 2\nrun-2 1\nrun-2 4\nrun-2 4\nnonsense\n");
        assert_eq!(numbers.gaps(), [("run-2".to_owned(), 2), ("run-2".to_owned(), 3)].into());
        assert_eq!(numbers.twice(), 1);
    }
}
