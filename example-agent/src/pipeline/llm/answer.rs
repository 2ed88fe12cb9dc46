//! An answer as it grows: the JSON of chat completions, read leniently. Providers differ in everything but the main names.
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    Completion, Prompt,
    error::LlmError,
    redact::{Secret, excerpt},
    usage::ReportedUsage,
};
use crate::pipeline::cost::Usage;

/// A longer text than any model gives is a defect of the provider, not an answer.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The longest model name that is kept.
const MAX_MODEL_CHARS: usize = 128;
const DONE: &str = "[DONE]";

/// Why the model ended its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The answer is complete.
    Stop,
    /// A limit of tokens cut it off.
    Length,
    /// The provider's filter cut it off.
    ContentFilter,
    /// The model wants a tool to be called.
    ToolCalls,
    /// A reason that only its provider knows.
    Other,
}

impl FinishReason {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 5] = [Self::Stop, Self::Length, Self::ContentFilter, Self::ToolCalls, Self::Other];

    /// The name in answers, logs, spans and the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ToolCalls => "tool_calls",
            Self::Other => "other",
        }
    }
}

/// The meaning of a provider's `finish_reason`.
#[derive(Debug, PartialEq, Eq)]
enum Finish {
    /// There is none: the answer goes on.
    Missing,
    /// The answer ends in an error.
    Failed,
    Ended(FinishReason),
}

impl Finish {
    fn read(value: &Value) -> Self {
        let text = value.as_str().unwrap_or_default().trim().to_ascii_lowercase();
        match text.as_str() {
            "" | "null" | "none" => Self::Missing,
            "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" => Self::Ended(FinishReason::Stop),
            "length" | "max_tokens" | "model_length" => Self::Ended(FinishReason::Length),
            "content_filter" | "safety" | "sensitive" | "refusal" => Self::Ended(FinishReason::ContentFilter),
            "tool_calls" | "tool_use" | "function_call" => Self::Ended(FinishReason::ToolCalls),
            // DeepSeek breaks off with this one when it runs out of machines.
            "insufficient_system_resource" => Self::Failed,
            text if text.contains("error") || text.starts_with("abort") || text.starts_with("cancel") => {
                Self::Failed
            }
            _ => Self::Ended(FinishReason::Other),
        }
    }
}

/// An answer under way. It has cost money from its first piece on, whether or not it is ever finished.
#[derive(Debug, Default)]
pub struct Draft {
    pub(super) text: String,
    reasoning_bytes: usize,
    reasoning_chars: usize,
    model: Option<String>,
    usage: ReportedUsage,
    finish: Option<FinishReason>,
    /// Whether the provider has said otherwise that the answer is over.
    done: bool,
    /// Whether there was a first piece of any kind.
    begun: bool,
    time_to_first_token: Option<Duration>,
    pub(super) time_to_first_chunk: Option<Duration>,
    /// The key that no error may repeat.
    pub(super) key: Option<Secret>,
}

impl Draft {
    /// Whether the model has begun to answer: another attempt would pay twice.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The model that answers, by the provider's name for it.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Whether there is text, which the caller may have seen.
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether the answer has a good end: a finish reason; or the provider's word that it is over, after text or usage.
    pub(super) fn is_complete(&self) -> bool {
        self.finish.is_some() || (self.done && (self.has_text() || self.usage.has_any()))
    }

    /// Tokens of an answer that may have broken off, and whether they are estimated; none if it has not begun.
    pub(in crate::pipeline) fn usage(&self, prompt: &Prompt<'_>) -> Option<(Usage, bool)> {
        let chars = self.text.chars().count() + self.reasoning_chars;
        let mut estimate = Usage::estimate(prompt.chars(), chars);
        estimate.reasoning = Usage::estimate(0, self.reasoning_chars).output.min(estimate.output);
        let (mut usage, mut estimated) = self.usage.or_estimate(estimate);
        if !self.is_complete() && usage.output < estimate.output {
            // Reported at the start, and not again.
            (usage.output, estimated) = (estimate.output, true);
        }
        (self.begun || self.usage.has_any()).then_some((usage, estimated))
    }

    /// Takes the data of an event, or a whole body: one JSON value, or one a line where a provider separates events by a
    /// single newline.
    pub(super) fn add(&mut self, text: &str, started: Instant) -> Result<(), LlmError> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if text.is_empty() || self.done {
            return Ok(());
        }
        if text == DONE {
            self.done = true;
            return Ok(());
        }
        match serde_json::from_str(text) {
            Ok(value) => self.take(&value, started),
            Err(_) if text.contains('\n') => text.lines().try_for_each(|line| self.add(line, started)),
            Err(error) => {
                Err(LlmError::Invalid(format!("{error} in {:?}", excerpt(text, self.key.as_ref()))))
            }
        }
    }

    /// Takes an error that came in place of a piece.
    pub(super) fn fail(&self, text: &str) -> LlmError {
        let error = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let inner = Some(&error["error"]).filter(|inner| inner.is_object()).unwrap_or(&error);
        LlmError::of_object(inner, self.key.as_ref())
    }

    /// Takes the end of a body that was one JSON value: it is all there, or it would not have been JSON.
    pub(super) fn end_plain(&mut self) {
        self.done |= self.begun;
    }

    fn take(&mut self, value: &Value, started: Instant) -> Result<(), LlmError> {
        if let Value::Array(values) = value {
            return values.iter().try_for_each(|value| self.take(value, started));
        }
        let choice = &value["choices"][0];
        if let Some(error) = error_in(value, choice) {
            return Err(LlmError::of_object(error, self.key.as_ref()));
        }
        for usage in [&value["usage"], &choice["usage"], &value["x_groq"]["usage"]] {
            self.usage.read(usage);
        }
        if let Some(model) = value["model"].as_str().filter(|model| !model.is_empty()) {
            self.model = Some(model.chars().take(MAX_MODEL_CHARS).collect());
        }
        if choice.is_object() {
            self.begun = true;
            self.take_text(choice, started)?;
            match Finish::read(&choice["finish_reason"]) {
                Finish::Missing => {}
                Finish::Failed => return Err(LlmError::of_object(choice, self.key.as_ref())),
                Finish::Ended(reason) => self.finish = Some(reason),
            }
        } else if self.usage.has_output() && self.has_text() {
            // Alone it comes last.
            self.done = true;
        }
        Ok(())
    }

    fn take_text(&mut self, choice: &Value, started: Instant) -> Result<(), LlmError> {
        let (delta, message) = (&choice["delta"], &choice["message"]);
        let mut text = content(delta);
        if text.is_empty() {
            // A `message` beside or after deltas repeats all of the text so far.
            let all = content(message);
            text = all.strip_prefix(self.text.as_str()).unwrap_or(&all).to_owned();
        }
        if text.is_empty() {
            choice["text"].as_str().unwrap_or_default().clone_into(&mut text);
        }
        if !text.is_empty() {
            self.time_to_first_token.get_or_insert_with(|| started.elapsed());
            self.text.push_str(&text);
        }
        let reasoning = [
            &delta["reasoning_content"],
            &delta["reasoning"],
            &message["reasoning_content"],
            &message["reasoning"],
        ];
        let reasoning = reasoning
            .into_iter()
            .find_map(Value::as_str)
            .map_or_else(|| thinking(&delta["content"]), str::to_owned);
        self.reasoning_bytes += reasoning.len();
        self.reasoning_chars += reasoning.chars().count();
        if self.text.len() > MAX_TEXT_BYTES || self.reasoning_bytes > MAX_TEXT_BYTES {
            return Err(LlmError::Invalid(format!("more than {MAX_TEXT_BYTES} bytes of text")));
        }
        Ok(())
    }

    /// The completion, if there is one.
    pub(super) fn finish(&mut self, prompt: &Prompt<'_>, started: Instant) -> Result<Completion, LlmError> {
        if !self.is_complete() {
            return Err(LlmError::Invalid("it has no end".to_owned()));
        }
        let (usage, usage_estimated) =
            self.usage(prompt).unwrap_or((Usage::estimate(prompt.chars(), 0), true));
        let duration = started.elapsed();
        Ok(Completion {
            text: std::mem::take(&mut self.text),
            finish: self.finish,
            response_model: self.model.take(),
            usage,
            usage_estimated,
            time_to_first_token: self.time_to_first_token.unwrap_or(duration),
            time_to_first_chunk: self.time_to_first_chunk,
            duration,
        })
    }
}

/// The error in a piece, in any of the places where providers put one.
fn error_in<'v>(value: &'v Value, choice: &'v Value) -> Option<&'v Value> {
    let is_error = |error: &&Value| match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(errors) => !errors.is_empty(),
        _ => true,
    };
    if let Some(error) = [&value["error"], &choice["error"]].into_iter().find(is_error) {
        return Some(error);
    }
    if value["object"] == "error" || value["type"] == "error" {
        return Some(value);
    }
    if choice.is_object() || value["usage"].is_object() {
        return None;
    }
    let error = [&value["detail"], &value["errors"]].into_iter().find(is_error);
    let coded = value["message"].is_string()
        && ["code", "status", "status_code"].iter().any(|key| !value[key].is_null());
    error.or(coded.then_some(value))
}

/// The text of a message or of a piece of one: a string, or parts of which those that are text count.
fn content(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let thinks = |part: &&Value| !matches!(part["type"].as_str(), Some("thinking" | "reasoning"));
            let texts =
                parts.iter().filter(thinks).filter_map(|part| part.as_str().or(part["text"].as_str()));
            texts.collect()
        }
        _ => message["refusal"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The text of parts that are reasoning.
fn thinking(content: &Value) -> String {
    let parts = content.as_array().into_iter().flatten();
    let texts = parts.flat_map(|part| match &part["thinking"] {
        Value::Array(inner) => inner.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>(),
        thinking => thinking.as_str().into_iter().collect(),
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(values: &[Value]) -> Draft {
        let mut draft = Draft::default();
        for value in values {
            draft.add(&value.to_string(), Instant::now()).unwrap_or_else(|e| panic!("{e}: {value}"));
        }
        draft
    }

    #[test]
    fn text_is_read_wherever_it_stands_and_once() {
        let text = |choices: &[Value]| {
            let values: Vec<_> = choices.iter().map(|choice| json!({ "choices": [choice] })).collect();
            draft(&values).text
        };
        let both = |delta: &str, message: &str| json!({ "delta": { "content": delta }, "message": { "content": message } });
        assert_eq!(text(&[both("a ", "a "), both("b", "a b"), both("", "a b")]), "a b");
        let (delta, message) = (
            |text: &str| json!({ "delta": { "content": text } }),
            |text: &str| json!({ "message": { "content": text } }),
        );
        assert_eq!(text(&[delta("a "), delta("b"), message("a b")]), "a b");
        assert_eq!(text(&[message("a "), message("b")]), "a b");
        assert_eq!(text(&[json!({ "delta": null, "message": { "content": "a" } })]), "a");
        let parts =
            json!([{ "type": "thinking", "thinking": "hm" }, { "type": "text", "text": "a" }, "b", null, 7]);
        assert_eq!(text(&[json!({ "delta": { "content": parts } })]), "ab");
        assert_eq!(
            text(&[json!({ "text": "a" }), json!({ "delta": { "refusal": "no" } }), json!(null), json!({})]),
            "ano"
        );
        for odd in [
            json!({ "choices": null }),
            json!({ "choices": {} }),
            json!({ "choices": [7] }),
            json!([]),
            json!(null),
            json!(7),
        ] {
            assert_eq!(draft(&[odd]).text, "");
        }
    }

    #[test]
    fn only_a_reason_or_the_providers_word_is_an_end() {
        let complete = |pieces: &[Value], done: bool| {
            let mut draft = draft(pieces);
            if done {
                draft.add("[DONE]", Instant::now()).unwrap();
            }
            draft.is_complete()
        };
        let piece =
            |finish: Value| json!({ "choices": [{ "delta": { "content": "a" }, "finish_reason": finish }] });
        for none in [json!(null), json!(""), json!("null"), json!(7)] {
            assert!(!complete(&[piece(none.clone())], false), "{none}");
            assert!(complete(&[piece(none)], true), "text and [DONE]");
        }
        assert!(complete(&[piece(json!("stop"))], false));
        assert!(!complete(&[], true), "[DONE] alone");
        assert!(!complete(&[json!({ "choices": [{ "delta": { "content": "" } }] })], true));
        let usage = json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 1 } });
        assert!(complete(std::slice::from_ref(&usage), true), "usage and [DONE]");
        assert!(!complete(&[usage], false), "usage alone");
    }

    #[test]
    fn reasons_have_one_name_each_and_failures_are_none() {
        for (given, expected) in [
            ("stop", FinishReason::Stop),
            ("end_turn", FinishReason::Stop),
            ("MAX_TOKENS", FinishReason::Length),
            ("content_filter", FinishReason::ContentFilter),
            ("tool_calls", FinishReason::ToolCalls),
            ("because", FinishReason::Other),
        ] {
            assert_eq!(Finish::read(&json!(given)), Finish::Ended(expected));
        }
        for given in ["error", "network_error", "insufficient_system_resource", "abort", "cancelled"] {
            assert_eq!(Finish::read(&json!(given)), Finish::Failed, "{given}");
        }
    }

    #[test]
    fn an_error_is_found_wherever_it_stands() {
        for value in [
            json!({ "error": { "message": "no" } }),
            json!({ "error": "no" }),
            json!({ "choices": [{ "delta": {}, "error": { "message": "no" } }] }),
            json!({ "choices": [{ "delta": {}, "finish_reason": "error" }] }),
            json!({ "detail": "Not authenticated" }),
            json!({ "detail": [{ "loc": ["body"] }] }),
            json!({ "object": "error", "message": "no", "code": 400 }),
            json!({ "type": "error", "error": { "type": "overloaded_error" } }),
            json!({ "message": "no", "code": 1 }),
            json!([{ "error": { "code": 429 } }]),
        ] {
            let added = Draft::default().add(&value.to_string(), Instant::now());
            assert!(
                matches!(added, Err(LlmError::Refused { .. } | LlmError::RateLimited { .. })),
                "{value}: {added:?}"
            );
        }
        for value in [
            json!({ "error": null, "choices": [{ "delta": { "content": "a" }, "error": {} }] }),
            json!({ "type": "ping" }),
        ] {
            draft(&[value]);
        }
    }

    #[test]
    fn an_answer_costs_money_from_its_first_piece_on() {
        let prompt = Prompt { instructions: None, query: "four" };
        assert_eq!(Draft::default().usage(&prompt), None);
        let thinks =
            json!({ "choices": [{ "delta": { "content": null, "reasoning_content": "eight ch" } }] });
        let expected = Usage { input: 1, output: 2, reasoning: 2, ..Usage::default() };
        assert_eq!(draft(&[thinks]).usage(&prompt), Some((expected, true)));
        let early = json!({ "usage": { "prompt_tokens": 9, "completion_tokens": 1 }, "choices": [{ "delta": { "content": "twelve chars" } }] });
        let expected = Usage { input: 9, output: 3, ..Usage::default() };
        assert_eq!(draft(&[early]).usage(&prompt), Some((expected, true)));
    }
}
