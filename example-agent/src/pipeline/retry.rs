//! When a call of the model that failed is made again. Within the time of the request, a few times at most, after a random
//! wait, and within a budget: when most calls fail, retries would double the load of a provider that is down already.
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::llm::LlmError;

/// The longest wait before the second attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// A caller is not kept waiting for longer than this: it gets the provider's `retry-after` in place of an answer.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Retries that may be saved up, and are at the start. Enough for a hiccup while there are few calls.
const MAX_SAVED: u64 = 10;
/// A retry in the unit of the budget.
const ONE: u64 = 1000;

/// Why a call is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No connection, or it broke before there was a response.
    Unreachable,
    /// The provider's rate limit.
    RateLimited,
    /// The provider answered with a status of 500 or above.
    ServerError,
}

impl Reason {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 3] = [Self::Unreachable, Self::RateLimited, Self::ServerError];

    /// The name in logs and the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
        }
    }

    /// None where another attempt would fail too, or the first has taken the time: a broken answer was paid for, and a
    /// request that is wrong stays wrong.
    fn of(error: &LlmError) -> Option<Self> {
        match error {
            LlmError::Unreachable(_) => Some(Self::Unreachable),
            LlmError::RateLimited { .. } => Some(Self::RateLimited),
            LlmError::Refused { status: 500.., .. } => Some(Self::ServerError),
            _ => None,
        }
    }
}

/// The rules and the budget, which all requests share.
#[derive(Debug)]
pub struct Retries {
    max_attempts: u32,
    /// What a call adds to the budget.
    share: u64,
    saved: AtomicU64,
}

impl Retries {
    /// At most so many attempts per request, and retries for at most this share of the calls.
    pub fn new(max_attempts: u32, ratio: f64) -> Self {
        let share = (ratio * ONE as f64).round() as u64;
        Self { max_attempts, share, saved: AtomicU64::new(if share == 0 { 0 } else { MAX_SAVED * ONE }) }
    }

    /// A request is going to call the model: that earns a share of a retry.
    pub fn call(&self) {
        let earn = |saved: u64| Some((saved + self.share).min(MAX_SAVED * ONE));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn);
    }

    /// Whether to try again, and how long to wait first, after this failed attempt (the first is 1) with this time left.
    pub fn after(&self, error: &LlmError, attempt: u32, left: Duration) -> Option<(Reason, Duration)> {
        let reason = Reason::of(error)?;
        if attempt >= self.max_attempts {
            return None;
        }
        // Anything from nothing on: callers that failed together must not come back together.
        let longest = FIRST_WAIT.saturating_mul(1 << (attempt - 1).min(10)).min(MAX_WAIT);
        let wait = longest.mul_f64(rand::random());
        // The provider's word holds, the random part comes on top.
        let wait = wait.checked_add(error.retry_after().unwrap_or_default())?;
        (wait <= MAX_WAIT && wait < left && self.spend()).then_some((reason, wait))
    }

    fn spend(&self) -> bool {
        let spend = |saved: u64| saved.checked_sub(ONE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: Duration = Duration::from_secs(30);

    fn refused(status: u16) -> LlmError {
        LlmError::Refused { status, retry_after: None, body: String::new() }
    }

    fn rate_limited(retry_after: Option<u64>) -> LlmError {
        LlmError::RateLimited { retry_after: retry_after.map(Duration::from_secs), body: String::new() }
    }

    #[test]
    fn an_outage_is_answered_with_a_tenth_more_calls_not_with_twice_as_many() {
        let retries = Retries::new(3, 0.1);
        let mut made = 0;
        for _ in 0..1000 {
            retries.call();
            for attempt in 1.. {
                if retries.after(&refused(500), attempt, LEFT).is_none() {
                    break;
                }
                made += 1;
            }
        }
        assert!((100..=110).contains(&made), "{made}");
        let none = Retries::new(3, 0.0);
        none.call();
        assert_eq!(none.after(&refused(500), 1, LEFT), None);
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        let retries = Retries::new(3, 1.0);
        // 429 that is no rate limit is an account without money.
        for error in [refused(400), refused(401), refused(429), refused(200), LlmError::TimedOut(LEFT)] {
            assert_eq!(retries.after(&error, 1, LEFT), None, "{error}");
        }
        for (error, reason) in
            [(refused(503), Reason::ServerError), (rate_limited(None), Reason::RateLimited)]
        {
            assert_eq!(retries.after(&error, 1, LEFT).unwrap().0, reason);
            assert_eq!(retries.after(&error, 3, LEFT), None, "the last attempt");
            assert_eq!(retries.after(&error, 1, Duration::ZERO), None, "no time left");
        }
    }

    #[test]
    fn the_provider_is_not_asked_before_its_retry_after_and_not_waited_for_longer_than_is_sensible() {
        let retries = Retries::new(9, 1.0);
        for _ in 0..5 {
            let (_, wait) = retries.after(&rate_limited(Some(1)), 1, LEFT).unwrap();
            assert!((1.0..=1.1).contains(&wait.as_secs_f64()), "{wait:?}");
        }
        assert_eq!(retries.after(&rate_limited(Some(3)), 1, LEFT), None);
        assert_eq!(retries.after(&rate_limited(Some(u64::MAX)), 1, LEFT), None);
        let unavailable = LlmError::Refused {
            status: 503,
            retry_after: Some(Duration::from_secs(20)),
            body: String::new(),
        };
        assert_eq!(retries.after(&unavailable, 1, LEFT), None);
        assert!(retries.after(&refused(500), 8, LEFT).unwrap().1 <= MAX_WAIT);
    }
}
