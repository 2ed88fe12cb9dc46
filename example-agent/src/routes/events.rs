//! Answers as server-sent events, while the model makes them: `delta` with a piece of the text each, then one `done` or
//! `error`. What fails before the first piece is answered as ever, with its status.
//!
//! All of the work is done when the connection asks for the next event. So a caller that takes nothing holds the provider up
//! too, rather than a queue of ours, and one that leaves ends it.
use std::{convert::Infallible, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{
    observe::{RequestScope, Streamed},
    query::facts,
};
use crate::{App, error::ApiError, lifecycle::Phase, pipeline::Question, tenants::Tenant};

const MEDIA_TYPE: &str = "text/event-stream";
/// Proxies of the kind of nginx gather a response before they send it on, unless told not to.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whether the `accept` header asks for events: it has to name them, and like them better than JSON.
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    let (mut events, mut json) = (0.0_f64, 0.0_f64);
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // What is no number is no wish.
        let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        match media_type.as_str() {
            MEDIA_TYPE => events = events.max(quality),
            "application/json" => json = json.max(quality),
            _ => {}
        }
    }
    events > json
}

/// Answers in events.
pub(super) async fn answer(
    app: Arc<App>,
    scope: Arc<RequestScope>,
    tenant: Arc<Tenant>,
    query: String,
) -> Result<Response, ApiError> {
    // One piece at a time: the next is made when this one has been taken.
    let (deltas, received) = mpsc::channel(1);
    let work = work(app, scope.clone(), tenant, query, deltas).instrument(scope.span());
    let mut answering = Answering { work: Work::UnderWay(Box::pin(work)), received, scope };
    let first = match answering.next().await {
        Some(Event::Failed(error)) => return Err(error),
        event => event,
    };
    let first = stream::iter(first.map(|event| answering.bytes(event)));
    let further = stream::unfold(answering, |mut answering| async {
        let event = answering.next().await?;
        Some((answering.bytes(event), answering))
    });
    let events = first.chain(further).map(Ok::<_, Infallible>);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    let mut response = (headers, Body::from_stream(events)).into_response();
    response.extensions_mut().insert(Streamed);
    Ok(response)
}

async fn work(
    app: Arc<App>,
    scope: Arc<RequestScope>,
    tenant: Arc<Tenant>,
    query: String,
    deltas: mpsc::Sender<String>,
) -> Result<Map<String, Value>, ApiError> {
    let question = Question { tenant: &tenant, query: &query, cost: scope.cost() };
    let answer = AssertUnwindSafe(app.pipeline.answer(&question, Some(deltas))).catch_unwind();
    tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(answer) => Ok(facts(&scope, &answer?)),
            Err(panic) => Err(ApiError::panicked(&*panic)),
        },
        () = app.lifecycle.reached(Phase::Cutting) => Err(ApiError::shutting_down()),
    }
}

enum Event {
    Delta(String),
    Done(Map<String, Value>),
    Failed(ApiError),
}

type Outcome = Result<Map<String, Value>, ApiError>;

enum Work {
    UnderWay(Pin<Box<dyn Future<Output = Outcome> + Send>>),
    Ended(Outcome),
    Reported,
}

/// An answer under way.
struct Answering {
    work: Work,
    received: mpsc::Receiver<String>,
    scope: Arc<RequestScope>,
}

impl Answering {
    async fn next(&mut self) -> Option<Event> {
        if let Work::UnderWay(work) = &mut self.work {
            tokio::select! {
                biased;
                Some(text) = self.received.recv() => return Some(Event::Delta(text)),
                outcome = work => self.work = Work::Ended(outcome),
            }
        }
        // The last piece may have come with the end.
        if let Ok(text) = self.received.try_recv() {
            return Some(Event::Delta(text));
        }
        match std::mem::replace(&mut self.work, Work::Reported) {
            Work::Ended(Ok(facts)) => Some(Event::Done(facts)),
            Work::Ended(Err(error)) => Some(Event::Failed(error)),
            Work::UnderWay(_) | Work::Reported => None,
        }
    }

    /// An event as it is sent. The last one is the end of the request.
    fn bytes(&self, event: Event) -> Bytes {
        let (name, data) = match event {
            Event::Delta(text) => ("delta", json!({ "text": text })),
            Event::Done(facts) => {
                self.scope.end(Ok(()));
                ("done", Value::Object(facts))
            }
            Event::Failed(error) => {
                let body = error.to_json(self.scope.id());
                self.scope.end(Err(error));
                ("error", body)
            }
        };
        // In JSON there are no line breaks but escaped ones.
        format!("event: {name}\ndata: {data}\n\n").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_for_who_names_them_and_likes_them_better_than_json() {
        for (accept, wanted) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream, */*;q=0.1", true),
            ("application/json;q=0.5, text/event-stream;q=0.6", true),
            ("application/json, text/event-stream", false),
            ("text/event-stream;q=0", false),
            ("text/event-stream;q=much", false),
            ("text/*", false),
            ("*/*", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(are_wanted(&headers), wanted, "{accept}");
        }
        assert!(!are_wanted(&HeaderMap::new()));
    }
}
