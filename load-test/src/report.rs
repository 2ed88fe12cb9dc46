//! Counts what came of requests, and writes lines about it.
use std::{
    fmt,
    io::Write as _,
    time::{Duration, SystemTime},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::Outcome;

/// The longest time that is told apart, in microseconds: an hour.
const MAX_MICROS: u64 = 3_600_000_000;

/// Counts over some time, and the latency of what was answered, from when the request was due: a stall shows in full.
#[derive(Debug)]
pub struct Tally {
    sent: u64,
    answered: u64,
    cached: u64,
    rejected: u64,
    failed: u64,
    skipped: u64,
    latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        // Two significant digits are what a line shows, and keep the histogram at some 30 KB.
        let latency = Histogram::new_with_bounds(1, MAX_MICROS, 2).expect("valid bounds");
        Self { sent: 0, answered: 0, cached: 0, rejected: 0, failed: 0, skipped: 0, latency }
    }
}

impl Tally {
    /// A request was sent.
    pub fn sent(&mut self) {
        self.sent += 1;
    }

    /// A request was due but not sent, because too many others wait for their answers.
    pub fn skipped(&mut self) {
        self.skipped += 1;
    }

    /// A request ended, so long after it was due.
    pub fn ended(&mut self, outcome: &Outcome, latency: Duration) {
        match outcome {
            Outcome::Answered { cached } => {
                self.answered += 1;
                self.cached += u64::from(*cached);
                self.latency
                    .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MAX_MICROS).max(1));
            }
            Outcome::Rejected => self.rejected += 1,
            Outcome::Failed(_) | Outcome::Unreachable(_) => self.failed += 1,
        }
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        let Self { sent, answered, cached, rejected, failed, skipped, latency } = self;
        for (count, more) in [
            (sent, other.sent),
            (answered, other.answered),
            (cached, other.cached),
            (rejected, other.rejected),
            (failed, other.failed),
            (skipped, other.skipped),
        ] {
            *count += more;
        }
        latency.add(&other.latency).expect("all have the same bounds");
    }

    /// This share of the answers came within.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }

    /// Its counts and times.
    pub fn figures(&self) -> Figures {
        let ms = |quantile| self.quantile(quantile).as_secs_f64() * 1e3;
        let Self { sent, answered, cached, rejected, failed, skipped, .. } = *self;
        let (p50_ms, p95_ms, p99_ms, max_ms) = (ms(0.5), ms(0.95), ms(0.99), ms(1.0));
        Figures { sent, answered, cached, rejected, failed, skipped, p50_ms, p95_ms, p99_ms, max_ms }
    }
}

/// What a [`Tally`] has counted. Times are of answers, 0 without one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Requests sent.
    pub sent: u64,
    /// Of them answered,
    pub answered: u64,
    /// by the agent's cache,
    pub cached: u64,
    /// refused with 4xx,
    pub rejected: u64,
    /// and failed: 5xx, an answer that is none, or none in time.
    pub failed: u64,
    /// Requests that were due and not sent.
    pub skipped: u64,
    /// The time within which half of the answers came, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 answers.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
}

impl Figures {
    /// Share of what was due that was not answered; 0 where nothing was due.
    pub fn unanswered(&self) -> f64 {
        let due = self.answered + self.rejected + self.failed + self.skipped;
        if due == 0 { 0.0 } else { 1.0 - self.answered as f64 / due as f64 }
    }

    /// Share of the answers that came from the cache; 0 without answers.
    pub fn hit_rate(&self) -> f64 {
        if self.answered == 0 { 0.0 } else { self.cached as f64 / self.answered as f64 }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, answered, cached, rejected, failed, skipped, .. } = self;
        write!(f, "sent {sent}, ok {answered}, errors {failed}, rejected {rejected}, skipped {skipped}")?;
        if *answered == 0 {
            return Ok(());
        }
        let share = 100.0 * *cached as f64 / *answered as f64;
        let ms = |quantile| self.quantile(quantile).as_millis();
        write!(f, ", cached {share:.0} %, p50 {} ms, p95 {} ms", ms(0.5), ms(0.95))
    }
}

/// Writes a line with the time before it. A reader who is gone does not matter.
pub fn say(line: impl fmt::Display) {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let _ = writeln!(std::io::stdout().lock(), "{now} {line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Failure;

    #[test]
    fn a_line_has_counts_and_percentiles_of_answers() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            tally.sent();
            tally.ended(&Outcome::Answered { cached: ms <= 80 }, Duration::from_millis(ms));
        }
        // What failed at once must not make the percentiles look good.
        for outcome in [
            Outcome::Rejected,
            Outcome::Failed(Failure::Status(502)),
            Outcome::Unreachable("refused".to_owned()),
        ] {
            tally.sent();
            tally.ended(&outcome, Duration::ZERO);
        }
        tally.skipped();
        let line = tally.to_string();
        assert_eq!(
            line,
            "sent 103, ok 100, errors 2, rejected 1, skipped 1, cached 80 %, p50 50 ms, p95 95 ms"
        );
    }

    #[test]
    fn without_answers_there_are_no_percentiles() {
        assert_eq!(Tally::default().to_string(), "sent 0, ok 0, errors 0, rejected 0, skipped 0");
    }

    #[test]
    fn times_beyond_the_bounds_count_as_the_bounds() {
        let mut tally = Tally::default();
        tally.ended(&Outcome::Answered { cached: false }, Duration::MAX);
        assert!(tally.quantile(0.5) >= Duration::from_mins(59));
    }
}
