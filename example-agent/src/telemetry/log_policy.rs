//! Which lines of a request are written: a share of the requests, each whole, and in more detail for some tiers of
//! tenants. Both can be changed while the agent runs; a request keeps what held when it came.
use std::{
    fmt,
    str::FromStr,
    sync::{PoisonError, RwLock},
};

use opentelemetry::trace::{SpanContext, SpanKind};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample as _};
use serde_json::{Value, json};
use tracing::Level;

use crate::{settings::Settings, tenants::Tier};

/// What levels a tier can have. WARN and above are written in any case.
const LEVELS: [(&str, Option<Level>); 4] =
    [("off", None), ("warn", Some(Level::WARN)), ("info", Some(Level::INFO)), ("debug", Some(Level::DEBUG))];

/// The policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogPolicy {
    /// Share of the requests, 0 to 1, whose lines below WARN are written.
    pub sample_ratio: f64,
    /// Levels by tier.
    pub tier_levels: TierLevels,
}

impl LogPolicy {
    /// The policy the process starts with.
    pub fn of(settings: &Settings) -> Self {
        Self { sample_ratio: settings.log_sample_ratio, tier_levels: settings.log_tier_levels }
    }

    /// Whether the lines of a request are written. At the same ratio these are the requests whose traces the agent
    /// samples, for it is the sampler that decides; and what a caller has sampled is kept in both.
    pub fn keeps(&self, request: &SpanContext, caller: &SpanContext) -> bool {
        let by_id = Sampler::TraceIdRatioBased(self.sample_ratio);
        caller.is_sampled()
            || by_id.should_sample(None, request.trace_id(), "", &SpanKind::Server, &[], &[]).decision
                == SamplingDecision::RecordAndSample
    }

    /// Reads a policy; what it does not say is as in `default`. The error names the field.
    pub fn parse(value: &Value, default: Self) -> Result<Self, (&'static str, String)> {
        let Value::Object(fields) = value else {
            return Err(("body", "The body must be a JSON object.".to_owned()));
        };
        let mut policy = default;
        for (name, value) in fields {
            match name.as_str() {
                "sample_ratio" => {
                    let ratio = value.as_f64().filter(|ratio| (0.0..=1.0).contains(ratio));
                    policy.sample_ratio = ratio.ok_or_else(|| {
                        ("sample_ratio", "`sample_ratio` must be a number from 0 to 1.".to_owned())
                    })?;
                }
                "tier_levels" => {
                    policy.tier_levels =
                        TierLevels::parse(value).map_err(|message| ("tier_levels", message))?;
                }
                _ => {
                    let name: String = name.chars().take(40).collect();
                    let message = format!("There is no {name:?}: use `sample_ratio` and `tier_levels`.");
                    return Err(("body", message));
                }
            }
        }
        Ok(policy)
    }

    /// As [`LogPolicy::parse`] reads it.
    pub fn to_json(self) -> Value {
        let levels =
            Tier::ALL.map(|tier| (tier.name().to_owned(), name_of(self.tier_levels.of(tier)).into()));
        json!({ "sample_ratio": self.sample_ratio, "tier_levels": serde_json::Map::from_iter(levels) })
    }
}

/// For each tier the level down to which its lines are written, where `AGENT_LOG` writes less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierLevels([Option<Level>; Tier::ALL.len()]);

impl TierLevels {
    /// The level of a tier; none where it has none of its own.
    pub fn of(self, tier: Tier) -> Option<Level> {
        self.0[tier as usize]
    }

    fn set(&mut self, tier: &str, level: &str) -> Result<(), String> {
        let tier = Tier::ALL.into_iter().find(|known| known.name() == tier).ok_or_else(|| {
            let tier: String = tier.chars().take(40).collect();
            format!("There is no tier {tier:?}: use vip, standard or free.")
        })?;
        let level = LEVELS.into_iter().find(|(name, _)| *name == level).ok_or_else(|| {
            let level: String = level.chars().take(40).collect();
            format!("The level of {} cannot be {level:?}: use off, warn, info or debug.", tier.name())
        })?;
        self.0[tier as usize] = level.1;
        Ok(())
    }

    /// Tiers that are not named have no level of their own.
    fn parse(value: &Value) -> Result<Self, String> {
        let Value::Object(tiers) = value else {
            return Err("`tier_levels` must be an object, as {\"vip\": \"debug\"}.".to_owned());
        };
        let mut levels = Self::default();
        for (tier, level) in tiers {
            levels.set(tier, level.as_str().unwrap_or(&level.to_string()))?;
        }
        Ok(levels)
    }
}

impl FromStr for TierLevels {
    type Err = String;

    /// Reads `vip=debug,free=warn`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut levels = Self::default();
        for pair in text.split(',') {
            let (tier, level) = pair.split_once('=').ok_or("must be tier=level pairs, as vip=debug")?;
            levels.set(tier.trim(), level.trim())?;
        }
        Ok(levels)
    }
}

fn name_of(level: Option<Level>) -> &'static str {
    LEVELS.into_iter().find(|(_, known)| *known == level).map_or("off", |(name, _)| name)
}

/// The policy in force.
pub struct CurrentLogPolicy {
    at_start: LogPolicy,
    now: RwLock<LogPolicy>,
}

impl CurrentLogPolicy {
    /// Begins with this policy.
    pub fn new(at_start: LogPolicy) -> Self {
        Self { at_start, now: RwLock::new(at_start) }
    }

    /// The policy the process has started with.
    pub fn at_start(&self) -> LogPolicy {
        self.at_start
    }

    /// The policy in force.
    pub fn get(&self) -> LogPolicy {
        *self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another one in force, for requests to come.
    pub fn set(&self, policy: LogPolicy) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }
}

impl fmt::Debug for CurrentLogPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    const START: LogPolicy = LogPolicy { sample_ratio: 0.1, tier_levels: TierLevels([None; 3]) };

    fn context(trace: u128, flags: TraceFlags) -> SpanContext {
        SpanContext::new(TraceId::from(trace), SpanId::from(1), flags, false, TraceState::NONE)
    }

    #[test]
    fn at_the_same_ratio_lines_and_traces_are_of_the_same_requests() {
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.1)));
        let none = SpanContext::empty_context();
        let mut kept = 0;
        for number in 0..10_000_u128 {
            // Spread over all ids.
            let trace = number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            let request = context(trace, TraceFlags::NOT_SAMPLED);
            let traced = sampler.should_sample(None, TraceId::from(trace), "", &SpanKind::Server, &[], &[]);
            let traced = traced.decision == SamplingDecision::RecordAndSample;
            assert_eq!(START.keeps(&request, &none), traced, "{trace:x}");
            assert!(START.keeps(&request, &context(trace, TraceFlags::SAMPLED)));
            kept += usize::from(traced);
        }
        assert!((900..1100).contains(&kept), "{kept}");
    }

    #[test]
    fn a_policy_is_read_back_as_written_and_a_bad_one_names_the_field() {
        let policy = json!({ "sample_ratio": 0.5, "tier_levels": { "vip": "debug", "free": "warn" } });
        let policy = LogPolicy::parse(&policy, START).unwrap();
        assert_eq!(policy.tier_levels, "vip=debug, free=warn".parse().unwrap());
        assert_eq!(LogPolicy::parse(&policy.to_json(), START), Ok(policy));
        assert_eq!(LogPolicy::parse(&json!({}), START), Ok(START));
        for (bad, field) in [
            (json!([]), "body"),
            (json!({ "ratio": 1 }), "body"),
            (json!({ "sample_ratio": 1.01 }), "sample_ratio"),
            (json!({ "sample_ratio": -0.1 }), "sample_ratio"),
            (json!({ "sample_ratio": "1" }), "sample_ratio"),
            (json!({ "sample_ratio": null }), "sample_ratio"),
            (json!({ "tier_levels": "vip=debug" }), "tier_levels"),
            (json!({ "tier_levels": { "gold": "debug" } }), "tier_levels"),
            (json!({ "tier_levels": { "vip": "loud" } }), "tier_levels"),
            (json!({ "tier_levels": { "vip": null } }), "tier_levels"),
            (json!({ "tier_levels": { "vip": 7 } }), "tier_levels"),
        ] {
            let (named, message) = LogPolicy::parse(&bad, START).unwrap_err();
            assert_eq!(named, field, "{bad}: {message}");
        }
        for bad in ["vip", "vip=", "=debug", "vip=debug,", "gold=debug"] {
            assert!(bad.parse::<TierLevels>().is_err(), "{bad}");
        }
    }
}
