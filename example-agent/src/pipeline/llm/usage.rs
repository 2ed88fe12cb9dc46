//! Token counts as providers report them: OpenAI's names and those of its many imitations.
use serde_json::Value;

use crate::pipeline::cost::Usage;

/// The largest plausible count. Larger ones are errors, and would distort the cost counters for good.
const MAX_TOKENS: u64 = 1_000_000_000;

// Where counts stand in a usage object. Of several that are there, the largest counts.
const INPUT: &[&str] = &["/prompt_tokens", "/input_tokens"];
const OUTPUT: &[&str] = &["/completion_tokens", "/output_tokens"];
const TOTAL: &[&str] = &["/total_tokens"];
const CACHE_READ: &[&str] = &[
    "/prompt_tokens_details/cached_tokens",
    "/input_tokens_details/cached_tokens",
    "/prompt_cache_hit_tokens",
    "/cache_read_input_tokens",
    "/cached_tokens",
];
const CACHE_WRITE: &[&str] = &[
    "/prompt_tokens_details/cache_creation_tokens",
    "/prompt_tokens_details/cache_write_tokens",
    "/cache_creation_input_tokens",
];
const REASONING: &[&str] = &[
    "/completion_tokens_details/reasoning_tokens",
    "/output_tokens_details/reasoning_tokens",
    "/output_tokens_details/thinking_tokens",
    "/reasoning_tokens",
];

/// The counts reported so far. Each only grows: streams report them once, or as running totals.
#[derive(Debug, Default)]
pub(super) struct ReportedUsage {
    input: u64,
    output: u64,
    total: u64,
    cache_read: u64,
    cache_write: u64,
    reasoning: u64,
    /// Whether the input is counted without cached tokens, as Anthropic does.
    input_excludes_cached: bool,
    /// Whether there was a usage object without a count, or with one that cannot be true.
    unreadable: bool,
}

impl ReportedUsage {
    /// Takes a usage object, or whatever stands in its place.
    pub(super) fn read(&mut self, usage: &Value) {
        if usage.is_null() {
            return;
        }
        let mut counts = 0;
        let mut largest = |places: &[&str]| {
            let values =
                places.iter().filter_map(|place| usage.pointer(place)).filter(|value| !value.is_null());
            let mut largest = 0;
            for value in values {
                match count(value) {
                    Some(count) => (counts, largest) = (counts + 1, largest.max(count)),
                    None => self.unreadable = true,
                }
            }
            largest
        };
        self.input = self.input.max(largest(INPUT));
        self.output = self.output.max(largest(OUTPUT));
        self.total = self.total.max(largest(TOTAL));
        self.cache_read = self.cache_read.max(largest(CACHE_READ));
        self.cache_write = self.cache_write.max(largest(CACHE_WRITE));
        self.reasoning = self.reasoning.max(largest(REASONING));
        self.unreadable |= counts == 0;
        self.input_excludes_cached |=
            usage["prompt_tokens"].is_null() && usage["input_tokens_details"].is_null();
    }

    /// Whether there is any count of the output.
    pub(super) fn has_output(&self) -> bool {
        self.output > 0
    }

    /// Whether there is any count.
    pub(super) fn has_any(&self) -> bool {
        self.input > 0 || self.output > 0
    }

    /// The usage, with estimates in place of counts that are missing, and whether there are any.
    pub(super) fn or_estimate(&self, estimate: Usage) -> (Usage, bool) {
        let Self { mut input, mut output, total, cache_read, cache_write, mut reasoning, .. } = *self;
        let cached = cache_read + cache_write;
        let all_reported = input > 0 && (output > 0 || estimate.output == 0);
        if input == 0 {
            input = if output > 0 && total > output { total - output } else { estimate.input };
        }
        // Cached tokens are part of the input. A provider that counts them beside it is told by its sums.
        let beside = cached > 0 && total == input + cached + output;
        if self.input_excludes_cached || cached > input || beside {
            input += cached;
        }
        if output == 0 {
            output = if total > input { total - input } else { estimate.output };
            reasoning = reasoning.max(estimate.reasoning.min(output));
        }
        // Reasoning tokens are part of the output. What the total has besides is reasoning too.
        let rest = if all_reported { total.saturating_sub(input + output) } else { 0 };
        if rest > 0 {
            output += rest;
            reasoning = reasoning.max(rest);
        } else if reasoning > output {
            output += reasoning;
        }
        (Usage { input, output, cache_read, cache_write, reasoning }, self.unreadable || !all_reported)
    }
}

/// A count as a number or in a string. Fractions come from providers that compute in floats.
fn count(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (0.0..=MAX_TOKENS as f64).contains(&number).then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ESTIMATE: Usage = Usage { input: 7, output: 3, cache_read: 0, cache_write: 0, reasoning: 0 };

    fn read(objects: &[Value]) -> (Usage, bool) {
        let mut reported = ReportedUsage::default();
        for object in objects {
            reported.read(object);
        }
        reported.or_estimate(ESTIMATE)
    }

    fn exact(usage: &Value, [input, output, cache_read, cache_write, reasoning]: [u64; 5]) {
        let expected = Usage { input, output, cache_read, cache_write, reasoning };
        assert_eq!(read(std::slice::from_ref(usage)), (expected, false), "{usage}");
    }

    #[test]
    fn parts_are_counted_once_whatever_the_provider_calls_them() {
        let openai = json!({ "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
            "prompt_tokens_details": { "cached_tokens": 900, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 400 } });
        exact(&openai, [1000, 500, 900, 0, 400]);
        let deepseek = json!({ "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
            "prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100 });
        exact(&deepseek, [1000, 500, 900, 0, 0]);
        let anthropic = json!({ "input_tokens": 100, "output_tokens": 500,
            "cache_read_input_tokens": 700, "cache_creation_input_tokens": 200 });
        exact(&anthropic, [1000, 500, 700, 200, 0]);
        let litellm = json!({ "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
            "prompt_tokens_details": { "cached_tokens": 700, "cache_creation_tokens": 200 },
            "cache_read_input_tokens": 700, "cache_creation_input_tokens": 200 });
        exact(&litellm, [1000, 500, 700, 200, 0]);
        let beside = json!({ "prompt_tokens": 600, "completion_tokens": 500, "total_tokens": 1500, "cached_tokens": 400 });
        exact(&beside, [1000, 500, 400, 0, 0]);
        let responses = json!({ "input_tokens": 1000, "output_tokens": 500,
            "input_tokens_details": { "cached_tokens": 900 }, "output_tokens_details": { "reasoning_tokens": 9 } });
        exact(&responses, [1000, 500, 900, 0, 9]);
    }

    #[test]
    fn a_total_larger_than_its_parts_has_reasoning_in_it() {
        let outside = json!({ "prompt_tokens": 36, "completion_tokens": 10, "total_tokens": 736,
            "completion_tokens_details": { "reasoning_tokens": 690 } });
        exact(&outside, [36, 700, 0, 0, 690]);
        exact(
            &json!({ "prompt_tokens": 36, "completion_tokens": 10, "total_tokens": 736 }),
            [36, 700, 0, 0, 690],
        );
        let larger_than_the_whole = json!({ "prompt_tokens": 36, "completion_tokens": 10,
            "completion_tokens_details": { "reasoning_tokens": 690 } });
        exact(&larger_than_the_whole, [36, 700, 0, 0, 690]);
    }

    #[test]
    fn counts_are_read_as_numbers_floats_or_strings_and_estimated_where_they_are_none() {
        exact(&json!({ "prompt_tokens": 11.0, "completion_tokens": "7" }), [11, 7, 0, 0, 0]);
        let estimated = |usage: &Value, input, output| {
            let (usage_read, estimated) = read(std::slice::from_ref(usage));
            assert_eq!((usage_read.input, usage_read.output, estimated), (input, output, true), "{usage}");
        };
        estimated(&json!({}), 7, 3);
        estimated(&json!("many"), 7, 3);
        estimated(&json!({ "prompt_tokens": null, "completion_tokens": null, "total_tokens": 0 }), 7, 3);
        estimated(&json!({ "prompt_tokens": 11, "completion_tokens": -1, "total_tokens": 10 }), 11, 3);
        estimated(&json!({ "prompt_tokens": 11, "completion_tokens": 1e12 }), 11, 3);
        estimated(&json!({ "prompt_tokens": 11 }), 11, 3);
        estimated(&json!({ "prompt_tokens": 11, "total_tokens": 31 }), 11, 20);
        estimated(&json!({ "completion_tokens": 5 }), 7, 5);
    }

    #[test]
    fn running_totals_and_counts_in_several_events_are_not_added_up() {
        let totals = [125, 250, 500].map(|n| json!({ "prompt_tokens": 1000, "completion_tokens": n }));
        assert_eq!(read(&totals).0.output, 500);
        let split =
            [json!({ "input_tokens": 9, "output_tokens": 1 }), json!({ "output_tokens": 30 }), json!(null)];
        assert_eq!(read(&split).0, Usage { input: 9, output: 30, ..Usage::default() });
    }
}
