//! Sampling at the end of a request: the spans of one that the ratio leaves out wait here until it is over, and are
//! exported after all if it has turned out to be worth it. See `docs/traces.md` for why this is not the collector's work.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanContext, SpanId, SpanKind, TraceFlags, TraceId},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample, SpanData};

/// The attribute of a request's span that says why its trace is kept whatever the ratio.
pub const REASON: &str = "sampling.reason";
/// Spans that may wait for the end of their requests: at about 1 KiB each.
const MAX_WAITING: usize = 16_384;

/// Why a trace is kept whatever the ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request failed by the agent's or its provider's fault.
    Error,
    /// The request took too long.
    Slow,
}

impl Reason {
    /// The value of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Slow => "slow",
        }
    }
}

/// Decides as another sampler does, but has the rest recorded too.
#[derive(Clone, Debug)]
pub(super) struct RecordAll(pub(super) Sampler);

impl ShouldSample for RecordAll {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace, name, kind, attributes, links);
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }
}

/// Ended spans whose requests are not over.
#[derive(Debug)]
pub(super) struct Waiting {
    spans: Mutex<Spans>,
    max: usize,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Spans {
    by_trace: HashMap<TraceId, Vec<SpanData>>,
    count: usize,
}

impl Waiting {
    /// Counts in `lost` what does not fit.
    pub(super) fn new(lost: Arc<AtomicU64>) -> Self {
        Self { spans: Mutex::default(), max: MAX_WAITING, lost }
    }

    /// Takes a span that has ended, and exports what is to be exported now.
    pub(super) fn end(&self, span: SpanData, mut export: impl FnMut(SpanData)) {
        if span.span_context.is_sampled() {
            return export(span);
        }
        let is_request = span.parent_span_is_remote || span.parent_span_id == SpanId::INVALID;
        if !is_request {
            return self.keep(span);
        }
        let steps = self.take_descendants(&span.span_context);
        if span.attributes.iter().any(|attribute| attribute.key.as_str() == REASON) {
            steps.into_iter().chain([span]).map(sampled).for_each(export);
        }
    }

    fn keep(&self, span: SpanData) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.count >= self.max {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        spans.count += 1;
        spans.by_trace.entry(span.span_context.trace_id()).or_default().push(span);
    }

    /// The spans below a request's. A trace may have several requests at a time, each with its own end.
    fn take_descendants(&self, request: &SpanContext) -> Vec<SpanData> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = spans.by_trace.remove(&request.trace_id()) else { return Vec::new() };
        // Few enough to look through.
        let mut known = vec![request.span_id()];
        let (mut taken, mut others) = (Vec::with_capacity(waiting.len()), Vec::new());
        // A parent ends after its children: backwards it comes before them.
        for span in waiting.into_iter().rev() {
            if known.contains(&span.parent_span_id) {
                known.push(span.span_context.span_id());
                taken.push(span);
            } else {
                others.push(span);
            }
        }
        spans.count -= taken.len();
        if !others.is_empty() {
            others.reverse();
            spans.by_trace.insert(request.trace_id(), others);
        }
        taken
    }
}

/// The span as if it had been sampled from the start.
fn sampled(mut span: SpanData) -> SpanData {
    let context = &span.span_context;
    span.span_context = SpanContext::new(
        context.trace_id(),
        context.span_id(),
        context.trace_flags() | TraceFlags::SAMPLED,
        context.is_remote(),
        context.trace_state().clone(),
    );
    span
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::trace::{Status, TraceState};

    use super::*;

    fn span(id: u64, parent: u64, reason: Option<Reason>) -> SpanData {
        let flags = TraceFlags::NOT_SAMPLED;
        let context = SpanContext::new(TraceId::from(1), SpanId::from(id), flags, false, TraceState::NONE);
        SpanData {
            span_context: context,
            parent_span_id: SpanId::from(parent),
            parent_span_is_remote: parent > 1000,
            span_kind: SpanKind::Internal,
            name: "s".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: reason.map(|reason| KeyValue::new(REASON, reason.as_str())).into_iter().collect(),
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: opentelemetry::InstrumentationScope::default(),
        }
    }

    fn end(waiting: &Waiting, span: SpanData) -> Vec<u64> {
        let mut exported = Vec::new();
        waiting.end(span, |span| {
            assert!(span.span_context.is_sampled());
            exported.push(u64::from_be_bytes(span.span_context.span_id().to_bytes()));
        });
        exported.sort_unstable();
        exported
    }

    #[test]
    fn of_two_requests_in_a_trace_the_failed_one_is_exported_with_all_its_steps() {
        let waiting = Waiting::new(Arc::default());
        // 1 is a request with step 3 and its step 5, 2 one with step 4.
        for (id, parent) in [(5, 3), (4, 2), (3, 1)] {
            assert!(end(&waiting, span(id, parent, None)).is_empty());
        }
        assert!(end(&waiting, span(2, 1001, None)).is_empty());
        assert_eq!(end(&waiting, span(1, 1002, Some(Reason::Error))), [1, 3, 5]);
        let spans = waiting.spans.lock().unwrap();
        assert_eq!((spans.by_trace.len(), spans.count), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted_and_there_is_room_again_later() {
        let lost = Arc::<AtomicU64>::default();
        let waiting = Waiting { max: 2, ..Waiting::new(lost.clone()) };
        for id in 10..13 {
            assert!(end(&waiting, span(id, 1, None)).is_empty());
        }
        assert_eq!(lost.load(Ordering::Relaxed), 1);
        assert_eq!(end(&waiting, span(1, 0, Some(Reason::Slow))), [1, 10, 11]);
        assert!(end(&waiting, span(20, 2, None)).is_empty());
        assert_eq!(end(&waiting, span(2, 0, Some(Reason::Slow))), [2, 20]);
        assert_eq!(lost.load(Ordering::Relaxed), 1);
    }
}
