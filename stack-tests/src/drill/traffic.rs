//! Questions that go on while a fault is there.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::Drill;

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
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Answers may be errors or none: that is what faults are for.
    let ask = |tenant: &str, fresh: bool, pause: u64| {
        while !done.load(Ordering::Relaxed) {
            asked.fetch_add(1, Ordering::Relaxed);
            let _ = if fresh {
                drill.stack.fresh_query(tenant)
            } else {
                drill.stack.query(tenant, "What does a cache hit cost?")
            };
            thread::sleep(Duration::from_millis(pause));
        }
    };
    thread::scope(|scope| {
        match traffic {
            Traffic::None => {}
            Traffic::Fresh { tenant, callers } => {
                for _ in 0..callers {
                    scope.spawn(move || ask(tenant, true, 200));
                }
            }
            Traffic::OneAmongMany { one, many } => {
                scope.spawn(move || ask(one, true, 1500));
                for _ in 0..4 {
                    scope.spawn(move || ask(many, false, 60));
                }
            }
        }
        let result = body();
        done.store(true, Ordering::Relaxed);
        result
    })
}
