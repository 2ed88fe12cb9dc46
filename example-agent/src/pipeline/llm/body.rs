//! The body of a provider's response: server-sent events or plain JSON, told apart by how it begins.
use std::{
    pin::pin,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use sse_stream::SseByteStream;
use tokio::time::timeout_at;

use super::{answer::Draft, error::LlmError};
use crate::pipeline::delivery::Delivery;

/// The longest event, and the longest plain body. Nothing bounds the framing of all events together.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// How long an answer that has its end may keep its caller waiting for what is sent besides.
const AFTER_THE_END: Duration = Duration::from_secs(1);

/// The times of one call.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The start of the call.
    pub started: Instant,
    /// The end of the time for the first piece.
    pub begin: Instant,
    /// The end of the time for the whole answer.
    pub end: Instant,
}

impl Limits {
    /// The end of the time for the next piece.
    fn next(&self, draft: &Draft) -> Instant {
        if draft.is_complete() {
            self.end.min(Instant::now() + AFTER_THE_END)
        } else if draft.has_begun() {
            self.end
        } else {
            self.begin
        }
    }

    /// Waits for what must be there before the next piece.
    pub(super) async fn wait<T>(&self, draft: &Draft, what: impl Future<Output = T>) -> Result<T, LlmError> {
        let limit = self.next(draft);
        let late = |_| LlmError::TimedOut(limit.duration_since(self.started));
        timeout_at(limit.into(), what).await.map_err(late)
    }
}

/// A failure of the byte stream beneath the events.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the connection broke")]
    Transport(#[from] reqwest::Error),
    #[error("too long")]
    TooLong,
}

/// Reads a body into the draft. A failure after a good end is none.
pub(super) async fn read(
    body: impl Stream<Item = reqwest::Result<Bytes>>,
    draft: &mut Draft,
    delivery: &mut Delivery<'_>,
    limits: &Limits,
) -> Result<(), LlmError> {
    let result = read_all(body, draft, delivery, limits).await;
    if draft.is_complete()
        && matches!(result, Err(LlmError::TimedOut(_) | LlmError::BrokenOff(_) | LlmError::Invalid(_)))
    {
        return Ok(());
    }
    result
}

async fn read_all(
    body: impl Stream<Item = reqwest::Result<Bytes>>,
    draft: &mut Draft,
    delivery: &mut Delivery<'_>,
    limits: &Limits,
) -> Result<(), LlmError> {
    let mut body = pin!(body);
    let mut head = Vec::new();
    let plain = loop {
        if let Some(plain) = is_plain(&head) {
            break plain;
        }
        match limits.wait(draft, body.next()).await? {
            Some(bytes) => head.extend_from_slice(&bytes.map_err(broken_off)?),
            None => return Ok(()),
        }
    };
    if plain {
        while let Some(bytes) = limits.wait(draft, body.next()).await? {
            head.extend_from_slice(&bytes.map_err(broken_off)?);
            if head.len() > MAX_EVENT_BYTES {
                return Err(too_long());
            }
        }
        draft.add(&String::from_utf8_lossy(&head), limits.started)?;
        draft.end_plain();
        return Ok(());
    }
    // Two line breaks at the end, for providers that leave them out after the last event.
    let last = stream::iter([Ok(Bytes::from_static(b"\n\n"))]);
    let bytes = stream::iter([Ok(Bytes::from(head))]).chain(body).chain(last);
    let mut fields = ErrorFields::default();
    let bytes = bytes.map(move |bytes| fields.rewrite(&bytes?));
    let mut events = pin!(SseByteStream::new(bytes));
    while let Some(event) = limits.wait(draft, events.next()).await? {
        let event = event.map_err(of_events)?;
        let Some(data) = event.data.filter(|data| !data.trim().is_empty()) else { continue };
        draft.time_to_first_chunk.get_or_insert_with(|| limits.started.elapsed());
        if event.event.as_deref() == Some("error") {
            return Err(draft.fail(&data));
        }
        draft.add(&data, limits.started)?;
        delivery.show(&draft.text).await;
    }
    Ok(())
}

/// Whether a body that begins like this is plain JSON; none while that cannot be told.
fn is_plain(head: &[u8]) -> Option<bool> {
    let head = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(head);
    let first = head.trim_ascii_start().first()?;
    // The first byte of a byte order mark of which the rest has not come.
    (*first != 0xef).then_some(matches!(first, b'{' | b'['))
}

fn broken_off(error: reqwest::Error) -> LlmError {
    LlmError::BrokenOff(error.without_url())
}

fn too_long() -> LlmError {
    LlmError::Invalid(format!("an event of more than {MAX_EVENT_BYTES} bytes"))
}

fn of_events(error: sse_stream::Error) -> LlmError {
    match error {
        sse_stream::Error::Body(error) => match error.downcast::<Broken>().map(|broken| *broken) {
            Ok(Broken::Transport(error)) => broken_off(error),
            Ok(Broken::TooLong) => too_long(),
            Err(error) => LlmError::Invalid(error.to_string()),
        },
        error => LlmError::Invalid(error.to_string()),
    }
}

/// Rewrites the field `error:`, which llama.cpp sends and the standard does not know, into an event of the type `error`,
/// and bounds the length of events.
#[derive(Debug)]
struct ErrorFields {
    /// How much of the field's name the line under way has so far; none if it begins otherwise.
    matched: Option<usize>,
    /// Bytes since the last empty line.
    event_bytes: usize,
    last: u8,
}

impl Default for ErrorFields {
    fn default() -> Self {
        Self { matched: Some(0), event_bytes: 0, last: 0 }
    }
}

impl ErrorFields {
    const NAME: &[u8] = b"error:";

    fn rewrite(&mut self, bytes: &[u8]) -> Result<Bytes, Broken> {
        let mut rewritten = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.event_bytes += 1;
            if let Some(matched) = self.matched {
                if byte == Self::NAME[matched] {
                    let complete = matched + 1 == Self::NAME.len();
                    self.matched = (!complete).then_some(matched + 1);
                    if complete {
                        rewritten.extend_from_slice(b"event:error\ndata:");
                    }
                    continue;
                }
                rewritten.extend_from_slice(&Self::NAME[..matched]);
                let empty_line = byte == b'\r' || (byte == b'\n' && self.last != b'\r');
                if matched == 0 && empty_line {
                    self.event_bytes = 0;
                }
            }
            rewritten.push(byte);
            self.last = byte;
            self.matched = matches!(byte, b'\n' | b'\r').then_some(0);
        }
        if self.event_bytes > MAX_EVENT_BYTES { Err(Broken::TooLong) } else { Ok(rewritten.into()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{super::Prompt, *};
    use crate::pipeline::{compliance::Rules, cost::Usage};

    fn rewritten(chunks: &[&[u8]]) -> Vec<u8> {
        let mut fields = ErrorFields::default();
        chunks.iter().flat_map(|chunk| fields.rewrite(chunk).unwrap()).collect()
    }

    #[test]
    fn only_the_field_error_is_rewritten_wherever_the_chunks_are_cut() {
        let sent = b"error: a\ndata: error: b\r\nerr: c\nerror\n\n:error:\nerror:d\n";
        let expected =
            b"event:error\ndata: a\ndata: error: b\r\nerr: c\nerror\n\n:error:\nevent:error\ndata:d\n";
        for size in 1..=sent.len() {
            let chunks: Vec<_> = sent.chunks(size).collect();
            assert_eq!(rewritten(&chunks), expected, "chunks of {size}");
        }
    }

    #[test]
    fn how_a_body_begins_tells_what_it_is() {
        for (head, plain) in [
            ("", None),
            (" \r\n", None),
            ("\u{feff}", None),
            ("\u{feff}data:", Some(false)),
            (": comment", Some(false)),
            ("\n{", Some(true)),
            ("\u{feff}[", Some(true)),
            ("<html>", Some(false)),
        ] {
            assert_eq!(is_plain(head.as_bytes()), plain, "{head:?}");
        }
        assert_eq!(is_plain(&"\u{feff}".as_bytes()[..2]), None);
    }

    #[test]
    fn an_event_without_end_is_given_up_and_many_events_are_not() {
        let mut fields = ErrorFields::default();
        let event = [&b"data: "[..], &vec![b'x'; 1 << 20], b"\n\n"].concat();
        for _ in 0..40 {
            fields.rewrite(&event).unwrap();
        }
        let endless = vec![b'x'; 1 << 20];
        assert!((0..40).any(|_| fields.rewrite(&endless).is_err()));
    }

    proptest! {
        #[test]
        fn what_has_no_such_field_is_left_as_it_is(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'e'), Just(b'r'), Just(b'o'), any::<u8>()], 0..200),
            size in 1..20usize,
        ) {
            prop_assume!(!bytes.windows(6).any(|window| window == b"error:"));
            // What the last line begins with is held until it is told apart.
            let sent = [&bytes[..], b"\n"].concat();
            let chunks: Vec<_> = sent.chunks(size).collect();
            prop_assert_eq!(rewritten(&chunks), sent);
        }

        #[test]
        fn an_answer_that_is_cut_anywhere_is_not_taken_for_a_whole_one_and_has_its_cost(
            words in prop::collection::vec("[a-zé🦀 ]{1,8}", 1..12),
            (cut, size) in (0.0..1.0f64, 1..40usize),
            crlf in any::<bool>(),
            comments in any::<bool>(),
        ) {
            let sent = stream_of(&words, crlf, comments);
            let text = words.concat();
            let finish = find(&sent, b"finish_reason");
            let cut = (cut * sent.len() as f64) as usize;
            let (result, draft) = read_chunks(sent[..cut].chunks(size));
            if draft.is_complete() {
                prop_assert_eq!(&draft.text, &text);
                prop_assert!(cut > finish, "cut at {}", cut);
            }
            prop_assert!(text.starts_with(&draft.text), "{result:?}");
            // An event is complete with the line break after it.
            if draft.has_text() {
                let (usage, _) = draft.usage(&PROMPT).unwrap();
                prop_assert!(usage.input > 0 && usage.output > 0);
            }
            let (result, draft) = read_chunks(sent.chunks(size));
            prop_assert!(result.is_ok() && draft.is_complete(), "{result:?}");
            prop_assert_eq!(&draft.text, &text);
            prop_assert_eq!(draft.usage(&PROMPT).unwrap(), (Usage { input: 11, output: 7, ..Usage::default() }, false));
        }

        #[test]
        fn events_of_any_shape_in_any_order_neither_panic_nor_lose_what_was_said(
            picks in prop::collection::vec((0..6usize, "[a-z]{1,5}", odd_json()), 1..20),
            size in 1..60usize,
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut sent = Vec::new();
            for (pick, word, odd) in &picks {
                let event = match pick {
                    0 => json!({ "choices": [{ "delta": { "content": word } }] }),
                    1 => json!({ "choices": [{ "delta": { "content": odd }, "finish_reason": odd }] }),
                    2 => json!({ "choices": odd, "usage": odd, "model": odd }),
                    3 => json!({ "choices": [odd], "usage": { "prompt_tokens": odd, "total_tokens": odd } }),
                    4 => json!({ "error": odd, "choices": [{ "delta": odd, "message": { "content": word } }] }),
                    _ => odd.clone(),
                };
                sent.extend_from_slice(format!("data: {event}\n\n").as_bytes());
            }
            let (_, draft) = read_chunks(sent.chunks(size));
            if draft.has_text() {
                let (usage, _) = draft.usage(&PROMPT).unwrap();
                prop_assert!(usage.input > 0 && usage.output > 0, "{usage:?}");
            }
            // And with bytes in the middle that are no events.
            let at = sent.len() / 2;
            let broken = [&sent[..at], &bytes[..], &sent[at..]].concat();
            let _ = read_chunks(broken.chunks(size));
        }
    }

    const PROMPT: Prompt<'static> = Prompt { instructions: None, query: "What is it?" };

    fn odd_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e18..1e18f64).prop_map(Value::from),
            "[a-z0-9]{0,6}".prop_map(Value::from),
            Just(json!("stop")),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                ("(text|content|thinking|code|delta|error)", inner)
                    .prop_map(|(key, value)| json!({ key: value })),
            ]
        })
    }

    /// A whole answer as OpenAI sends it.
    fn stream_of(words: &[String], crlf: bool, comments: bool) -> Vec<u8> {
        let mut events: Vec<_> = words
            .iter()
            .map(|word| json!({ "choices": [{ "delta": { "content": word } }] }).to_string())
            .collect();
        events.push(json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }).to_string());
        events.push(
            json!({ "choices": [], "usage": { "prompt_tokens": 11, "completion_tokens": 7 } }).to_string(),
        );
        events.push("[DONE]".to_owned());
        let end = if crlf { "\r\n" } else { "\n" };
        let comment = if comments { format!(": still there{end}{end}") } else { String::new() };
        let framed: Vec<_> = events.iter().map(|event| format!("{comment}data: {event}{end}{end}")).collect();
        framed.concat().into_bytes()
    }

    fn find(text: &[u8], part: &[u8]) -> usize {
        text.windows(part.len()).position(|window| window == part).unwrap()
    }

    fn read_chunks<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> (Result<(), LlmError>, Draft) {
        let chunks: Vec<_> = chunks.map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let (rules, mut draft) = (Rules::parse("").unwrap(), Draft::default());
        let started = Instant::now();
        let end = started + Duration::from_mins(10);
        let limits = Limits { started, begin: end, end };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut delivery = Delivery::new(&rules, None);
        let result = runtime.block_on(read(stream::iter(chunks), &mut draft, &mut delivery, &limits));
        (result, draft)
    }
}
