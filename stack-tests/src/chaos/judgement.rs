//! What was seen of a fault, and whether it kept what is promised.

use serde_json::{Value, json};

use super::{lines::Account, parts::Role, users::Users};

/// The users' P95 during a fault of what only watches is at most so many times that of before.
pub const P95_TIMES: f64 = 2.0;
/// A scrape may be so much later than it was due, in seconds: the machine is busy.
pub const SCRAPE_LATE: f64 = 2.0;
/// Prometheus looks for its targets so long after its start at the latest, in seconds.
pub const PROMETHEUS_LOOKS: f64 = 5.0;
/// An alert is due once an outage has outlived the rule's own time by so much, in seconds: scrape, evaluation and delivery.
pub const ALERT_LATE: f64 = 30.0;

/// What became of the alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// None is due, for a reason.
    NotDue(String),
    /// It came.
    After {
        /// Its name.
        alert: &'static str,
        /// Seconds from the fault until people had been told.
        seconds: f64,
    },
    /// It was due and did not come.
    Missing {
        /// Its name.
        alert: &'static str,
        /// What was still open.
        why: String,
    },
}

/// What was seen of a fault.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the users saw,
    pub users: Users,
    /// and their P95 while nothing was broken, in seconds.
    pub calm_p95: f64,
    /// The agent's lines and events.
    pub account: Account,
    /// Numbers that the audit log lacks since.
    pub gaps: usize,
    /// Lines that the agent counted as lost,
    pub lines_dropped: f64,
    /// and those that are lost and that it has not counted, or has counted and are there.
    pub uncounted: i64,
    /// Spans that it counted as lost.
    pub spans_dropped: f64,
    /// Answered requests without a trace; none where nobody keeps traces.
    pub traces_missing: Option<usize>,
    /// Lines of the files that Elasticsearch lacks, or has too many; none where nobody ships them.
    pub unshipped: Option<i64>,
    /// The longest time in which Prometheus had no sample of the agent, in seconds.
    pub gap: Option<f64>,
    /// How long it was not there, in seconds.
    pub outage: f64,
    /// The alert.
    pub told: Told,
    /// From its end until all was well, in seconds; or what was still wrong.
    pub well: Result<f64, String>,
}

/// What is promised of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// Whom it may hurt; whoever it befalls.
    pub role: Role,
    /// Whether the agent has no metrics meanwhile: it is down itself, or Prometheus is.
    pub unseen: bool,
    /// What a scrape may be late by beyond the outage, in seconds; none where Prometheus does not know this agent.
    pub scrape_late: Option<f64>,
    /// Whether log lines may be lost, if the agent counts each: their disk is full.
    pub lines: bool,
    /// Whether spans may be lost.
    pub spans: bool,
    /// Until when it has to be well, in seconds.
    pub within: f64,
}

/// What of the promise was broken; nothing where it was kept.
pub fn judge(seen: &Seen, promise: &Promise) -> Vec<String> {
    let mut broken = Vec::new();
    let mut goal = |kept: bool, what: String| {
        if !kept {
            broken.push(what);
        }
    };
    let Seen { users, account, .. } = seen;
    goal(users.asked > 0, "nobody asked anything: nothing was seen".into());
    match promise.role {
        Role::Serves => {}
        Role::Provides => {
            let silent = users.failures.keys().find(|kind| kind.parse::<u16>().is_err());
            goal(
                silent.is_none(),
                format!("users got no answer where an error was promised: {}", users.kinds()),
            );
        }
        Role::Watches => {
            goal(users.failed() == 0, format!("users saw it: {}", users.kinds()));
            let most = P95_TIMES * seen.calm_p95;
            goal(users.p95 <= most, format!("users waited: P95 {:.2} s, at most {most:.2} s", users.p95));
        }
    }
    let count = |goal: &mut dyn FnMut(bool, String), count: usize, what: &str| {
        goal(count == 0, format!("{count} {what}"));
    };
    count(&mut goal, account.unanswered, "accepted requests were never answered");
    let lines = if promise.lines { 0 } else { account.lines_lost };
    count(&mut goal, lines, "answered requests have no last log line");
    count(&mut goal, account.events_lost, "answered requests have no audit event");
    count(&mut goal, account.twice, "lines stand there twice");
    count(&mut goal, seen.gaps, "numbers are missing in the audit log");
    let dropped = seen.lines_dropped;
    goal(promise.lines || dropped == 0.0, format!("the agent lost {dropped} log lines"));
    goal(
        seen.uncounted == 0,
        format!("{} log lines more are lost than the agent has counted", seen.uncounted),
    );
    let unshipped = seen.unshipped.unwrap_or(0);
    goal(unshipped == 0, format!("Elasticsearch has {unshipped} lines fewer than the files"));
    goal(promise.spans || seen.spans_dropped == 0.0, format!("the agent lost {} spans", seen.spans_dropped));
    let traces = seen.traces_missing.unwrap_or(0);
    goal(promise.spans || traces == 0, format!("{traces} answered requests have no trace"));
    if let Some(late) = promise.scrape_late {
        let most = late + if promise.unseen { seen.outage } else { 0.0 };
        let gap = seen.gap.unwrap_or(f64::INFINITY);
        goal(gap <= most, format!("Prometheus lacks {gap:.1} s of the agent, at most {most:.1} s"));
    }
    if let Told::Missing { alert, why } = &seen.told {
        goal(false, format!("{alert} did not come: {why}"));
    }
    let well = match &seen.well {
        Ok(well) if *well <= promise.within => Ok(()),
        Ok(well) => Err(format!("well after {well:.0} s, not {:.0} s", promise.within)),
        Err(why) => Err(format!("not well again: {why}")),
    };
    broken.extend(well.err());
    broken
}

impl Seen {
    /// For programs.
    pub fn to_json(&self) -> Value {
        let told = match &self.told {
            Told::NotDue(why) => json!({"due": false, "why": why}),
            Told::After { alert, seconds } => json!({"due": true, "alert": alert, "after_seconds": seconds}),
            Told::Missing { alert, why } => json!({"due": true, "alert": alert, "why": why}),
        };
        json!({"users": self.users.to_json(), "calm_p95_seconds": self.calm_p95, "files": self.account.to_json(),
            "audit_numbers_missing": self.gaps, "log_lines_dropped": self.lines_dropped,
            "log_lines_lost_and_not_counted": self.uncounted,
            "spans_dropped": self.spans_dropped, "traces_missing": self.traces_missing,
            "lines_not_in_elasticsearch": self.unshipped, "metrics_gap_seconds": self.gap,
            "outage_seconds": self.outage, "alert": told, "well_after_seconds": self.well.as_ref().ok(),
            "not_well": self.well.as_ref().err()})
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn seen() -> Seen {
        let users = Users { asked: 100, answered: 100, p95: 1.4, longest: 2.1, ..Users::default() };
        Seen {
            users,
            calm_p95: 1.3,
            account: Account::default(),
            gaps: 0,
            lines_dropped: 0.0,
            uncounted: 0,
            spans_dropped: 0.0,
            traces_missing: Some(0),
            unshipped: None,
            gap: Some(0.3),
            outage: 10.0,
            told: Told::After { alert: "GrafanaDown", seconds: 12.0 },
            well: Ok(4.0),
        }
    }

    const WATCHES: Promise = Promise {
        role: Role::Watches,
        unseen: false,
        scrape_late: Some(2.25),
        lines: false,
        spans: false,
        within: 60.0,
    };

    fn failing(kind: &str) -> Users {
        Users { failures: [(kind.to_owned(), 3)].into(), ..seen().users }
    }

    #[test]
    fn what_keeps_its_promise_breaks_nothing() {
        assert_eq!(judge(&seen(), &WATCHES), Vec::<String>::new());
        let of_agent = Promise { role: Role::Serves, unseen: true, ..WATCHES };
        let killed = Account { under_way: 2, lines_killed: 1, events_killed: 3, ..Account::default() };
        let seen = Seen { users: failing("unreachable"), account: killed, gap: Some(12.0), ..seen() };
        assert_eq!(judge(&seen, &of_agent), Vec::<String>::new());
    }

    #[test]
    fn each_goal_can_be_broken_by_itself() {
        let account = |change: fn(&mut Account)| {
            let mut seen = seen();
            change(&mut seen.account);
            seen
        };
        let cases = [
            (Seen { users: Users::default(), ..seen() }, "nobody asked"),
            (Seen { users: failing("502"), ..seen() }, "users saw it: 3 × 502"),
            (Seen { users: Users { p95: 2.7, ..seen().users }, ..seen() }, "P95 2.70 s, at most 2.60 s"),
            (account(|account| account.unanswered = 1), "1 accepted requests were never answered"),
            (account(|account| account.lines_lost = 2), "2 answered requests have no last log line"),
            (account(|account| account.events_lost = 2), "no audit event"),
            (account(|account| account.twice = 1), "twice"),
            (Seen { gaps: 4, ..seen() }, "4 numbers are missing"),
            (Seen { lines_dropped: 5.0, ..seen() }, "lost 5 log lines"),
            (Seen { uncounted: -2, ..seen() }, "-2 log lines more are lost"),
            (Seen { unshipped: Some(-1), ..seen() }, "Elasticsearch has -1 lines fewer"),
            (Seen { spans_dropped: 7.0, ..seen() }, "lost 7 spans"),
            (Seen { traces_missing: Some(1), ..seen() }, "1 answered requests have no trace"),
            (Seen { gap: Some(3.0), ..seen() }, "lacks 3.0 s of the agent, at most 2.2 s"),
            (Seen { gap: None, ..seen() }, "lacks inf s of the agent"),
            (
                Seen { told: Told::Missing { alert: "JaegerDown", why: "quiet".into() }, ..seen() },
                "JaegerDown did not come",
            ),
            (Seen { well: Ok(61.0), ..seen() }, "well after 61 s, not 60 s"),
            (Seen { well: Err("unhealthy".into()), ..seen() }, "not well again: unhealthy"),
        ];
        for (seen, says) in cases {
            let broken = judge(&seen, &WATCHES);
            assert!(broken.iter().any(|what| what.contains(says)), "{says}: {broken:?}");
        }
    }

    #[test]
    fn whoever_is_asked_for_answers_may_fail_but_not_fall_silent() {
        let provides = Promise { role: Role::Provides, ..WATCHES };
        assert_eq!(judge(&Seen { users: failing("504"), ..seen() }, &provides), Vec::<String>::new());
        for silent in ["timed out", "broken", "unreachable"] {
            let broken = judge(&Seen { users: failing(silent), ..seen() }, &provides);
            assert!(broken[0].contains("users got no answer"), "{broken:?}");
        }
    }

    #[test]
    fn a_full_disk_may_cost_lines_as_long_as_each_is_counted() {
        let disk = Promise { lines: true, scrape_late: None, ..WATCHES };
        let account = Account { lines_lost: 9, ..Account::default() };
        let lost = Seen { account, lines_dropped: 40.0, gap: None, ..seen() };
        assert_eq!(judge(&lost, &disk), Vec::<String>::new());
        assert_eq!(judge(&Seen { uncounted: 1, ..lost.clone() }, &disk).len(), 1);
        assert_eq!(judge(&lost, &WATCHES).len(), 3);
    }

    #[test]
    fn the_page_promises_what_is_judged() {
        let page = include_str!("../../../docs/faults.md").replace('\n', " ");
        for said in [
            format!("a scrape may be {SCRAPE_LATE} s late"),
            format!("up to {PROMETHEUS_LOOKS} s after its start"),
            format!("outlives the rule's own time by {ALERT_LATE} s"),
            format!("P95 is at most {P95_TIMES} times that of before"),
        ] {
            assert!(page.contains(&said), "docs/faults.md does not say: {said}");
        }
        for kind in crate::chaos::plan::Kind::ALL {
            assert!(page.contains(&format!("| `{kind}` | ")), "docs/faults.md has no {kind}");
        }
    }

    #[test]
    fn a_collector_may_cost_spans_and_nothing_else() {
        let jaeger = Promise { spans: true, ..WATCHES };
        let lost = Seen { spans_dropped: 70.0, traces_missing: Some(9), ..seen() };
        assert_eq!(judge(&lost, &jaeger), Vec::<String>::new());
        assert_eq!(judge(&lost, &WATCHES).len(), 2);
    }
}
