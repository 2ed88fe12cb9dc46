//! A histogram that remembers, for each bucket, the last trace whose request fell into it: OpenMetrics shows it as the
//! bucket's exemplar. The recorder beneath knows no exemplars.
use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use metrics::{Histogram, Recorder, SharedString};
use opentelemetry::trace::TraceId;

use super::declared::{DURATION, DURATION_BUCKETS, histogram};

/// A request that was measured, and the trace that shows what it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    /// The trace.
    pub(super) trace: TraceId,
    /// What was measured, in seconds.
    pub(super) value: f64,
    /// When.
    pub(super) at: SystemTime,
}

/// One series of the request durations.
#[derive(Debug)]
pub(super) struct DurationSeries {
    histogram: Histogram,
    /// Its buckets' series as they are rendered, up to the upper bound.
    prefix: String,
    /// By bucket, `+Inf` last.
    last: Mutex<[Option<Exemplar>; DURATION_BUCKETS.len() + 1]>,
}

impl DurationSeries {
    /// The series with these label values.
    pub(super) fn new(recorder: &dyn Recorder, labels: &[SharedString]) -> Self {
        let mut prefix = format!("{}_bucket{{", DURATION.name);
        for (name, value) in DURATION.labels.iter().zip(labels) {
            prefix.extend([name, "=\"", value, "\","]);
        }
        prefix.push_str("le=\"");
        Self { histogram: histogram(recorder, &DURATION, labels), prefix, last: Mutex::default() }
    }

    /// Records a request; `trace` is its trace, where that can be found later.
    pub(super) fn record(&self, seconds: f64, trace: Option<TraceId>) {
        self.histogram.record(seconds);
        // An exemplar is not worth waiting for: while somebody else has the lock, theirs will do.
        if let Some(trace) = trace
            && let Ok(mut last) = self.last.try_lock()
        {
            let bucket = DURATION_BUCKETS.partition_point(|bound| *bound < seconds);
            last[bucket] = Some(Exemplar { trace, value: seconds, at: SystemTime::now() });
        }
    }

    /// Each bucket that has an exemplar, by its series as it is rendered.
    pub(super) fn exemplars(&self) -> impl Iterator<Item = (String, Exemplar)> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.into_iter().enumerate().filter_map(|(bucket, exemplar)| {
            let bound = DURATION_BUCKETS.get(bucket).map_or("+Inf".to_owned(), f64::to_string);
            Some((format!("{}{bound}\"}}", self.prefix), exemplar?))
        })
    }
}
