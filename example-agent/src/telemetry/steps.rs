//! A step of the pipeline and its span, in one call:
//!
//! ```text
//! let span = info_span!("check_cache", cache.r#type = "response");
//! let known = leaf(span, self.cache.get(tenant, query)).await;
//! ```
//!
//! [`step`] for one that makes spans itself, or has the next service make them; [`leaf`] for one that does not.
//!
//! The span has the step's parameters from the start, and what came of it at the end: the result's own attributes, or
//! the error with its sources; and it says when the step was given up because its caller left.
use std::{error::Error, future::Future};

use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::traces::record_failure;
use crate::error::{ErrorType, stack};

/// What a step results in.
pub trait StepResult {
    /// Puts what is worth knowing of it on the step's span.
    fn record(&self, span: &Span);
}

/// Why a step failed.
pub trait StepError: Error + 'static {
    /// The value of the span's `error.type`.
    fn error_type(&self) -> ErrorType;
}

impl<T: StepResult, E: StepError> StepResult for Result<T, E> {
    fn record(&self, span: &Span) {
        match self {
            Ok(result) => result.record(span),
            Err(error) => record_failure(span, error.error_type(), error.to_string(), stack(error)),
        }
    }
}

/// Runs a step in its span.
pub async fn step<T: StepResult>(span: Span, work: impl Future<Output = T>) -> T {
    let inside = span.clone();
    leaf(span, work.instrument(inside)).await
}

/// Runs a step that has no steps of its own: its span is beside the work rather than around it, which costs half as much.
pub async fn leaf<T: StepResult>(span: Span, work: impl Future<Output = T>) -> T {
    let mut running = Running { span, ended: false };
    let result = work.await;
    running.ended = true;
    result.record(&running.span);
    result
}

/// Notices that a step was dropped before its end.
struct Running {
    span: Span,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.span.set_attribute("step.cancelled", true);
        }
    }
}
