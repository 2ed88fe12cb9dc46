//! A share over the last minutes, for a gauge that has to follow what happens now.
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How far back the share looks.
pub(super) const WINDOW: Duration = Duration::from_mins(5);
const SLOTS: usize = 60;
const SLOT: Duration = Duration::from_secs(WINDOW.as_secs() / SLOTS as u64);

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Number of the slot since the start: an old one at this place is stale.
    number: u64,
    hits: u64,
    lookups: u64,
}

/// Hits among the look-ups of the last five minutes, in steps of five seconds.
#[derive(Debug)]
pub(super) struct HitRate {
    start: Instant,
    slots: Mutex<[Slot; SLOTS]>,
}

impl HitRate {
    /// A window without look-ups.
    pub(super) fn new(start: Instant) -> Self {
        Self { start, slots: Mutex::new([Slot::default(); SLOTS]) }
    }

    /// Counts a look-up.
    pub(super) fn record(&self, hit: bool, now: Instant) {
        let number = self.slot_number(now);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut slots[(number % SLOTS as u64) as usize];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.lookups += 1;
        slot.hits += u64::from(hit);
    }

    /// Hits in percent, 0 to 100; nothing while there was no look-up.
    pub(super) fn percent(&self, now: Instant) -> Option<f64> {
        let number = self.slot_number(now);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = slots.iter().filter(|slot| slot.number + SLOTS as u64 > number);
        let (hits, lookups) = recent.fold((0, 0), |(h, l), slot| (h + slot.hits, l + slot.lookups));
        (lookups > 0).then(|| hits as f64 * 100.0 / lookups as f64)
    }

    fn slot_number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / SLOT.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_five_minutes_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rate = HitRate::new(start);
        assert_eq!(rate.percent(at(0)), None);
        rate.record(true, at(0));
        rate.record(false, at(1));
        rate.record(false, at(150));
        rate.record(false, at(299));
        assert_eq!(rate.percent(at(299)), Some(25.0));
        assert_eq!(rate.percent(at(300)), Some(0.0));
        rate.record(true, at(301));
        assert_eq!(rate.percent(at(301)), Some(100.0 / 3.0));
        assert_eq!(rate.percent(at(460)), Some(50.0));
        assert_eq!(rate.percent(at(601)), None);
        rate.record(true, at(100_000));
        assert_eq!(rate.percent(at(100_000)), Some(100.0));
    }
}
