//! What a call costs: list prices from a dated file, money counted in whole billionths of a dollar.
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Deserialize;

use crate::tenants::one_line;

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
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
}

impl Usage {
    /// A guess from the numbers of characters, for calls whose provider did not come to report it, or never does.
    pub fn estimate(input_chars: usize, output_chars: usize) -> Self {
        let tokens = |chars: usize| chars.div_ceil(CHARS_PER_TOKEN) as u64;
        Self { input: tokens(input_chars), output: tokens(output_chars) }
    }

    /// Input and output together.
    pub fn total(self) -> u64 {
        self.input + self.output
    }
}

/// List price of a model, in USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    input: f64,
    output: f64,
}

impl Price {
    /// What a call with this usage costs, rounded to the billionth.
    pub fn cost(self, usage: Usage) -> NanoUsd {
        // USD per million tokens times 1000 is billionths of a dollar per token.
        let nano = (usage.input as f64 * self.input + usage.output as f64 * self.output) * 1000.0;
        NanoUsd(nano.round() as u64)
    }
}

/// The price file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The day the prices were last compared with the provider's.
    pub as_of: String,
    models: BTreeMap<String, Price>,
}

impl Prices {
    /// Reads the TOML text of a price file. The error is one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let prices: Self = toml::from_str(text).map_err(|e| one_line(&e, text))?;
        if !is_date(&prices.as_of) {
            return Err(format!("as_of {:?}: write the day of the prices as YYYY-MM-DD", prices.as_of));
        }
        for (model, Price { input, output }) in &prices.models {
            // Above a dollar per token it is a typing error (a price per token in the place of one per million).
            for price in [input, output] {
                if !(0.0..=1e6).contains(price) {
                    return Err(format!("model {model:?}: {price} is no price in USD per million tokens"));
                }
            }
        }
        Ok(prices)
    }

    /// The price of a model, if the file has one.
    pub fn get(&self, model: &str) -> Option<Price> {
        self.models.get(model).copied()
    }
}

fn is_date(text: &str) -> bool {
    let numbers: Vec<_> = text.split('-').map(str::parse::<u16>).collect();
    matches!(numbers[..], [Ok(2000..=9999), Ok(1..=12), Ok(1..=31)]) && text.len() == "YYYY-MM-DD".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_what_the_list_says_to_the_billionth() {
        let prices = Prices::parse(include_str!("../../config/prices.toml")).unwrap();
        let usage = Usage { input: 1234, output: 567 };
        assert_eq!(prices.get("sim-small").unwrap().cost(usage), NanoUsd(1234 * 150 + 567 * 600));
        assert_eq!(prices.get("sim-large").unwrap().cost(usage), NanoUsd(1234 * 2500 + 567 * 10_000));
        assert_eq!(prices.get("gpt-99"), None);
    }

    #[test]
    fn a_price_that_is_none_is_named() {
        for bad in ["-1.0", "nan", "inf", "2e6"] {
            let text = format!("as_of = \"2026-01-01\"\n[models.m]\ninput = {bad}\noutput = 1.0");
            let error = Prices::parse(&text).unwrap_err();
            assert!(error.starts_with("model \"m\": "), "{error}");
        }
        for undated in ["", "soon", "2026-13-01", "2026-1-1", "01.11.2026", "2026-11-01 "] {
            let error = Prices::parse(&format!("as_of = {undated:?}\n[models]")).unwrap_err();
            assert!(error.contains(undated) && error.contains("YYYY-MM-DD"), "{error}");
        }
        assert!(Prices::parse("as_of = 1").unwrap_err().starts_with("line 1: "));
    }
}
