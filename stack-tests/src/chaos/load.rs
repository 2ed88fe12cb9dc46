//! The users: requests at a fixed rate, due whether or not the ones before have come back (an open model, so that a stall
//! shows in full), each under a trace of its own, by which everything the stack keeps of it can be found.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use load_test::{
    arrivals::Arrivals,
    client::{Agent, Outcome, traceparent},
    questions::{Mix, TENANTS},
    settings::Pattern,
    target::Error,
};
use tokio::{runtime, task::JoinSet, time};

/// Requests a second: little for the agent, and enough for percentiles of a fault that is over within seconds.
pub const RATE: f64 = 10.0;
/// The share of questions that the cache cannot know, so that the model is asked.
const FRESH: f64 = 0.5;
/// Longer than the agent's own longest time-out: who waits this long has been forgotten.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Seconds since 1970, as Prometheus has them.
pub type Moment = f64;

/// Now.
pub fn now() -> Moment {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A request, and what came of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its trace: 32 hex digits.
    pub trace: String,
    /// When it was due.
    pub due: Moment,
    /// When it ended, if it has.
    pub ended: Option<Moment>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// Which requests belong together: those that were due during one fault, or while all was well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u16);

/// While nothing was broken.
pub const CALM: Epoch = Epoch(0);

#[derive(Debug)]
struct Shared {
    run: u64,
    epoch: AtomicU16,
    done: AtomicBool,
    asked: Mutex<Vec<(Epoch, Asked)>>,
}

impl Shared {
    fn asked(&self) -> std::sync::MutexGuard<'_, Vec<(Epoch, Asked)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By which all traces of an epoch begin: 20 hex digits.
    fn prefix(&self, epoch: Epoch) -> String {
        format!("{:016x}{:04x}", self.run, epoch.0)
    }
}

/// Requests that go on in a thread of their own until this is ended or dropped.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins to ask the agent at `url`.
    ///
    /// # Errors
    /// That this agent must not be asked, or there is no client.
    pub fn begin(url: &str) -> Result<Self, String> {
        let url = url.parse().map_err(|e| format!("{url}: {e}"))?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
        let agent = runtime.block_on(Agent::at(&url, PATIENCE, false)).map_err(|error| match error {
            Error::Refused(message) | Error::Failed(message) => message,
        })?;
        let shared = Arc::new(Shared {
            // Not 0, which no trace may be.
            run: uuid::Uuid::new_v4().as_u64_pair().0 | 1,
            epoch: AtomicU16::new(CALM.0),
            done: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || runtime.block_on(send(&shared, &agent)))
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whose requests those are that are due from here on.
    pub fn enter(&self, epoch: Epoch) {
        // Whoever is due just now is either among those of before or of this one.
        let _asked = self.shared.asked();
        self.shared.epoch.store(epoch.0, Ordering::Relaxed);
    }

    /// By which the traces of an epoch's requests begin.
    pub fn prefix(&self, epoch: Epoch) -> String {
        self.shared.prefix(epoch)
    }

    /// The requests of an epoch so far.
    pub fn asked(&self, epoch: Epoch) -> Vec<Asked> {
        let asked = self.shared.asked();
        asked.iter().filter(|(of, _)| *of == epoch).map(|(_, asked)| asked.clone()).collect()
    }

    /// Waits until each request of an epoch that was left has ended: none waits for longer than its patience.
    pub fn settle(&self, epoch: Epoch) -> Vec<Asked> {
        let latest = Instant::now() + PATIENCE + Duration::from_secs(5);
        loop {
            let asked = self.asked(epoch);
            if asked.iter().all(|asked| asked.ended.is_some()) || Instant::now() > latest {
                return asked;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

async fn send(shared: &Arc<Shared>, agent: &Agent) {
    let (start, began) = (time::Instant::now(), now());
    // Other questions each time: those of the run before are still in the cache.
    let mut mix = Mix::new(shared.run, FRESH);
    let mut in_flight = JoinSet::new();
    for (number, due) in (1_u64..).zip(Arrivals::new(Pattern::Steady, RATE, shared.run)) {
        time::sleep_until(start + due).await;
        if shared.done.load(Ordering::Relaxed) {
            break;
        }
        let Some((tenant, query)) = mix.next() else { break };
        let (place, parent) = {
            let mut asked = shared.asked();
            let epoch = Epoch(shared.epoch.load(Ordering::Relaxed));
            let trace = format!("{}{number:012x}", shared.prefix(epoch));
            let parent = u128::from_str_radix(&trace, 16).map(traceparent).ok();
            asked.push((epoch, Asked { trace, due: began + due.as_secs_f64(), ended: None, outcome: None }));
            (asked.len() - 1, parent)
        };
        let (shared, agent) = (Arc::clone(shared), agent.clone());
        in_flight.spawn(async move {
            let outcome = agent.ask_under(TENANTS[tenant].0, &query, parent).await;
            let ended = began + start.elapsed().as_secs_f64();
            if let Some((_, asked)) = shared.asked().get_mut(place) {
                (asked.ended, asked.outcome) = (Some(ended), Some(outcome));
            }
        });
        while in_flight.try_join_next().is_some() {}
    }
    // Whoever ends the load has settled what he wants to know; the rest need not be waited for.
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
    use serde_json::json;

    use super::*;

    type Seen = Arc<(AtomicUsize, Mutex<Vec<String>>)>;

    /// An agent that answers the first requests and fails the others.
    async fn answer(
        State(seen): State<Seen>,
        headers: HeaderMap,
    ) -> (axum::http::StatusCode, Json<serde_json::Value>) {
        let parent = headers["traceparent"].to_str().unwrap().to_owned();
        seen.1.lock().unwrap().push(parent);
        let status = if seen.0.fetch_add(1, Ordering::Relaxed) < 5 { 200 } else { 502 };
        (status.try_into().unwrap(), Json(json!({"answer": "yes", "cached": false})))
    }

    #[test]
    fn each_request_has_a_trace_of_its_epoch_and_an_end() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Seen::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/query", post(answer)).with_state(Arc::clone(&seen));
        runtime.spawn(async move { axum::serve(listener, router).await });
        let load = Load::begin(&url).unwrap();
        crate::wait::until("requests", crate::wait::SOON, || {
            let asked = seen.0.load(Ordering::Relaxed);
            if asked >= 5 { Ok(()) } else { Err(asked) }
        })
        .unwrap();
        load.enter(Epoch(3));
        // Not of all there were: on a busy machine some may have been sent before it was entered.
        crate::wait::until("requests of the epoch", crate::wait::SOON, || {
            let asked = load.asked(Epoch(3)).len();
            if asked >= 4 { Ok(()) } else { Err(asked) }
        })
        .unwrap();
        load.enter(CALM);
        let (calm, broken) = (load.asked(CALM), load.settle(Epoch(3)));
        assert!(calm.iter().all(|asked| asked.trace.starts_with(&load.prefix(CALM))));
        assert!(
            !broken.is_empty() && broken.iter().all(|asked| asked.trace.starts_with(&load.prefix(Epoch(3))))
        );
        assert!(broken.iter().any(|asked| {
            asked.outcome == Some(Outcome::Failed(load_test::client::Failure::Status(502)))
        }));
        assert!(broken.iter().all(|asked| asked.ended.is_some_and(|ended| ended >= asked.due)));
        let parents = seen.1.lock().unwrap().clone();
        assert!(broken.iter().all(|asked| parents.iter().any(|parent| parent.contains(&asked.trace))));
        assert!(Load::begin("http://192.0.2.1").is_err(), "load must not go anywhere");
    }
}
