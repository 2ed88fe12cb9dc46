//! Slack's rate limit: a message a second for each webhook, with short bursts.
use std::{collections::HashMap, time::Instant};

/// Webhooks that are told apart. Beyond, those that have been silent for long enough are forgotten.
const MAX_WEBHOOKS: usize = 1000;

/// A token bucket for each webhook.
pub(super) struct Limiter {
    per_second: f64,
    burst: f64,
    started: Instant,
    /// For each webhook the time, in seconds since the start, at which its bucket is full again.
    full_at: HashMap<String, f64>,
}

impl Limiter {
    /// Buckets that hold `burst` messages and fill by `per_second`.
    pub(super) fn new(per_second: f64, burst: u32, started: Instant) -> Self {
        Self { per_second, burst: f64::from(burst), started, full_at: HashMap::new() }
    }

    /// Takes a message from the webhook's bucket, or tells after how many seconds there is one.
    pub(super) fn take(&mut self, webhook: &str, now: Instant) -> Result<(), u64> {
        let now = now.duration_since(self.started).as_secs_f64();
        if self.full_at.len() >= MAX_WEBHOOKS && !self.full_at.contains_key(webhook) {
            // A full bucket is as good as none.
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MAX_WEBHOOKS {
                return Err(1);
            }
        }
        let full_at = self.full_at.get(webhook).copied().unwrap_or(now).max(now) + 1.0 / self.per_second;
        let missing = full_at - now - self.burst / self.per_second;
        // Sums of fractions may miss by a little.
        if missing > 1e-9 {
            return Err((missing.ceil() as u64).max(1));
        }
        self.full_at.insert(webhook.to_owned(), full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_a_second() {
        let start = Instant::now();
        let mut limiter = Limiter::new(1.0, 3, start);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", start), Ok(()));
        }
        assert_eq!(limiter.take("a", start), Err(1));
        assert_eq!(limiter.take("b", start), Ok(()), "another webhook has a bucket of its own");
        assert_eq!(limiter.take("a", start + Duration::from_secs(1)), Ok(()));
        assert_eq!(limiter.take("a", start + Duration::from_millis(1500)), Err(1));
        for _ in 0..3 {
            assert_eq!(limiter.take("a", start + Duration::from_mins(1)), Ok(()));
        }
        assert_eq!(limiter.take("a", start + Duration::from_mins(1)), Err(1));
    }

    #[test]
    fn slow_rates_tell_the_real_wait() {
        let start = Instant::now();
        let mut limiter = Limiter::new(0.1, 1, start);
        assert_eq!(limiter.take("a", start), Ok(()));
        assert_eq!(limiter.take("a", start + Duration::from_secs(2)), Err(8));
    }

    #[test]
    fn the_number_of_webhooks_is_bounded() {
        let start = Instant::now();
        let mut limiter = Limiter::new(1.0, 1, start);
        for webhook in 0..MAX_WEBHOOKS {
            assert_eq!(limiter.take(&webhook.to_string(), start), Ok(()));
        }
        assert_eq!(limiter.take("one more", start), Err(1));
        assert_eq!(limiter.take("one more", start + Duration::from_secs(2)), Ok(()));
        assert_eq!(limiter.full_at.len(), 1);
    }
}
