//! Questions that go on while a fault is there.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{Drill, pipeline::Pipeline};
use crate::clients::{client, send};

/// What the cache answers, once it has been asked.
pub(super) const KNOWN: &str = "What does a cache hit cost?";

/// Who asks what.
#[derive(Clone, Copy)]
pub(super) enum Traffic {
    /// Nobody but the base traffic.
    None,
    /// New questions, so that each is a call of the model, by this many callers with a pause between.
    Fresh {
        /// The tenant.
        tenant: &'static str,
        /// At the same time.
        callers: usize,
    },
    /// New questions of one tenant, one at a time, among many of another that the cache answers.
    OneAmongMany {
        /// The tenant whose questions are new.
        one: &'static str,
        /// The other.
        many: &'static str,
    },
}

/// Runs `body` with this traffic beside it.
pub(super) fn during<T>(drill: &Drill, traffic: Traffic, body: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let goes_on = || !done.load(Ordering::Relaxed);
    // Answers may be errors or none: that is what faults are for.
    let fresh = |tenant: &str, pause: Duration| {
        let (client, url) = (client(), format!("{}/v1/query", drill.stack.agent));
        while goes_on() {
            let query = format!("What does drill {} say about slow requests?", uuid::Uuid::new_v4());
            let _ = send(client.post(&url).json(&json!({"tenant_id": tenant, "query": query})));
            thread::sleep(pause);
        }
    };
    let cached = |tenant: &str| {
        let question = json!({"tenant_id": tenant, "query": KNOWN});
        let mut pipeline = Pipeline::of(&drill.stack.agent, &question);
        while goes_on() {
            let _ = pipeline.ask(50);
            thread::sleep(Duration::from_millis(250));
        }
    };
    thread::scope(|scope| {
        match traffic {
            Traffic::None => {}
            Traffic::Fresh { tenant, callers } => {
                for _ in 0..callers {
                    scope.spawn(|| fresh(tenant, Duration::from_millis(200)));
                }
            }
            Traffic::OneAmongMany { one, many } => {
                scope.spawn(|| fresh(one, Duration::from_millis(700)));
                scope.spawn(|| cached(many));
            }
        }
        let result = body();
        done.store(true, Ordering::Relaxed);
        result
    })
}
