//! Faults on purpose: they make the alerts fire, so that somebody has seen them before the night they are needed.
//! Set on the admin side only, kept in memory only; a restart ends them.
use std::{
    future::Future,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio::time::{sleep, sleep_until};

use crate::pipeline::{
    cost::NanoUsd,
    llm::{Completion, Limits, LlmError},
};

const MAX_EXTRA_LATENCY_SECONDS: f64 = 600.0;
/// Times the dearest answer it stays far below what the counter of billionths of a dollar holds.
const MAX_COST_FACTOR: f64 = 1e6;
const MAX_APPENDED_CHARS: usize = 500;
const MAX_EXPIRY_SECONDS: f64 = 86_400.0;
/// What the log says of an error that the provider did not make.
const INJECTED: &str = "injected by /faults of the admin side";

/// What goes wrong. The keys of the JSON are the fields' names, and the values of the `fault` label.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Seconds that each call of the provider takes longer.
    pub extra_latency_seconds: f64,
    /// Share of the calls, 0 to 1, that fail as if the provider had answered with status 500.
    pub error_ratio: f64,
    /// Share of the calls, 0 to 1, that are never answered, and end with the time-out of a call.
    pub hang_ratio: f64,
    /// Whether every look-up in the cache is a miss.
    pub cache_off: bool,
    /// What the cost of each call is multiplied with.
    pub cost_factor: f64,
    /// What each new answer of the model ends with: a phrase that the rules of compliance forbid, say.
    pub append_to_answer: String,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            extra_latency_seconds: 0.0,
            error_ratio: 0.0,
            hang_ratio: 0.0,
            cache_off: false,
            cost_factor: 1.0,
            append_to_answer: String::new(),
        }
    }
}

impl Faults {
    /// The names of all of them.
    pub const NAMES: [&str; 6] = [
        "extra_latency_seconds",
        "error_ratio",
        "hang_ratio",
        "cache_off",
        "cost_factor",
        "append_to_answer",
    ];

    /// Which of them make a difference, in the order of their names.
    pub fn active(&self) -> [bool; Self::NAMES.len()] {
        [
            self.extra_latency_seconds > 0.0,
            self.error_ratio > 0.0,
            self.hang_ratio > 0.0,
            self.cache_off,
            // It is 1 or was set to something else: no arithmetic has touched it.
            (self.cost_factor - 1.0).abs() > 0.0,
            !self.append_to_answer.is_empty(),
        ]
    }

    /// Whether answers may be kept: a spoiled one must not outlive its fault.
    pub fn keep_answers(&self) -> bool {
        !self.cache_off && self.append_to_answer.is_empty()
    }

    /// What a call costs, when it would cost this.
    pub fn cost(&self, cost: NanoUsd) -> NanoUsd {
        NanoUsd((cost.0 as f64 * self.cost_factor).round() as u64)
    }

    /// A call of the provider within its limits, of which the extra latency takes a part.
    pub async fn disturb(
        &self,
        limits: &Limits,
        call: impl Future<Output = Result<Completion, LlmError>>,
    ) -> Result<Completion, LlmError> {
        let extra = Duration::from_secs_f64(self.extra_latency_seconds);
        if rand::random_bool(self.hang_ratio) || limits.started + extra >= limits.begin {
            sleep_until(limits.begin.into()).await;
            return Err(LlmError::TimedOut(limits.begin.duration_since(limits.started)));
        }
        if !extra.is_zero() {
            sleep(extra).await;
        }
        if rand::random_bool(self.error_ratio) {
            return Err(LlmError::Refused { status: 500, retry_after: None, body: INJECTED.to_owned() });
        }
        let mut completion = call.await?;
        if !self.append_to_answer.is_empty() {
            completion.text.push(' ');
            completion.text.push_str(&self.append_to_answer);
        }
        Ok(completion)
    }

    fn to_json(&self) -> Map<String, Value> {
        let values: [Value; Self::NAMES.len()] = [
            json!(self.extra_latency_seconds),
            json!(self.error_ratio),
            json!(self.hang_ratio),
            json!(self.cache_off),
            json!(self.cost_factor),
            json!(self.append_to_answer),
        ];
        Self::NAMES.map(str::to_owned).into_iter().zip(values).collect()
    }
}

/// Faults and when they end by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injection {
    /// The faults.
    pub faults: Faults,
    /// From now on; none where they stay until told otherwise.
    pub expires_in: Option<Duration>,
}

const EXPIRES_IN: &str = "expires_in_seconds";

impl Injection {
    /// Reads what is to go wrong; what the value does not say does not. The error names the key.
    pub fn parse(value: &Value) -> Result<Self, (&'static str, String)> {
        let Value::Object(fields) = value else {
            return Err(("body", "The body must be a JSON object.".to_owned()));
        };
        let mut injection = Self::default();
        let faults = &mut injection.faults;
        for (name, value) in fields {
            match name.as_str() {
                "extra_latency_seconds" => {
                    faults.extra_latency_seconds =
                        number("extra_latency_seconds", value, 0.0, MAX_EXTRA_LATENCY_SECONDS)?;
                }
                "error_ratio" => faults.error_ratio = number("error_ratio", value, 0.0, 1.0)?,
                "hang_ratio" => faults.hang_ratio = number("hang_ratio", value, 0.0, 1.0)?,
                "cost_factor" => faults.cost_factor = number("cost_factor", value, 0.0, MAX_COST_FACTOR)?,
                "cache_off" => {
                    faults.cache_off = value
                        .as_bool()
                        .ok_or_else(|| ("cache_off", "`cache_off` must be true or false.".to_owned()))?;
                }
                "append_to_answer" => faults.append_to_answer = phrase(value)?,
                EXPIRES_IN if value.is_null() => {}
                EXPIRES_IN => {
                    let seconds = number(EXPIRES_IN, value, 1.0, MAX_EXPIRY_SECONDS)?;
                    injection.expires_in = Some(Duration::from_secs_f64(seconds));
                }
                _ => {
                    let name: String = name.chars().take(40).collect();
                    let known = Self::default().to_json();
                    let known: Vec<_> = known.keys().map(|key| format!("`{key}`")).collect();
                    return Err(("body", format!("There is no fault {name:?}: use {}.", known.join(", "))));
                }
            }
        }
        Ok(injection)
    }

    /// As [`Injection::parse`] reads it.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut fields = self.faults.to_json();
        let seconds = self.expires_in.map(|left| left.as_secs_f64().ceil());
        fields.insert(EXPIRES_IN.to_owned(), json!(seconds));
        fields
    }
}

fn number(name: &'static str, value: &Value, from: f64, to: f64) -> Result<f64, (&'static str, String)> {
    let number = value.as_f64().filter(|number| (from..=to).contains(number));
    number.ok_or_else(|| (name, format!("`{name}` must be a number from {from} to {to}.")))
}

fn phrase(value: &Value) -> Result<String, (&'static str, String)> {
    let text = value
        .as_str()
        .filter(|text| text.chars().count() <= MAX_APPENDED_CHARS && !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        let message = format!(
            "`append_to_answer` must be a string of at most {MAX_APPENDED_CHARS} characters, without line breaks."
        );
        ("append_to_answer", message)
    })
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    until: Option<Instant>,
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct CurrentFaults(RwLock<State>);

impl CurrentFaults {
    /// The faults and the time they have left.
    pub fn get(&self, now: Instant) -> Injection {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if state.until.is_some_and(|until| until <= now) {
            return Injection::default();
        }
        let expires_in = state.until.map(|until| until - now);
        Injection { faults: state.faults.clone(), expires_in }
    }

    /// Puts these in force, in the place of those before.
    pub fn set(&self, injection: Injection, now: Instant) {
        let state = State { faults: injection.faults, until: injection.expires_in.map(|time| now + time) };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Forgets faults whose time is over, and says whether there were any: for the line in the log. They are
    /// without effect from their last moment on, also before this.
    pub fn forget_expired(&self, now: Instant) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let expired = state.until.is_some_and(|until| until <= now);
        if expired {
            *state = State::default();
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_the_rest_is_as_always() {
        let value = json!({ "error_ratio": 0.5, "cache_off": true, "expires_in_seconds": 60 });
        let injection = Injection::parse(&value).unwrap();
        assert_eq!(injection.faults.active(), [false, true, false, true, false, false]);
        assert_eq!(Injection::parse(&Value::Object(injection.to_json())), Ok(injection));
        let none = Injection::parse(&json!({})).unwrap();
        assert_eq!(none, Injection::default());
        assert_eq!(none.faults.active(), [false; 6]);
        assert_eq!(Injection::parse(&Value::Object(none.to_json())), Ok(none));
    }

    #[test]
    fn an_error_names_the_key() {
        for (value, named) in [
            (json!([]), "body"),
            (json!({ "error_rate": 1 }), "body"),
            (json!({ "error_ratio": 1.01 }), "error_ratio"),
            (json!({ "error_ratio": "1" }), "error_ratio"),
            (json!({ "hang_ratio": -0.1 }), "hang_ratio"),
            (json!({ "extra_latency_seconds": 601 }), "extra_latency_seconds"),
            (json!({ "extra_latency_seconds": null }), "extra_latency_seconds"),
            (json!({ "cost_factor": 1e7 }), "cost_factor"),
            (json!({ "cache_off": 1 }), "cache_off"),
            (json!({ "append_to_answer": "x".repeat(501) }), "append_to_answer"),
            (json!({ "append_to_answer": "a\nb" }), "append_to_answer"),
            (json!({ "expires_in_seconds": 0 }), "expires_in_seconds"),
        ] {
            assert_eq!(Injection::parse(&value).unwrap_err().0, named, "{value}");
        }
    }

    #[test]
    fn faults_end_when_their_time_is_over() {
        let (current, start) = (CurrentFaults::default(), Instant::now());
        let faults = Faults { cache_off: true, ..Faults::default() };
        current.set(Injection { faults, expires_in: Some(Duration::from_mins(1)) }, start);
        let later = start + Duration::from_secs(59);
        assert_eq!(current.get(later).expires_in, Some(Duration::from_secs(1)));
        assert!(current.get(later).faults.cache_off && !current.forget_expired(later));
        let end = start + Duration::from_mins(1);
        assert_eq!(current.get(end), Injection::default());
        assert!(current.forget_expired(end) && !current.forget_expired(end));
    }
}
