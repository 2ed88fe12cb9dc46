//! `POST /v1/chat/completions`, plain and streamed.
use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{State, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Simulator,
    answer::Answer,
    dice::{Draw, Fate},
    error::ApiError,
    record::{Record, Usage},
    request::Request,
};

/// Tokens in a chunk of a stream: one timer and one frame for each token would make the simulator the bottleneck.
const TOKENS_PER_CHUNK: usize = 8;

/// Prompts are cached in pieces of so many tokens, as with OpenAI.
const CACHED_TOKENS_STEP: u64 = 128;

/// How long a request hangs whose caller does not give up.
const HANG: Duration = Duration::from_mins(5);

/// OpenAI's name for the header with the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers, or fails as was drawn.
pub(super) async fn create(
    State(simulator): State<Arc<Simulator>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let mut record = Record::new(simulator.tracing.start(&headers));
    let Ok(permit) = Arc::clone(&simulator.in_flight).try_acquire_owned() else {
        return record.refused(ApiError::overloaded()).into_response();
    };
    let request = body.map_err(ApiError::from).and_then(|body| Request::parse(&headers, &body));
    let request = match request {
        Ok(request) => request,
        Err(error) => return record.refused(error).into_response(),
    };
    let draw = simulator.dice.draw(request.model);
    let id = format!("chatcmpl-{:032x}", draw.nonce);
    record.accepted(&id, &request);
    let mut response = respond(Completion::new(id, &request, &draw, record, permit), &request, &draw).await;
    let request_id = HeaderValue::try_from(format!("req_{:032x}", !draw.nonce));
    response.headers_mut().insert(REQUEST_ID, request_id.expect("hexadecimal digits"));
    response
}

async fn respond(mut completion: Completion, request: &Request, draw: &Draw) -> Response {
    match draw.fate {
        Fate::RateLimited => {
            completion.record.refused(ApiError::rate_limited(request.model.id)).into_response()
        }
        Fate::Error => {
            wait_until(completion.started + draw.first_token).await;
            completion.record.refused(ApiError::server()).into_response()
        }
        Fate::Hang => {
            tokio::time::sleep(HANG).await;
            completion.record.refused(ApiError::server()).into_response()
        }
        Fate::Nonsense => {
            wait_until(completion.started + draw.first_token).await;
            completion.record.failed("nonsense");
            nonsense(draw.nonce)
        }
        Fate::Answered | Fate::Cut if request.stream => {
            wait_until(completion.started + draw.first_token).await;
            completion.record.first_token();
            completion.stream(request.include_usage, draw.fate == Fate::Cut)
        }
        Fate::Answered | Fate::Cut => {
            wait_until(completion.due(completion.answer.tokens.len())).await;
            completion.plain(draw.fate == Fate::Cut)
        }
    }
}

/// An answer under way.
struct Completion {
    id: String,
    created: u64,
    model: &'static str,
    answer: Answer,
    usage: Usage,
    started: Instant,
    first_token: Duration,
    per_token: Duration,
    record: Record,
    /// Held until the last byte is on its way.
    _permit: OwnedSemaphorePermit,
}

impl Completion {
    fn new(id: String, request: &Request, draw: &Draw, record: Record, permit: OwnedSemaphorePermit) -> Self {
        // One that is wrong does not care for what it was given.
        let quoted = request.quoted.as_deref().filter(|_| !draw.wrong);
        let answer = Answer::compose(quoted, request.topic, draw.output_tokens, request.max_tokens);
        let reported = |tokens: u64| (tokens as f64 * draw.token_factor).round() as u64;
        let cached = (request.prompt_tokens as f64 * request.model.cached_share) as u64;
        let reasoning = u64::from(draw.reasoning_tokens);
        let usage = Usage {
            prompt: reported(request.prompt_tokens),
            completion: reported(answer.tokens.len() as u64 + reasoning),
            cached: reported(cached / CACHED_TOKENS_STEP * CACHED_TOKENS_STEP),
            reasoning: reported(reasoning),
        };
        Self {
            id,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            model: request.model.id,
            answer,
            usage,
            started: Instant::now(),
            first_token: draw.first_token,
            per_token: draw.per_token,
            record,
            _permit: permit,
        }
    }

    /// When that many tokens are there.
    fn due(&self, tokens: usize) -> Instant {
        self.started + self.first_token + self.per_token * u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    fn plain(self, cut: bool) -> Response {
        let body = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": self.answer.text(), "refusal": null},
                "logprobs": null,
                "finish_reason": self.answer.finish_reason(),
            }],
            "usage": self.reported_usage(),
        });
        if cut {
            let body = body.to_string();
            let half = Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]);
            self.record.failed("cut");
            let body = stream::once(async { Ok(half) }).chain(stream::once(async { Err(cut_off().await) }));
            let body = Body::from_stream(body);
            return ([(CONTENT_TYPE, "application/json")], body).into_response();
        }
        self.record.answered(self.usage, self.answer.finish_reason());
        Json(body).into_response()
    }

    fn stream(self, include_usage: bool, cut: bool) -> Response {
        let frames = Frames { completion: self, include_usage, cut, next: 0 };
        let body = Body::from_stream(stream::unfold(Some(frames), |frames| async { frames?.next().await }));
        let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
        (headers, body).into_response()
    }

    fn reported_usage(&self) -> Value {
        let Usage { prompt, completion, cached, reasoning } = self.usage;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt.saturating_add(completion),
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
        })
    }
}

/// The server-sent events of a streamed answer: the role, chunks of text, the end, the usage, `[DONE]`.
struct Frames {
    completion: Completion,
    include_usage: bool,
    cut: bool,
    next: usize,
}

impl Frames {
    /// The next event when it is due, and what follows it; nothing after the last.
    async fn next(mut self) -> Option<(Result<Bytes, io::Error>, Option<Self>)> {
        let completion = &self.completion;
        let chunks = completion.answer.tokens.len().div_ceil(TOKENS_PER_CHUNK);
        let step = self.next;
        self.next += 1;
        if self.cut && step > chunks / 2 {
            self.completion.record.failed("cut");
            return Some((Err(cut_off().await), None));
        }
        let frame = match step {
            0 => self.chunk(&json!({"role": "assistant", "content": "", "refusal": null}), None),
            chunk if chunk <= chunks => {
                let from = (chunk - 1) * TOKENS_PER_CHUNK;
                let to = (from + TOKENS_PER_CHUNK).min(completion.answer.tokens.len());
                wait_until(completion.due(to)).await;
                let text = completion.answer.tokens[from..to].join(" ");
                let space = if from == 0 { "" } else { " " };
                self.chunk(&json!({"content": format!("{space}{text}")}), None)
            }
            end if end == chunks + 1 => self.chunk(&json!({}), Some(completion.answer.finish_reason())),
            usage if usage == chunks + 2 && self.include_usage => {
                let mut event = self.event();
                event["usage"] = completion.reported_usage();
                frame(&event)
            }
            _ => {
                let completion = self.completion;
                completion.record.answered(completion.usage, completion.answer.finish_reason());
                return Some((Ok(Bytes::from_static(b"data: [DONE]\n\n")), None));
            }
        };
        Some((Ok(frame), Some(self)))
    }

    /// An event with no choice in it.
    fn event(&self) -> Value {
        json!({
            "id": self.completion.id,
            "object": "chat.completion.chunk",
            "created": self.completion.created,
            "model": self.completion.model,
            "choices": [],
        })
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Bytes {
        let mut event = self.event();
        event["choices"] =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        if self.include_usage {
            // OpenAI announces the usage to come with a null in every chunk before it.
            event["usage"] = Value::Null;
        }
        frame(&event)
    }
}

fn frame(event: &Value) -> Bytes {
    Bytes::from(format!("data: {event}\n\n"))
}

/// A timer for what is due already would still cost a millisecond, the timer's resolution.
async fn wait_until(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
}

/// Ends the body early, which makes the server close the connection.
async fn cut_off() -> io::Error {
    // Once back in the server it sends what it has; without that, an error at once would throw the first half away.
    tokio::task::yield_now().await;
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut off on purpose")
}

/// 200 with what a proxy, a bug or another protocol might send.
fn nonsense(nonce: u128) -> Response {
    match nonce % 3 {
        0 => (
            [(CONTENT_TYPE, "text/html; charset=utf-8")],
            "<!doctype html><title>Welcome</title><p>It works!",
        )
            .into_response(),
        1 => Json(json!({"status": "ok", "items": []})).into_response(),
        _ => ([(CONTENT_TYPE, "application/json")], "{\"id\": \"chatcmpl-").into_response(),
    }
}
