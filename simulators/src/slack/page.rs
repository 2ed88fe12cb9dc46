//! The inbox page.
use std::sync::Arc;

use axum::{
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{Html, IntoResponse, Response},
};

use super::{
    Slack,
    inbox::{Listing, Refusal},
    mrkdwn::escape,
    render,
};

/// Messages on the page. All of them are at `/api/messages`.
const SHOWN: usize = 100;

/// Refusals on the page.
const REFUSALS_SHOWN: usize = 5;

/// Nothing from elsewhere, nothing inline: what a message contains stays text.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The whole page.
pub(super) async fn show(State(slack): State<Arc<Slack>>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8082");
    let listing = slack.inbox().listing();
    safe(Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Slack simulator</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/inbox.css\">\
         <link rel=\"icon\" href=\"data:,\"><noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\
         <script src=\"/inbox.js\" defer></script></head><body><header class=\"top\"><h1>Slack simulator</h1>\
         <p>What the incoming webhooks of this stack received. <a href=\"/api/messages\">JSON</a></p>\
         <button id=\"clear\" type=\"button\">Clear</button></header><main id=\"messages\">{}</main></body></html>",
        messages(&listing, host)
    )))
}

/// Only the messages, for the page's script.
pub(super) async fn show_messages(State(slack): State<Arc<Slack>>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8082");
    let listing = slack.inbox().listing();
    safe(Html(messages(&listing, host)))
}

/// The page's style sheet.
pub(super) async fn style() -> Response {
    safe(([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("inbox.css")))
}

/// The page's script.
pub(super) async fn script() -> Response {
    safe(([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("inbox.js")))
}

fn safe(content: impl IntoResponse) -> Response {
    let headers: [(HeaderName, HeaderValue); 4] = [
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, content).into_response()
}

fn messages(listing: &Listing, host: &str) -> String {
    let kept = listing.messages.len();
    if kept == 0 {
        return refusals(listing) + &empty(host);
    }
    let shown = kept.min(SHOWN);
    let mut counts = vec![format!("{} received", kept as u64 + listing.dropped)];
    if listing.dropped > 0 {
        counts.push(format!("the oldest {} dropped", listing.dropped));
    }
    if shown < kept {
        counts.push(format!("the newest {shown} shown"));
    }
    let newest = listing.messages.iter().rev().take(SHOWN).map(|message| message.html.as_str());
    format!("{}<p class=\"count\">{}</p>{}", refusals(listing), counts.join(", "), newest.collect::<String>())
}

/// What to do about an inbox with nothing in it.
fn empty(host: &str) -> String {
    let example = format!(
        "curl -H 'Content-Type: application/json' -d '{{\"text\": \"Hello\"}}' \\\n  \
         http://{host}/services/T00000000/B00000000/simulated"
    );
    format!(
        "<div class=\"empty\"><h2>No messages yet</h2><p>An alert that fires arrives here through Alertmanager. \
         To see the way works, send a message yourself:</p><pre>{}</pre></div>",
        escape(&example)
    )
}

fn refusals(listing: &Listing) -> String {
    if listing.refused == 0 {
        return String::new();
    }
    let last = listing.refusals.iter().rev().take(REFUSALS_SHOWN);
    let lines: String = last.map(|refusal| self::refusal(refusal)).collect();
    format!(
        "<section class=\"refusals\"><h2>{} refused, as Slack would have</h2><ul>{lines}</ul></section>",
        listing.refused
    )
}

fn refusal(refusal: &Refusal) -> String {
    let Refusal { received_at, status, error, detail, .. } = refusal;
    format!("<li>{} <code>{status} {error}</code> {}</li>", render::time(*received_at), escape(detail))
}
