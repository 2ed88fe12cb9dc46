//! Who asks what: tenants by weight, questions by popularity.
use rand::{
    RngExt as _, SeedableRng as _,
    distr::{Distribution as _, weighted::WeightedIndex},
    rngs::StdRng,
};
use rand_distr::Zipf;

/// The tenants of the agent's own tenants file, and how many of a hundred requests each of them makes.
pub const TENANTS: [(&str, u32); 5] =
    [("acme", 35), ("globex", 25), ("initech", 20), ("umbrella", 12), ("hooli", 8)];

/// How fast popularity falls: the k-th question is asked in proportion to `1 / k^EXPONENT`.
///
/// With this, the number of questions and a cache that keeps an answer for 5 minutes and for one tenant, 1 request a
/// second finds about 80 % of its answers in the cache. The tests work it out.
const EXPONENT: f64 = 1.2;

/// The questions, the most popular first.
const QUESTIONS: [&str; 24] = [
    "How do I reset my password?",
    "Where can I download my invoices?",
    "What is the status of my order?",
    "How do I add a colleague to our account?",
    "Which payment methods do you accept?",
    "How do I cancel my subscription?",
    "What are your support hours?",
    "How do I create an API key?",
    "What is the rate limit of the API?",
    "How long do you keep our data?",
    "How do I export all of our records?",
    "Can we change the billing address?",
    "How do I turn on two-factor authentication?",
    "What does the error code E-1042 mean?",
    "In which regions is our data stored?",
    "How do I set up single sign-on?",
    "Is there a discount for yearly payment?",
    "How do I restore a deleted project?",
    "What changed in the last release?",
    "How do I connect a webhook to our chat?",
    "Do you offer a service level agreement?",
    "How can we raise our monthly quota?",
    "How do I move a project to another workspace?",
    "Which browsers do you support?",
];

/// A question and who asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The tenant's id.
    pub tenant_id: &'static str,
    /// The text.
    pub query: &'static str,
}

/// Questions without end.
#[derive(Debug)]
pub struct Questions {
    rng: StdRng,
    tenants: WeightedIndex<u32>,
    popularity: Zipf<f64>,
}

impl Questions {
    /// The same `seed` gives the same questions.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            tenants: WeightedIndex::new(TENANTS.map(|(_, weight)| weight)).expect("weights above 0"),
            popularity: Zipf::new(QUESTIONS.len() as f64, EXPONENT).expect("at least one question"),
        }
    }
}

impl Iterator for Questions {
    type Item = Question;

    fn next(&mut self) -> Option<Question> {
        let (tenant_id, _) = TENANTS[self.tenants.sample(&mut self.rng)];
        // A Zipf distribution counts from 1.
        let rank = self.popularity.sample(&mut self.rng) as usize - 1;
        Some(Question { tenant_id, query: QUESTIONS[rank] })
    }
}

/// Questions without end, a share of which nobody has asked before: the tenant's place in [`TENANTS`], and the text.
#[derive(Debug)]
pub struct Mix {
    questions: Questions,
    rng: StdRng,
    fresh: f64,
}

impl Mix {
    /// The same `seed` gives the same questions; `fresh` is the share of new ones, 0 to 1.
    pub fn new(seed: u64, fresh: f64) -> Self {
        let rng = StdRng::seed_from_u64(seed.wrapping_add(1));
        Self { questions: Questions::new(seed), rng, fresh }
    }
}

impl Iterator for Mix {
    type Item = (usize, String);

    fn next(&mut self) -> Option<(usize, String)> {
        let Question { tenant_id, query } = self.questions.next()?;
        let tenant = TENANTS.iter().position(|(known, _)| *known == tenant_id)?;
        let mut query = query.to_owned();
        if self.rng.random_bool(self.fresh) {
            query = format!("{query} (case {:016x})", self.rng.random::<u64>());
        }
        Some((tenant, query))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::{arrivals::Arrivals, settings::Pattern};

    /// The agent's default for how long it keeps an answer, and the window over which it tells its hit rate, in seconds.
    const TTL: f64 = 300.0;

    /// Of the requests at 1 a second, their times and whether the agent's cache has the answer.
    fn lookups(seed: u64, seconds: f64) -> Vec<(f64, bool)> {
        let mut kept_until: HashMap<Question, f64> = HashMap::new();
        Arrivals::new(Pattern::Poisson, 1.0, seed)
            .map(|due| due.as_secs_f64())
            .take_while(|at| *at < seconds)
            .zip(Questions::new(seed))
            .map(|(at, question)| {
                let hit = kept_until.get(&question).is_some_and(|until| *until > at);
                if !hit {
                    kept_until.insert(question, at + TTL);
                }
                (at, hit)
            })
            .collect()
    }

    fn hit_rate(lookups: &[(f64, bool)], from: f64, to: f64) -> f64 {
        let window: Vec<_> = lookups.iter().filter(|(at, _)| (from..to).contains(at)).collect();
        window.iter().filter(|(_, hit)| *hit).count() as f64 / window.len() as f64
    }

    #[test]
    fn the_cache_hit_rate_settles_at_about_80_percent() {
        let rates: Vec<_> = (0..10).map(|seed| hit_rate(&lookups(seed, 7200.0), 600.0, 7200.0)).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((0.77..0.83).contains(&mean), "{mean}");
        assert!(rates.iter().all(|rate| (0.75..0.85).contains(rate)), "{rates:?}");
    }

    #[test]
    fn the_alert_on_a_low_hit_rate_stays_silent_from_five_minutes_after_a_cold_start() {
        for seed in 0..50 {
            let lookups = lookups(seed, 3600.0);
            for end in (300..3600).step_by(15).map(f64::from) {
                let rate = hit_rate(&lookups, end - TTL, end);
                assert!(rate > 0.62, "seed {seed}: {rate} in the 5 minutes before {end} s");
            }
        }
    }

    #[test]
    fn every_tenant_and_question_comes_up_by_its_weight() {
        let asked: Vec<_> = Questions::new(5).take(100_000).collect();
        for (tenant, weight) in TENANTS {
            let share = asked.iter().filter(|question| question.tenant_id == tenant).count() as f64 / 1000.0;
            assert!((share - f64::from(weight)).abs() < 1.0, "{tenant}: {share} %");
        }
        let count = |query| asked.iter().filter(|question| question.query == query).count() as f64;
        assert!((count(QUESTIONS[0]) / count(QUESTIONS[1]) - 2.0_f64.powf(EXPONENT)).abs() < 0.15);
        assert!(QUESTIONS.iter().all(|query| count(query) > 0.0));
        assert_eq!(QUESTIONS.iter().collect::<HashSet<_>>().len(), QUESTIONS.len());
    }

    #[test]
    fn a_seed_repeats_the_questions() {
        let first = |seed| Questions::new(seed).take(50).collect::<Vec<_>>();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
