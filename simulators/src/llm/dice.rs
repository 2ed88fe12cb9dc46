//! What happens to a request: drawn from distributions, repeatable where a seed is given.
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use rand_distr::Distribution as _;

use super::{faults::Faults, models::Model};

/// The longest time one draw may give, before factors: a log-normal has no upper end of its own.
const MAX_SECONDS: f64 = 60.0;

/// The longest answer, in tokens.
const MAX_OUTPUT_TOKENS: f64 = 4096.0;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// With an answer.
    Answered,
    /// With 429.
    RateLimited,
    /// With 500.
    Error,
    /// Not at all.
    Hang,
    /// With 200 and something that is not the protocol.
    Nonsense,
    /// Half-way through the answer.
    Cut,
}

/// What was drawn for one request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draw {
    pub(super) fate: Fate,
    /// Time to the first token.
    pub(super) first_token: Duration,
    /// Time from one token to the next.
    pub(super) per_token: Duration,
    /// Tokens in the answer, unless the caller limits them.
    pub(super) output_tokens: u32,
    /// Tokens of reasoning before the answer.
    pub(super) reasoning_tokens: u32,
    /// Whether the answer is beside the question.
    pub(super) wrong: bool,
    /// Multiplies the usage that is reported.
    pub(super) token_factor: f64,
    /// Tells this request from others in its ids.
    pub(super) nonce: u128,
}

/// Draws outcomes.
pub(super) struct Dice {
    time_scale: f64,
    /// The seed that stands when `/faults` sets none.
    seed: Option<u64>,
    sequence: Mutex<Sequence>,
}

struct Sequence {
    faults: Faults,
    /// Requests drawn for since the faults were set.
    drawn: u64,
}

impl Dice {
    /// Dice for which nothing goes wrong. All times are multiplied by `time_scale`.
    pub(super) fn new(time_scale: f64, seed: Option<u64>) -> Self {
        let sequence = Mutex::new(Sequence { faults: Faults::none(seed), drawn: 0 });
        Self { time_scale, seed, sequence }
    }

    /// The faults to return to.
    pub(super) fn defaults(&self) -> Faults {
        Faults::none(self.seed)
    }

    /// The faults that are in force.
    pub(super) fn faults(&self) -> Faults {
        self.sequence().faults.clone()
    }

    /// Replaces the faults; the sequence of outcomes starts anew.
    pub(super) fn set_faults(&self, faults: Faults) {
        *self.sequence() = Sequence { faults, drawn: 0 };
    }

    /// Draws for the next request.
    pub(super) fn draw(&self, model: &Model) -> Draw {
        let (faults, number) = {
            let mut sequence = self.sequence();
            sequence.drawn += 1;
            (sequence.faults.clone(), sequence.drawn)
        };
        match faults.seed {
            Some(seed) => self.draw_with(&mut generator(seed, number), model, &faults),
            None => self.draw_with(&mut rand::rng(), model, &faults),
        }
    }

    fn draw_with(&self, rng: &mut impl Rng, model: &Model, faults: &Faults) -> Draw {
        let fate = fate(rng.random(), faults);
        let scale = self.time_scale * faults.slow_factor;
        let mut time = |spread: super::models::Spread| {
            Duration::from_secs_f64(spread.distribution().sample(rng).min(MAX_SECONDS) * scale)
        };
        let (first_token, per_token) = (time(model.first_token), time(model.per_token));
        let output_tokens = tokens(model.output_tokens, rng);
        let reasoning_tokens = model.reasoning_tokens.map_or(0, |spread| tokens(spread, rng));
        Draw {
            fate,
            first_token,
            per_token,
            output_tokens,
            reasoning_tokens,
            token_factor: faults.token_factor,
            nonce: rng.random(),
            wrong: rng.random_bool(faults.wrong_ratio),
        }
    }

    fn sequence(&self) -> MutexGuard<'_, Sequence> {
        // Nothing between lock and unlock leaves the sequence half-changed.
        self.sequence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number of tokens, at least one.
fn tokens(spread: super::models::Spread, rng: &mut impl Rng) -> u32 {
    spread.distribution().sample(rng).clamp(1.0, MAX_OUTPUT_TOKENS) as u32
}

/// A generator of its own for each request, so that requests that overlap cannot take each other's numbers.
fn generator(seed: u64, number: u64) -> StdRng {
    let mut state = [0; 32];
    state[..8].copy_from_slice(&seed.to_le_bytes());
    state[8..16].copy_from_slice(&number.to_le_bytes());
    StdRng::from_seed(state)
}

/// The fate for a `point` from 0 up to 1.
fn fate(point: f64, faults: &Faults) -> Fate {
    let fates = [Fate::RateLimited, Fate::Error, Fate::Hang, Fate::Nonsense, Fate::Cut];
    let mut upper = 0.0;
    for (fate, ratio) in fates.into_iter().zip(faults.ratios()) {
        upper += ratio;
        if point < upper {
            return fate;
        }
    }
    Fate::Answered
}

#[cfg(test)]
mod tests {
    use super::{super::models, *};

    fn small() -> &'static Model {
        models::find("sim-small").unwrap()
    }

    #[test]
    fn a_seed_repeats_the_sequence_and_setting_faults_starts_it_anew() {
        let dice = Dice::new(1.0, Some(42));
        let faults = Faults { error_ratio: 0.3, hang_ratio: 0.3, ..Faults::none(Some(42)) };
        let sequence = || {
            dice.set_faults(faults.clone());
            (0..50).map(|_| dice.draw(small())).collect::<Vec<_>>()
        };
        let first = sequence();
        assert_eq!(first, sequence());
        assert!(first.windows(2).all(|pair| pair[0].nonce != pair[1].nonce));
        dice.set_faults(Faults { seed: Some(43), ..faults.clone() });
        assert_ne!(dice.draw(small()), first[0]);
    }

    #[test]
    fn shares_come_out_as_set() {
        let dice = Dice::new(0.0, Some(1));
        dice.set_faults(Faults {
            rate_limited_ratio: 0.1,
            error_ratio: 0.2,
            hang_ratio: 0.1,
            nonsense_ratio: 0.2,
            cut_ratio: 0.1,
            ..Faults::none(Some(1))
        });
        let fates: Vec<_> = (0..20_000).map(|_| dice.draw(small()).fate).collect();
        for (fate, share) in [
            (Fate::RateLimited, 0.1),
            (Fate::Error, 0.2),
            (Fate::Hang, 0.1),
            (Fate::Nonsense, 0.2),
            (Fate::Cut, 0.1),
            (Fate::Answered, 0.3),
        ] {
            let seen = fates.iter().filter(|seen| **seen == fate).count() as f64 / fates.len() as f64;
            assert!((seen - share).abs() < 0.015, "{fate:?}: {seen}");
        }
    }

    #[test]
    fn a_ratio_of_one_spares_nobody() {
        let faults = Faults { cut_ratio: 1.0, ..Faults::none(None) };
        for point in [0.0, 0.5, 1.0 - f64::EPSILON] {
            assert_eq!(fate(point, &faults), Fate::Cut);
        }
    }

    #[test]
    fn the_models_of_the_demo_stay_clear_of_the_alert_on_slow_requests() {
        for model in ["sim-small", "gpt-5.6-terra", "gpt-5.4-mini", "gpt-5.6-luna"] {
            let dice = Dice::new(1.0, Some(5));
            let mut totals: Vec<_> = (0..20_000)
                .map(|_| dice.draw(models::find(model).unwrap()))
                .map(|draw| (draw.first_token + draw.per_token * draw.output_tokens).as_secs_f64())
                .collect();
            totals.sort_by(f64::total_cmp);
            let (median, p95) = (totals[10_000], totals[19_000]);
            assert!((0.3..0.9).contains(&median), "{model}: {median}");
            assert!((0.7..1.7).contains(&p95), "{model}: {p95}");
        }
    }

    #[test]
    fn factors_multiply_times() {
        let draw = |scale, slow_factor| {
            let dice = Dice::new(scale, Some(9));
            dice.set_faults(Faults { slow_factor, ..Faults::none(Some(9)) });
            dice.draw(small())
        };
        let (plain, slow, none) = (draw(1.0, 1.0), draw(1.0, 10.0), draw(0.0, 10.0));
        assert!((slow.first_token.as_secs_f64() - 10.0 * plain.first_token.as_secs_f64()).abs() < 1e-6);
        assert_eq!((none.first_token, none.per_token), (Duration::ZERO, Duration::ZERO));
        assert_eq!(slow.output_tokens, plain.output_tokens);
    }
}
