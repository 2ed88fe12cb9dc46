//! The models that are played: how fast they answer, and how long their answers are.
use rand_distr::LogNormal;

/// When the models came into being, in Unix seconds: OpenAI lists one.
pub(super) const CREATED: u64 = 1_763_942_400;

/// A log-normal distribution by its median and its 95th percentile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) p95: f64,
}

impl Spread {
    /// The distribution.
    pub(super) fn distribution(self) -> LogNormal<f64> {
        // The standard normal's 95th percentile is 1.6449. Medians above 0 always give a distribution.
        LogNormal::new(self.median.ln(), (self.p95 / self.median).ln() / 1.6449).expect("a finite spread")
    }
}

/// A model. With the small one, 95 of 100 answers are complete within 1.5 s, clear of the 2 s at which
/// `SlowRequests` fires: orders of magnitude as hosted small models have them, not measurements of one.
#[derive(Debug)]
pub(super) struct Model {
    /// The name requests ask for.
    pub(super) id: &'static str,
    /// Seconds to the first token.
    pub(super) first_token: Spread,
    /// Seconds from one token to the next.
    pub(super) per_token: Spread,
    /// Tokens in an answer.
    pub(super) output_tokens: Spread,
    /// Tokens of reasoning before an answer, of a model that reasons. They are reported and never shown.
    pub(super) reasoning_tokens: Option<Spread>,
    /// Share of the prompt that the provider has in its cache, 0 to 1.
    pub(super) cached_share: f64,
}

/// All models.
pub(super) const MODELS: [Model; 5] = [
    Model {
        id: "sim-small",
        first_token: Spread { median: 0.25, p95: 0.6 },
        per_token: Spread { median: 0.004, p95: 0.008 },
        output_tokens: Spread { median: 60.0, p95: 180.0 },
        reasoning_tokens: None,
        cached_share: 0.0,
    },
    // Slower and wordier; a call costs some 25 times as much at the prices the agent's price file has.
    Model {
        id: "sim-large",
        first_token: Spread { median: 0.6, p95: 1.5 },
        per_token: Spread { median: 0.012, p95: 0.025 },
        output_tokens: Spread { median: 90.0, p95: 300.0 },
        reasoning_tokens: None,
        cached_share: 0.0,
    },
    // The names of real models, for their list prices; only that they differ as these do is like them.
    Model {
        id: "gpt-5.6-terra",
        first_token: Spread { median: 0.4, p95: 0.8 },
        per_token: Spread { median: 0.005, p95: 0.008 },
        output_tokens: Spread { median: 60.0, p95: 150.0 },
        reasoning_tokens: Some(Spread { median: 60.0, p95: 200.0 }),
        cached_share: 0.5,
    },
    Model {
        id: "gpt-5.4-mini",
        first_token: Spread { median: 0.3, p95: 0.6 },
        per_token: Spread { median: 0.004, p95: 0.008 },
        output_tokens: Spread { median: 60.0, p95: 180.0 },
        reasoning_tokens: Some(Spread { median: 30.0, p95: 100.0 }),
        cached_share: 0.5,
    },
    Model {
        id: "gpt-5.6-luna",
        first_token: Spread { median: 0.2, p95: 0.5 },
        per_token: Spread { median: 0.003, p95: 0.006 },
        output_tokens: Spread { median: 60.0, p95: 180.0 },
        reasoning_tokens: None,
        cached_share: 0.5,
    },
];

/// The model of that name.
pub(super) fn find(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id)
}
