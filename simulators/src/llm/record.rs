//! What is kept of a completion when it ends, however it ends: one log line and one span.
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use opentelemetry::{
    Array, KeyValue, StringValue, Value,
    trace::{Span as _, Status},
};
use opentelemetry_sdk::trace::Span;

use super::{error::ApiError, request::Request};

/// The record of one completion. It is written when dropped: a caller may leave at any time.
pub(super) struct Record {
    span: Span,
    started: Instant,
    id: String,
    model: &'static str,
    stream: bool,
    status: StatusCode,
    /// `caller left` until something else is known.
    outcome: &'static str,
    first_token: Option<Duration>,
    usage: Option<Usage>,
}

/// Tokens, as reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    /// Part of the prompt.
    pub(super) cached: u64,
    /// Part of the completion.
    pub(super) reasoning: u64,
}

impl Record {
    /// Starts with the span; times count from here.
    pub(super) fn new(span: Span) -> Self {
        Self {
            span,
            started: Instant::now(),
            id: String::new(),
            model: "",
            stream: false,
            status: StatusCode::OK,
            outcome: "caller left",
            first_token: None,
            usage: None,
        }
    }

    /// The request turned out to be valid, and `id` is its answer's.
    pub(super) fn accepted(&mut self, id: &str, request: &Request) {
        id.clone_into(&mut self.id);
        (self.model, self.stream) = (request.model.id, request.stream);
        self.span.update_name(format!("chat {}", self.model));
        self.span.set_attribute(KeyValue::new("gen_ai.request.model", self.model));
        if let Some(limit) = request.max_tokens {
            self.span.set_attribute(KeyValue::new("gen_ai.request.max_tokens", i64::from(limit)));
        }
    }

    /// The first token is about to be sent.
    pub(super) fn first_token(&mut self) {
        self.first_token = Some(self.started.elapsed());
    }

    /// Ended with a whole answer.
    pub(super) fn answered(mut self, usage: Usage, finish_reason: &'static str) {
        self.outcome = "answered";
        self.usage = Some(usage);
        let reasons = Value::Array(Array::String(vec![StringValue::from(finish_reason)]));
        self.span.set_attributes([
            KeyValue::new("gen_ai.response.id", self.id.clone()),
            KeyValue::new("gen_ai.response.model", self.model),
            KeyValue::new("gen_ai.response.finish_reasons", reasons),
            KeyValue::new("gen_ai.usage.input_tokens", usage.prompt.cast_signed()),
            KeyValue::new("gen_ai.usage.output_tokens", usage.completion.cast_signed()),
        ]);
    }

    /// Ended with an error answer.
    pub(super) fn refused(mut self, error: ApiError) -> ApiError {
        self.status = error.status;
        self.outcome = error.body.code.unwrap_or(error.body.kind);
        if error.status.is_server_error() {
            self.span.set_status(Status::error(error.body.message.clone()));
        }
        self.span.set_attribute(KeyValue::new("error.type", self.outcome));
        error
    }

    /// Ended with a fault that has no status code of its own.
    pub(super) fn failed(mut self, fault: &'static str) {
        self.outcome = fault;
        self.span.set_status(Status::error(fault));
        self.span.set_attribute(KeyValue::new("error.type", fault));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(self.status.as_u16())));
        // The span ends as it is dropped with this.
        tracing::info!(
            id = self.id,
            model = self.model,
            stream = self.stream,
            outcome = self.outcome,
            status = self.status.as_u16(),
            prompt_tokens = self.usage.map(|usage| usage.prompt),
            completion_tokens = self.usage.map(|usage| usage.completion),
            ttft_ms = self.first_token.map(|time| time.as_millis() as u64),
            duration_ms = self.started.elapsed().as_millis() as u64,
            "completion"
        );
    }
}
