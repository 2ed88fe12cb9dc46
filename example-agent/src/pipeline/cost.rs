//! Tokens, and money counted in whole billionths of a dollar.
use std::sync::atomic::{AtomicU64, Ordering};

/// Billionths of a US dollar. A list price of 0.15 USD per million tokens is 150 of them per token, so sums of
/// calls are exact where a float would drift, and fit the integer counters of the metrics library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// So many dollars, rounded to the billionth.
    pub fn from_usd(usd: f64) -> Self {
        Self((usd * 1e9).round() as u64)
    }

    /// In dollars, for JSON.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// What a request has cost so far. Whoever reports its end reads it, also when the caller has left.
#[derive(Debug, Default)]
pub struct RequestCost(AtomicU64);

impl RequestCost {
    /// Adds what a call has cost.
    pub fn add(&self, cost: NanoUsd) {
        self.0.fetch_add(cost.0, Ordering::Relaxed);
    }

    /// All of it.
    pub fn get(&self) -> NanoUsd {
        NanoUsd(self.0.load(Ordering::Relaxed))
    }
}

/// Characters of English text in a token, as [OpenAI](https://help.openai.com/en/articles/4936856) has it.
const CHARS_PER_TOKEN: usize = 4;

/// Tokens of one call, as the provider reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, cached ones too.
    pub input: u64,
    /// Of the answer, reasoning too.
    pub output: u64,
    /// Part of the input that the provider read from its cache.
    pub cache_read: u64,
    /// Part of the input that the provider wrote to its cache.
    pub cache_write: u64,
    /// Part of the output that is reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// A guess from the numbers of characters, for calls whose usage the provider does not report.
    pub fn estimate(input_chars: usize, output_chars: usize) -> Self {
        let tokens = |chars: usize| chars.div_ceil(CHARS_PER_TOKEN) as u64;
        Self { input: tokens(input_chars), output: tokens(output_chars), ..Self::default() }
    }

    /// Input and output together.
    pub fn total(self) -> u64 {
        self.input + self.output
    }
}
