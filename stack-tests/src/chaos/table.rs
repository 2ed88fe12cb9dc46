//! The table of all faults.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::judgement::{Seen, Told};

/// What came of one fault.
pub struct Row {
    /// What was broken.
    pub name: String,
    /// What was seen; or why nothing was.
    pub seen: Result<Seen, String>,
    /// What of the promise was broken.
    pub broken: Vec<String>,
}

impl Row {
    /// Whether it kept all that was promised.
    pub fn is_kept(&self) -> bool {
        self.seen.is_ok() && self.broken.is_empty()
    }

    /// What went wrong, in one line.
    pub fn failure(&self) -> Option<String> {
        match &self.seen {
            Err(why) => Some(why.clone()),
            Ok(_) if self.broken.is_empty() => None,
            Ok(_) => Some(self.broken.join("; ")),
        }
    }

    /// For programs.
    fn to_json(&self) -> Value {
        let seen = self.seen.as_ref().map(Seen::to_json);
        json!({"fault": self.name, "kept": self.is_kept(), "broken": self.broken, "seen": seen.as_ref().ok(),
            "not_run": seen.err()})
    }
}

/// For people: a line each, and below it what is worth a word.
pub fn text(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "{:<width$} {:>6} {:>6} {:>8} {:>11} {:>8} {:>6} {:>6} {:>6} {:>6} {:>11} {:>6} {:>6}  {}\n",
        "fault",
        "asked",
        "failed",
        "longest",
        "P95 (calm)",
        "accepted",
        "lines",
        "events",
        "twice",
        "spans",
        "gap (out)",
        "alert",
        "well",
        "goals"
    );
    for row in rows {
        match &row.seen {
            Ok(seen) => line(&mut text, width, row, seen),
            Err(why) => {
                let _ = writeln!(text, "{:<width$} FAILED: {why}", row.name);
            }
        }
        for broken in &row.broken {
            let _ = writeln!(text, "{:width$} BROKEN: {broken}", "");
        }
    }
    text
}

fn line(text: &mut String, width: usize, row: &Row, seen: &Seen) {
    let Seen { users, account, .. } = seen;
    let lost = |lost: usize, gone: usize| if gone == 0 { lost.to_string() } else { format!("{lost}+{gone}") };
    let alert = match &seen.told {
        Told::NotDue(_) => "–".to_owned(),
        Told::After { seconds, .. } => format!("{seconds:.0} s"),
        Told::Missing { .. } => "none".to_owned(),
    };
    let well = seen.well.as_ref().map_or("never".to_owned(), |well| format!("{well:.0} s"));
    let gap = seen.gap.map_or("–".to_owned(), |gap| format!("{gap:.1}"));
    // What the agent has counted is more exact than requests that lack their last line.
    let lines = if seen.lines_dropped > 0.0 { seen.lines_dropped as usize } else { account.lines_lost };
    let verdict = if row.is_kept() { "kept" } else { "FAILED" };
    let _ = writeln!(
        text,
        "{:<width$} {:>6} {:>6} {:>6.1} s {:>11} {:>8} {:>6} {:>6} {:>6} {:>6} {:>11} {:>6} {:>6}  {verdict}",
        row.name,
        users.asked,
        users.failed(),
        users.longest,
        format!("{:.2} ({:.2})", users.p95, seen.calm_p95),
        lost(account.unanswered, account.under_way),
        lost(lines, account.lines_killed),
        lost(account.events_lost + seen.gaps, account.events_killed),
        account.twice,
        seen.spans_dropped,
        format!("{gap} ({:.1})", seen.outage),
        alert,
        well,
    );
    let mut words = Vec::new();
    if users.failed() > 0 {
        words.push(users.kinds());
    }
    match &seen.told {
        Told::NotDue(why) => words.push(format!("no alert: {why}")),
        Told::After { alert, .. } => words.push((*alert).to_owned()),
        Told::Missing { .. } => {}
    }
    if let Some(missing @ 1..) = seen.traces_missing {
        words.push(format!("{missing} requests have no trace"));
    }
    if account.torn > 0 {
        words.push("a torn line".to_owned());
    }
    let _ = writeln!(text, "{:width$} {}", "", words.join("; "));
}

/// What the columns mean.
pub const LEGEND: &str = "\
accepted: accepted requests without an answer; lines, events: answered requests without their last log line or audit event, and what the agent
itself counts as lost; n+m: m more that a killed or cut-off agent was working on. twice: lines that stand there more than once. spans: lost.
gap (out): seconds without a sample of the agent, and of the outage. alert: until people were told. well: from the fault's end.";

/// For programs.
pub fn to_json(rows: &[Row]) -> Value {
    json!({"faults": rows.iter().map(Row::to_json).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::{super::judgement::tests::seen, *};
    use crate::chaos::{lines::Account, users::Users};

    #[test]
    fn a_row_says_what_was_seen_and_what_was_broken() {
        let killed = Seen {
            users: Users { failures: [("unreachable".to_owned(), 9)].into(), ..seen().users },
            account: Account { under_way: 2, lines_killed: 1, ..Account::default() },
            told: Told::NotDue("it was over in 2 s".into()),
            ..seen()
        };
        let rows = [
            Row { name: "kill example-agent".into(), seen: Ok(killed), broken: vec![] },
            Row {
                name: "pause jaeger".into(),
                seen: Ok(seen()),
                broken: vec!["users saw it: 1 × 502".into()],
            },
            Row { name: "slow grafana".into(), seen: Err("not quiet".into()), broken: vec![] },
        ];
        let text = text(&rows);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].contains(" 0+2 ") && lines[1].contains(" 0+1 ") && lines[1].ends_with("kept"),
            "{text}"
        );
        assert!(lines[2].contains("9 × unreachable; no alert: it was over in 2 s"), "{text}");
        assert!(lines[3].ends_with("FAILED") && lines[4].contains("GrafanaDown"), "{text}");
        assert!(lines[5].contains("BROKEN: users saw it"), "{text}");
        assert!(lines[6].contains("FAILED: not quiet"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 140), "{text}");
        let json = to_json(&rows);
        assert_eq!(json["faults"][0]["kept"], true);
        assert_eq!(json["faults"][1]["broken"][0], "users saw it: 1 × 502");
        assert_eq!(
            (json["faults"][2]["kept"].as_bool(), json["faults"][2]["not_run"].as_str()),
            (Some(false), Some("not quiet"))
        );
    }
}
