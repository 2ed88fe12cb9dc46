//! Slack's incoming webhooks: what Slack would refuse is refused, what it would show is shown on an inbox page.
mod blocks;
mod inbox;
mod mrkdwn;
mod page;
mod payload;
mod rate;
mod render;
mod webhook;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::{any, get},
};

use crate::settings;
use inbox::{Inbox, Listing};
use rate::Limiter;

/// The longest body that is read, in bytes. Alertmanager's are a few thousand long.
const MAX_BODY: usize = 256 << 10;

/// What the handlers share.
struct Slack {
    token: Option<String>,
    limiter: Mutex<Limiter>,
    inbox: Mutex<Inbox>,
}

impl Slack {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // No change to the inbox can be left half-made.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Webhooks, inbox page and JSON.
pub fn router(settings: &settings::Slack) -> Router {
    let slack = Slack {
        token: settings.token.clone(),
        limiter: Mutex::new(Limiter::new(settings.rate, settings.burst, Instant::now())),
        inbox: Mutex::new(Inbox::default()),
    };
    Router::new()
        .route("/services/{*webhook}", any(webhook::receive))
        .route("/", get(page::show))
        .route("/messages", get(page::show_messages))
        .route("/inbox.css", get(page::style))
        .route("/inbox.js", get(page::script))
        .route("/api/messages", get(list).delete(clear))
        .route("/healthz", get(|| async { "ok" }))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(slack))
}

async fn list(State(slack): State<Arc<Slack>>) -> Json<Listing> {
    Json(slack.inbox().listing())
}

async fn clear(State(slack): State<Arc<Slack>>) -> StatusCode {
    slack.inbox().clear();
    StatusCode::NO_CONTENT
}
