//! Whether people are told of a fault.

use std::time::Duration;

use super::{
    judgement::{ALERT_LATE, Told},
    load::{Moment, now},
    parts::Alert,
    plan::Kind,
};
use crate::drill::{
    Drill, Expected,
    inbox::{self, Mark, Way},
};

/// The longest that a rule and its delivery take, with the real rules.
const LONGEST: Duration = Duration::from_mins(20);

/// An alert that is waited for, if any.
pub(super) struct Telling<'d> {
    drill: &'d Drill,
    awaited: Result<Awaited<'d>, &'static str>,
}

struct Awaited<'d> {
    expected: &'d Expected,
    mark: Mark,
    open: Vec<Way>,
    why: String,
    began: Moment,
    told: Option<f64>,
    /// Seconds that the rule's condition must last.
    lasts: f64,
}

impl<'d> Telling<'d> {
    /// Waits until the alert is quiet, and notes what people know already.
    ///
    /// # Errors
    /// That it does not get quiet, or there is no such rule.
    pub(super) fn of(drill: &'d Drill, kind: Kind, alert: &'d Alert) -> Result<Self, String> {
        let expected = match alert {
            Ok(_) if kind == Kind::Slow => return Ok(Self { drill, awaited: Err("slow is not down") }),
            Ok(expected) => expected,
            Err(why) => return Ok(Self { drill, awaited: Err(why) }),
        };
        let quiet = format!("{} quiet", expected.alert);
        drill.wait(&quiet, drill.scaled(LONGEST), || drill.is_quiet(expected))?;
        let awaited = Awaited {
            expected,
            mark: Mark::set(&drill.stack)?,
            open: inbox::ways(expected.seen),
            why: String::new(),
            began: now(),
            told: None,
            lasts: lasts(drill, expected)?,
        };
        Ok(Self { drill, awaited: Ok(awaited) })
    }

    /// Whether people have still to be told.
    pub(super) fn is_open(&self) -> bool {
        self.awaited.as_ref().is_ok_and(|awaited| awaited.told.is_none())
    }

    /// How long they may take.
    pub(super) fn limit(&self) -> Duration {
        self.drill.scaled(LONGEST)
    }

    /// Looks whether it has arrived.
    pub(super) fn look(&mut self) {
        let Ok(awaited) = &mut self.awaited else { return };
        if awaited.told.is_some() {
            return;
        }
        let Awaited { expected, mark, open, why, .. } = awaited;
        open.retain(|way| match way.firing(&self.drill.stack, expected, mark) {
            Ok(()) => false,
            Err(error) => {
                *why = format!("{way}: {error}");
                true
            }
        });
        if open.is_empty() {
            awaited.told = Some(now() - awaited.began);
        }
    }

    /// What came of it, after an outage of so many seconds.
    pub(super) fn outcome(self, outage: f64) -> Told {
        let Awaited { expected, told, lasts, why, .. } = match self.awaited {
            Ok(awaited) => awaited,
            Err(why) => return Told::NotDue(why.to_owned()),
        };
        match told {
            Some(seconds) => Told::After { alert: expected.alert, seconds },
            None if outage > lasts + ALERT_LATE => Told::Missing { alert: expected.alert, why },
            None => {
                let alert = expected.alert;
                Told::NotDue(format!("{alert} is for outages beyond {lasts:.0} s, this was {outage:.1} s"))
            }
        }
    }
}

/// How long the condition of the rule behind an alert must last until it fires, in seconds.
fn lasts(drill: &Drill, expected: &Expected) -> Result<f64, String> {
    let rules = expected.rules(&drill.stack)?;
    rules[0]["duration"].as_f64().ok_or(format!("{} has no duration", expected.alert))
}
