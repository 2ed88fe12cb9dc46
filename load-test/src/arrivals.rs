//! When requests are due: at times of their own, whatever becomes of the ones before (an open model).
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, Exp};

use crate::settings::Pattern;

/// How far a steady request may be off its place, as a share of the distance between two.
const JITTER: f64 = 0.2;

/// Times at which requests are due, counted from the start; without end.
#[derive(Debug)]
pub struct Arrivals {
    rng: StdRng,
    pattern: Pattern,
    /// Requests a second.
    rate: f64,
    /// Seconds from the start: of the last request for a Poisson process, of the next place for steady ones.
    at: f64,
}

impl Arrivals {
    /// Arrivals at `rate` requests a second, which is above 0.
    pub fn new(pattern: Pattern, rate: f64, seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), pattern, rate, at: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = match self.pattern {
            Pattern::Poisson => {
                self.at += Exp::new(self.rate).expect("a rate above 0").sample(&mut self.rng);
                self.at
            }
            Pattern::Steady => {
                let place = self.at;
                self.at += 1.0 / self.rate;
                place + self.rng.random_range(0.0..JITTER) / self.rate
            }
        };
        Some(Duration::from_secs_f64(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(pattern: Pattern, rate: f64, count: usize) -> Vec<f64> {
        Arrivals::new(pattern, rate, 3).take(count).map(|due| due.as_secs_f64()).collect()
    }

    #[test]
    fn both_patterns_keep_the_rate_and_the_order() {
        for pattern in [Pattern::Poisson, Pattern::Steady] {
            let times = times(pattern, 20.0, 20_000);
            assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
            let last = times[times.len() - 1];
            assert!((950.0..1050.0).contains(&last), "{pattern:?} took {last} s for 1000 s of requests");
        }
    }

    #[test]
    fn poisson_arrivals_vary_as_they_should_and_steady_ones_hardly() {
        let deviation = |pattern| {
            let times = times(pattern, 1.0, 20_000);
            let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt()
        };
        // An exponential distribution's deviation is its mean.
        assert!((0.95..1.05).contains(&deviation(Pattern::Poisson)));
        assert!(deviation(Pattern::Steady) < JITTER);
    }

    #[test]
    fn a_seed_repeats_the_times() {
        assert_eq!(times(Pattern::Poisson, 1.0, 50), times(Pattern::Poisson, 1.0, 50));
    }
}
