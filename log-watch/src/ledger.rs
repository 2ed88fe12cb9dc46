//! The comparison of lines written with lines indexed.
//!
//! Agents count the lines that they have put into their files; Elasticsearch counts documents by the time in the line. At
//! an instant at which every agent was asked, all lines counted so far have a time before it. Between two such instants
//! both sides must therefore count the same, whatever was sampled (both see only what was written), replayed (a line is
//! one document, however often it is read) or deleted (the window is shorter than any retention). No rate is involved, so
//! a single missing line shows.
//!
//! Where the sides can differ in a system that is well, the ledger errs towards silence: lines that an agent wrote between
//! the last question and its end are not expected, and at the older instant a line may have its time already and
//! still be on its way to the file.
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

/// The streams, each with its own files and indices. The names are the values of the label `stream`.
pub const STREAMS: [&str; 2] = ["app", "audit"];
/// The place of the audit log in [`STREAMS`].
pub const AUDIT: usize = 1;

/// What one agent says: when its process started, as seconds since 1970, and the lines of each stream in its files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Written {
    /// Of the process.
    pub started: f64,
    /// By [`STREAMS`].
    pub lines: [u64; 2],
}

/// Lines from a line's time to its being in the file: the audit log writes ten times a second.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// An instant at which every agent has answered.
#[derive(Clone, Copy, Debug)]
struct Instant {
    asked: SystemTime,
    answered: SystemTime,
    /// Lines since the ledger was opened.
    total: [u64; 2],
}

/// What must be in Elasticsearch by now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Due {
    /// Lines later than this …
    pub after: SystemTime,
    /// … up to this.
    pub until: SystemTime,
    /// How many lines of each stream there must be.
    pub lines: [u64; 2],
    /// How many of them may have been on their way at the first instant, and count as before it.
    pub doubtful: [u64; 2],
}

impl Due {
    /// How many lines of a stream are missing for certain, if so many are indexed.
    pub fn missing(&self, stream: usize, indexed: u64) -> u64 {
        self.lines[stream].saturating_sub(indexed).saturating_sub(self.doubtful[stream])
    }
}

/// What the agents have written, at instants.
#[derive(Debug)]
pub struct Ledger {
    window: Duration,
    patience: Duration,
    latest: HashMap<String, Written>,
    total: [u64; 2],
    instants: VecDeque<Instant>,
}

impl Ledger {
    /// Compares over `window`, and gives each line `patience` to arrive.
    pub fn new(window: Duration, patience: Duration) -> Self {
        Self { window, patience, latest: HashMap::new(), total: [0; 2], instants: VecDeque::new() }
    }

    /// Takes what every agent, by its address, has answered between two times.
    pub fn record(
        &mut self,
        asked: SystemTime,
        answered: SystemTime,
        agents: impl IntoIterator<Item = (String, Written)>,
    ) {
        for (address, now) in agents {
            let before = self.latest.insert(address, now);
            for stream in 0..STREAMS.len() {
                self.total[stream] += match before {
                    // Never seen: how much of it is older than the ledger is not known.
                    None => 0,
                    Some(before) if same_process(before, now) => now.lines[stream] - before.lines[stream],
                    Some(_) => now.lines[stream],
                };
            }
        }
        self.instants.push_back(Instant { asked, answered, total: self.total });
        let keep = self.window + self.patience;
        while self.instants.get(1).is_some_and(|next| since(next.asked, asked) >= keep) {
            self.instants.pop_front();
        }
    }

    /// What must be indexed at `now`; nothing before there are two instants that are old enough.
    pub fn due(&self, now: SystemTime) -> Option<Due> {
        let old_enough = |i: &&Instant| since(i.answered, now) >= self.patience;
        let last = self.instants.iter().rev().find(old_enough)?;
        let mut instants = self.instants.iter().skip_while(|i| since(i.asked, last.asked) > self.window);
        let (first, second) = (instants.next()?, instants.next()?);
        if first.asked >= last.asked {
            return None;
        }
        let (span, edge) = (since(first.asked, second.asked), ON_ITS_WAY.as_secs_f64());
        let per_second = |stream: usize| {
            (second.total[stream] - first.total[stream]) as f64 / span.as_secs_f64().max(edge)
        };
        Some(Due {
            after: first.asked,
            until: last.answered,
            lines: std::array::from_fn(|stream| last.total[stream] - first.total[stream]),
            doubtful: std::array::from_fn(|stream| (per_second(stream) * edge) as u64),
        })
    }
}

fn same_process(before: Written, now: Written) -> bool {
    let grown = before.lines.iter().zip(now.lines).all(|(before, now)| *before <= now);
    (before.started - now.started).abs() < 1.0 && grown
}

/// Nothing where the clock was put back.
fn since(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn ledger(samples: &[(u64, f64, u64)]) -> Ledger {
        let mut ledger = Ledger::new(HOUR, MINUTE);
        for (seconds, started, lines) in samples {
            let written = Written { started: *started, lines: [*lines, lines / 4] };
            ledger.record(at(*seconds), at(*seconds), [("agent".to_owned(), written)]);
        }
        ledger
    }

    #[test]
    fn lines_are_due_after_the_patience_and_a_single_one_is_missed() {
        let ledger = ledger(&[(0, 1.0, 1000), (10, 1.0, 1040), (20, 1.0, 1080), (80, 1.0, 2000)]);
        assert_eq!(ledger.due(at(65)), None, "one instant is no span");
        let due = ledger.due(at(80)).unwrap();
        assert_eq!((due.after, due.until), (at(0), at(20)));
        assert_eq!(due.lines, [80, 20]);
        assert_eq!(due.missing(0, 80), 0);
        assert_eq!(due.missing(0, 79), 1, "four lines a second leave no doubt");
        assert_eq!(due.missing(0, 90), 0, "others may write there too");
    }

    #[test]
    fn an_agent_that_starts_again_counts_from_nothing() {
        let ledger = ledger(&[(0, 1.0, 1000), (10, 1.0, 1100), (20, 9.0, 30), (30, 9.0, 50)]);
        assert_eq!(ledger.due(at(90)).unwrap().lines[0], 150);
        // It was killed and is back before the next question, with the same number of lines.
        let ledger = self::ledger(&[(0, 1.0, 100), (10, 9.0, 100)]);
        assert_eq!(ledger.due(at(70)).unwrap().lines[0], 100);
    }

    #[test]
    fn at_a_high_rate_what_may_be_on_its_way_is_no_loss() {
        let ledger = ledger(&[(0, 1.0, 0), (10, 1.0, 10_000), (20, 1.0, 20_000)]);
        let due = ledger.due(at(80)).unwrap();
        assert_eq!((due.lines[0], due.doubtful[0]), (20_000, 200));
        assert_eq!((due.missing(0, 19_800), due.missing(0, 19_000)), (0, 800));
    }

    #[test]
    fn the_window_moves_on_and_the_ledger_stays_small() {
        let samples: Vec<_> = (0..2_000).map(|n| (n * 10, 1.0, n * 40)).collect();
        let ledger = ledger(&samples);
        let due = ledger.due(at(20_000)).unwrap();
        assert_eq!(due.until, at(19_940));
        assert_eq!((due.after, due.lines[0]), (at(16_340), 14_400));
        assert!(ledger.instants.len() < 400, "{}", ledger.instants.len());
    }

    #[test]
    fn while_agents_do_not_answer_the_last_instants_hold() {
        let ledger = ledger(&[(0, 1.0, 0), (10, 1.0, 40)]);
        assert_eq!(ledger.due(at(1_000)), ledger.due(at(70)));
    }
}
