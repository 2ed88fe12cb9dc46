//! What goes wrong on purpose, and how `/faults` reads it.
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ApiError;

/// The largest factor for times.
const MAX_SLOW_FACTOR: f64 = 1_000.0;

/// The largest factor for usage: enough for one call to cost some ten dollars.
const MAX_TOKEN_FACTOR: f64 = 1_000_000.0;

/// What goes wrong. The ratios are shares of requests from 0 to 1; a request has one fate, so those of fates add up to at
/// most 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Faults {
    /// Answered with 429.
    pub(super) rate_limited_ratio: f64,
    /// Answered with 500.
    pub(super) error_ratio: f64,
    /// Accepted, never answered.
    pub(super) hang_ratio: f64,
    /// Answered with 200 and a body that is not the protocol.
    pub(super) nonsense_ratio: f64,
    /// Cut off half-way through the answer.
    pub(super) cut_ratio: f64,
    /// Answered beside the question, whatever passages came with it: a share of its own.
    pub(super) wrong_ratio: f64,
    /// Multiplies all times.
    pub(super) slow_factor: f64,
    /// Multiplies the usage that is reported, as a runaway generation would.
    pub(super) token_factor: f64,
    /// Makes outcomes repeatable, counted from when it is set; without it they are random.
    pub(super) seed: Option<u64>,
}

impl Faults {
    /// Nothing goes wrong.
    pub(super) fn none(seed: Option<u64>) -> Self {
        Self {
            rate_limited_ratio: 0.0,
            error_ratio: 0.0,
            hang_ratio: 0.0,
            nonsense_ratio: 0.0,
            cut_ratio: 0.0,
            wrong_ratio: 0.0,
            slow_factor: 1.0,
            token_factor: 1.0,
            seed,
        }
    }

    /// Reads a JSON object; what is missing stays at its default. The error names the key and the value.
    pub(super) fn parse(body: &[u8], defaults: Self) -> Result<Self, ApiError> {
        let object: Map<String, Value> = serde_json::from_slice(body).map_err(|e| {
            ApiError::invalid(format!(
                "The body must be a JSON object such as {{\"error_ratio\": 0.1}}: {e}."
            ))
        })?;
        let mut faults = defaults;
        for (key, value) in &object {
            faults.set(key, value)?;
        }
        let sum = faults.ratios().iter().sum::<f64>();
        // Five ratios may add up to a hair more than 1 in floating point.
        if sum > 1.0 + 1e-9 {
            return Err(ApiError::invalid(format!(
                "The ratios add up to {sum}; a request has one fate, so they may add up to at most 1."
            )));
        }
        Ok(faults)
    }

    /// The shares, in the order of [`super::dice::Fate`].
    pub(super) fn ratios(&self) -> [f64; 5] {
        [self.rate_limited_ratio, self.error_ratio, self.hang_ratio, self.nonsense_ratio, self.cut_ratio]
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), ApiError> {
        let (slot, max) = match key {
            "rate_limited_ratio" => (&mut self.rate_limited_ratio, 1.0),
            "error_ratio" => (&mut self.error_ratio, 1.0),
            "hang_ratio" => (&mut self.hang_ratio, 1.0),
            "nonsense_ratio" => (&mut self.nonsense_ratio, 1.0),
            "cut_ratio" => (&mut self.cut_ratio, 1.0),
            "wrong_ratio" => (&mut self.wrong_ratio, 1.0),
            "slow_factor" => (&mut self.slow_factor, MAX_SLOW_FACTOR),
            "token_factor" => (&mut self.token_factor, MAX_TOKEN_FACTOR),
            "seed" => {
                self.seed = match value {
                    Value::Null => None,
                    other => Some(
                        other
                            .as_u64()
                            .ok_or_else(|| refused(key, other, "a whole number from 0, or null"))?,
                    ),
                };
                return Ok(());
            }
            _ => {
                let known = Self::none(None);
                let known = serde_json::to_value(known).ok().and_then(|known| match known {
                    Value::Object(known) => Some(known.keys().cloned().collect::<Vec<_>>().join(", ")),
                    _ => None,
                });
                let message = format!(
                    "Unknown key '{}' with the value {}. Known keys: {}.",
                    clipped(key),
                    clipped(&value.to_string()),
                    known.unwrap_or_default()
                );
                return Err(ApiError::invalid(message).with_param(clipped(key)));
            }
        };
        match value.as_f64() {
            Some(number) if (0.0..=max).contains(&number) => *slot = number,
            _ => return Err(refused(key, value, &format!("a number from 0 to {max}"))),
        }
        Ok(())
    }
}

fn refused(key: &str, value: &Value, expected: &str) -> ApiError {
    let message = format!("Invalid '{key}': must be {expected}, got {}.", clipped(&value.to_string()));
    ApiError::invalid(message).with_param(key)
}

/// What a caller sent, short enough to send back.
fn clipped(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Faults, ApiError> {
        Faults::parse(body.as_bytes(), Faults::none(Some(7)))
    }

    #[test]
    fn missing_keys_stay_at_their_default() {
        let faults = parse(r#"{"error_ratio": 0.25, "token_factor": 50000}"#).unwrap();
        assert_eq!(faults, Faults { error_ratio: 0.25, token_factor: 50_000.0, ..Faults::none(Some(7)) });
        assert_eq!(parse(r#"{"seed": null}"#).unwrap().seed, None);
        assert_eq!(parse("{}").unwrap(), Faults::none(Some(7)));
    }

    #[test]
    fn what_is_refused_is_named_with_its_value() {
        for (body, key, value) in [
            (r#"{"error_ratio": 1.5}"#, "error_ratio", "1.5"),
            (r#"{"hang_ratio": -0.1}"#, "hang_ratio", "-0.1"),
            (r#"{"cut_ratio": "all"}"#, "cut_ratio", "\"all\""),
            (r#"{"slow_factor": 1e9}"#, "slow_factor", "1000000000"),
            (r#"{"token_factor": null}"#, "token_factor", "null"),
            (r#"{"seed": -1}"#, "seed", "-1"),
            (r#"{"seed": 1.5}"#, "seed", "1.5"),
            (r#"{"eror_ratio": 0.5}"#, "eror_ratio", "0.5"),
        ] {
            let error = parse(body).unwrap_err();
            assert_eq!(error.status, 400, "{body}");
            assert_eq!(error.body.param.as_deref(), Some(key), "{body}");
            assert!(error.body.message.contains(key), "{}", error.body.message);
            assert!(error.body.message.contains(value), "{}", error.body.message);
        }
    }

    #[test]
    fn ratios_may_add_up_to_one() {
        let body = |last: f64| {
            format!(
                r#"{{"rate_limited_ratio": 0.1, "error_ratio": 0.2, "hang_ratio": 0.3, "nonsense_ratio": 0.3, "cut_ratio": {last}}}"#
            )
        };
        assert!(parse(&body(0.1)).is_ok());
        assert!(parse(&body(0.2)).unwrap_err().body.message.contains("add up to"));
    }

    #[test]
    fn only_an_object_is_read() {
        for body in ["", "[]", "null", "{", "\u{0}"] {
            assert!(parse(body).is_err(), "{body:?}");
        }
    }
}
