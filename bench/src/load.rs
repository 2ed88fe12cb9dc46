//! Questions, as fast as they are answered or at a steady rate.
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::http::{Connection, post};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Who asks: of the tier `standard`, whose requests have the usual lines.
const TENANT: &str = "globex";
/// Questions that are in the cache once each was asked.
const KNOWN_QUESTIONS: u64 = 16;

/// What a request costs the agent besides telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer is in the cache.
    Cached,
    /// The documents are searched, the model is asked (it answers at once), the answer is kept.
    Full,
}

impl Kind {
    fn request(self, number: u64) -> Vec<u8> {
        let query = match self {
            Self::Cached => format!("Why was the checkout slow this morning? ({})", number % KNOWN_QUESTIONS),
            Self::Full => format!("Why was the checkout slow on day {number}?"),
        };
        post("/v1/query", &format!("{{\"tenant_id\":\"{TENANT}\",\"query\":\"{query}\"}}"))
    }
}

/// Asks a share of the questions, and what it must know of all.
#[derive(Debug)]
pub struct Load {
    /// Where to.
    pub api: SocketAddr,
    /// Of this kind.
    pub kind: Kind,
    /// How many at a time.
    pub connections: u64,
}

/// Numbers the questions that ask the model: no two are the same, whoever else asks in this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Load {
    /// Asks so many, each connection the next when it has the answer to the last.
    pub fn as_fast_as_answered(&self, requests: u64) -> Result<Duration, String> {
        let begun = Instant::now();
        self.on_all_connections(|asking| {
            for _ in 0..requests / self.connections {
                asking.ask()?;
            }
            Ok(())
        })?;
        Ok(begun.elapsed())
    }

    /// Asks so many a second for a while. The times run from when a question was due, not from when it could be sent:
    /// a server that stops for a moment is as slow for those who would have come meanwhile.
    pub fn at(&self, rate: f64, time: Duration) -> Result<Vec<Duration>, String> {
        let each = Duration::from_secs_f64(self.connections as f64 / rate);
        let begun = Instant::now();
        self.on_all_connections(|asking| {
            let offset = each.mul_f64(asking.share as f64 / self.connections as f64);
            let mut times = Vec::new();
            for number in 0.. {
                let due = begun + offset + each * number;
                if due >= begun + time {
                    break;
                }
                thread::sleep(due.saturating_duration_since(Instant::now()));
                asking.ask()?;
                times.push(due.elapsed());
            }
            Ok(times)
        })
        .map(|times| times.into_iter().flatten().collect())
    }

    fn on_all_connections<T: Send>(
        &self,
        ask: impl Fn(&mut Asking) -> Result<T, String> + Sync,
    ) -> Result<Vec<T>, String> {
        thread::scope(|scope| {
            let start = |share| {
                let ask = &ask;
                scope.spawn(move || {
                    let connection = Connection::to(self.api, TIMEOUT);
                    let connection =
                        connection.map_err(|e| format!("cannot connect to {}: {e}", self.api))?;
                    ask(&mut Asking { connection, kind: self.kind, share, of: self.connections, asked: 0 })
                })
            };
            let threads: Vec<_> = (0..self.connections).map(start).collect();
            let died = |_| Err("a thread of the load has died".to_owned());
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(died)).collect()
        })
    }
}

struct Asking {
    connection: Connection,
    kind: Kind,
    /// Which of so many it is.
    share: u64,
    of: u64,
    asked: u64,
}

impl Asking {
    fn ask(&mut self) -> Result<(), String> {
        let number = match self.kind {
            // Each known question in its turn, or the calibration would find some of them unknown.
            Kind::Cached => self.share + self.of * self.asked,
            Kind::Full => NEXT.fetch_add(1, Ordering::Relaxed),
        };
        self.asked += 1;
        let request = self.kind.request(number);
        let answer =
            self.connection.ask(&request).map_err(|e| format!("a question was not answered: {e}"))?;
        match answer.status() {
            200 => Ok(()),
            status => {
                let body = String::from_utf8_lossy(&answer.body);
                Err(format!("a question was answered with {status}: {body}"))
            }
        }
    }
}
