//! What the users saw.

use std::collections::BTreeMap;

use load_test::client::{Failure, Outcome};
use serde_json::{Value, json};

use super::load::Asked;

/// Counts and times of requests. A time is from when a request was due to its end, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Users {
    /// Requests that were due.
    pub asked: usize,
    /// Of them answered with success.
    pub answered: usize,
    /// Of them refused with 4xx, a tenant whose budget is spent, say: an answer, and nobody's failure.
    pub rejected: usize,
    /// The others, by kind: a status, `timed out`, `broken`, `unreachable`.
    pub failures: BTreeMap<String, usize>,
    /// The longest time of all.
    pub longest: f64,
    /// 95 of 100 answers came within.
    pub p95: f64,
}

impl Users {
    /// Of these requests.
    pub fn of(asked: &[Asked]) -> Self {
        let mut users = Self { asked: asked.len(), ..Self::default() };
        let mut times = Vec::new();
        for asked in asked {
            let time = asked.ended.map_or(f64::INFINITY, |ended| ended - asked.due);
            users.longest = users.longest.max(time);
            let kind = match &asked.outcome {
                Some(Outcome::Answered { .. }) => {
                    users.answered += 1;
                    times.push(time);
                    continue;
                }
                Some(Outcome::Rejected) => {
                    users.rejected += 1;
                    continue;
                }
                Some(Outcome::Failed(failure)) => failure.to_string(),
                Some(Outcome::Unreachable(_)) => "unreachable".to_owned(),
                None => "no end".to_owned(),
            };
            *users.failures.entry(kind).or_default() += 1;
        }
        times.sort_unstable_by(f64::total_cmp);
        let rank = (0.95 * times.len() as f64).ceil() as usize;
        users.p95 = times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0);
        users
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// `3 × 502, 1 × broken`; empty where none failed.
    pub fn kinds(&self) -> String {
        let kinds: Vec<_> = self.failures.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
        kinds.join(", ")
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({"asked": self.asked, "answered": self.answered, "rejected": self.rejected, "failures": self.failures,
            "longest_seconds": self.longest, "p95_seconds": self.p95})
    }
}

/// Whether somebody has answered, be it with an error.
pub(super) fn has_answer(asked: &Asked) -> bool {
    let answers = |failure: &Failure| matches!(failure, Failure::Status(_) | Failure::Unreadable);
    match &asked.outcome {
        Some(Outcome::Answered { .. } | Outcome::Rejected) => true,
        Some(Outcome::Failed(failure)) => answers(failure),
        Some(Outcome::Unreachable(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(due: f64, time: f64, outcome: Outcome) -> Asked {
        Asked { trace: String::new(), due, ended: Some(due + time), outcome: Some(outcome) }
    }

    #[test]
    fn failures_have_kinds_and_times_count_from_when_a_request_was_due() {
        let mut all: Vec<_> = (1..=100)
            .map(|n| asked(f64::from(n), f64::from(n) / 100.0, Outcome::Answered { cached: false }))
            .collect();
        all.push(asked(1.0, 9.0, Outcome::Failed(Failure::Status(502))));
        all.push(asked(1.0, 0.5, Outcome::Failed(Failure::Status(502))));
        all.push(asked(1.0, 0.5, Outcome::Failed(Failure::Broken)));
        all.push(asked(1.0, 0.0, Outcome::Unreachable("refused".into())));
        all.push(asked(1.0, 0.0, Outcome::Rejected));
        let users = Users::of(&all);
        assert_eq!((users.asked, users.answered, users.rejected, users.failed()), (105, 100, 1, 4));
        assert_eq!(users.kinds(), "2 × 502, 1 × broken, 1 × unreachable");
        assert!((users.p95 - 0.95).abs() < 1e-9 && (users.longest - 9.0).abs() < 1e-9, "{users:?}");
        assert_eq!(Users::of(&[]).p95.to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_request_that_never_ends_waits_for_ever_and_has_no_answer() {
        let open = Asked { trace: String::new(), due: 1.0, ended: None, outcome: None };
        assert!(Users::of(std::slice::from_ref(&open)).longest.is_infinite() && !has_answer(&open));
        assert!(has_answer(&asked(1.0, 0.1, Outcome::Failed(Failure::Status(504)))));
        assert!(!has_answer(&asked(1.0, 0.1, Outcome::Failed(Failure::Broken))));
        assert!(!has_answer(&asked(1.0, 0.1, Outcome::Failed(Failure::TimedOut))));
    }
}
