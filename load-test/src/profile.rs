//! How many requests a second are due, and when: a rate that goes from one value to the next.
use std::{str::FromStr, time::Duration};

use command_line::some_time;

use crate::settings::rate_or_none;

/// A stretch of time in which the rate changes evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// How long, above 0.
    pub time: Duration,
    /// Requests a second at its end.
    pub rate: f64,
}

/// Stages one after the other, as `30s:200,1m:200,10s:0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages(pub Vec<Stage>);

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stage = |text: &str| {
            let (time, rate) =
                text.trim().split_once(':').ok_or("must be time:rate pairs, as 30s:200,1m:200,10s:0")?;
            Ok::<_, String>(Stage { time: some_time(time)?, rate: rate_or_none(rate)? })
        };
        let stages = text.split(',').map(stage).collect::<Result<Vec<_>, _>>()?;
        if stages.iter().all(|stage| stage.rate == 0.0) {
            return Err("must have a rate above 0".to_owned());
        }
        Ok(Self(stages))
    }
}

/// A rate over time.
#[derive(Clone, Debug)]
pub struct Profile {
    start: f64,
    stages: Vec<Stage>,
}

impl Profile {
    /// The same rate all the time.
    pub fn constant(rate: f64, time: Duration) -> Self {
        Self { start: rate, stages: vec![Stage { time, rate }] }
    }

    /// From a rate through stages.
    pub fn of(start: f64, Stages(stages): Stages) -> Self {
        Self { start, stages }
    }

    /// How long it all takes.
    pub fn time(&self) -> Duration {
        self.stages.iter().map(|stage| stage.time).sum()
    }

    /// When so many requests were due since the start; none after the end.
    pub fn due(&self, requests: f64) -> Option<Duration> {
        let (mut rate, mut left, mut at) = (self.start, requests, 0.0);
        for stage in &self.stages {
            let time = stage.time.as_secs_f64();
            let of_stage = f64::midpoint(rate, stage.rate) * time;
            if left < of_stage {
                // The area under a line: rate·t + slope·t²/2 = left, in the form that a slope of 0 does not divide by.
                let slope = (stage.rate - rate) / time;
                let root = (rate * rate + 2.0 * slope * left).max(0.0).sqrt();
                return Some(Duration::from_secs_f64(at + 2.0 * left / (rate + root)));
            }
            (rate, left, at) = (stage.rate, left - of_stage, at + time);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(profile: &Profile, requests: f64) -> Option<f64> {
        profile.due(requests).map(|due| (due.as_secs_f64() * 1e6).round() / 1e6)
    }

    #[test]
    fn a_constant_rate_is_even_and_ends() {
        let profile = Profile::constant(4.0, Duration::from_secs(2));
        assert_eq!(due(&profile, 0.0), Some(0.0));
        assert_eq!(due(&profile, 6.0), Some(1.5));
        assert_eq!(due(&profile, 8.0), None);
    }

    #[test]
    fn a_ramp_has_half_its_requests_after_seven_tenths_of_its_time() {
        let profile = Profile::of(0.0, "10s:20,10s:20,10s:0".parse().unwrap());
        assert_eq!(profile.time(), Duration::from_secs(30));
        assert_eq!(due(&profile, 50.0), Some((50.0_f64.sqrt() * 1e6).round() / 1e6));
        assert_eq!(due(&profile, 100.0), Some(10.0));
        assert_eq!(due(&profile, 200.0), Some(15.0));
        assert_eq!(due(&profile, 375.0), Some(25.0));
        assert!(due(&profile, 400.0).is_none());
    }

    #[test]
    fn stages_that_make_no_sense_are_refused() {
        for bad in ["", "30s", "30s:", "30s:-1", "0s:5", "soon:5", "30s:0", "30s:5,", "30s:1e9"] {
            assert!(bad.parse::<Stages>().is_err(), "{bad:?}");
        }
    }
}
