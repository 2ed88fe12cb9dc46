//! The agent's surroundings: a model provider that takes no time, and a collector of spans that can fail in every way
//! a collector can.
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::http::{Connection, response};

/// How often a server looks whether its mode has changed.
const POLL: Duration = Duration::from_millis(20);
/// How long a slow collector takes: less than the agent waits for it.
const SLOW: Duration = Duration::from_secs(1);

/// An answer of 11 input and 7 output tokens.
const ANSWER: &str = "data: {\"model\":\"sim-small\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Look at the \"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"cache hit rate first.\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\n\
    data: [DONE]\n\n";

/// Starts a provider that answers every question at once; returns its base URL.
pub fn provider() -> io::Result<String> {
    Ok(format!("http://{}/v1", constant(&response("200 OK", "text/event-stream", ANSWER), Duration::ZERO)?))
}

/// Starts a server that gives every request this response, after this time; returns its address.
pub fn constant(response: &[u8], after: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let response: Arc<[u8]> = response.into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let response = response.clone();
            thread::spawn(move || -> io::Result<()> {
                let mut connection = Connection::of(stream)?;
                while connection.receive()?.is_some() {
                    if !after.is_zero() {
                        thread::sleep(after);
                    }
                    connection.send(&response)?;
                }
                Ok(())
            });
        }
    });
    Ok(address)
}

/// How a collector is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It takes what it gets.
    #[default]
    Up,
    /// It takes it, but slowly.
    Slow,
    /// It says that it cannot.
    Refusing,
    /// It takes connections and never says anything.
    Hanging,
    /// Nobody listens.
    Gone,
}

impl Health {
    /// All of them, in the order in which a collector that flaps goes through them.
    pub const ALL: [Self; 5] = [Self::Up, Self::Hanging, Self::Slow, Self::Refusing, Self::Gone];
}

/// A collector of spans.
#[derive(Clone, Debug)]
pub struct Collector {
    address: SocketAddr,
    health: Arc<Mutex<Health>>,
    spans: Arc<AtomicU64>,
}

impl Collector {
    /// Starts one that is well.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let collector =
            Self { address: listener.local_addr()?, health: Arc::default(), spans: Arc::default() };
        let accepting = collector.clone();
        thread::spawn(move || accepting.accept(listener));
        Ok(collector)
    }

    /// The base URL for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes it well or ill.
    pub fn set(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Spans it has taken.
    pub fn spans(&self) -> u64 {
        self.spans.load(Ordering::SeqCst)
    }

    fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, listener: TcpListener) {
        let mut listening = Some(listener);
        loop {
            thread::sleep(POLL);
            if self.health() == Health::Gone {
                listening = None;
            } else if listening.is_none() {
                listening = TcpListener::bind(self.address).ok();
            }
            let Some(listener) = &listening else { continue };
            let _ = listener.set_nonblocking(true);
            while let Ok((stream, _)) = listener.accept() {
                let collector = self.clone();
                thread::spawn(move || {
                    let _ = stream.set_nonblocking(false);
                    let _ = collector.serve(Connection::of(stream)?);
                    Ok::<(), io::Error>(())
                });
            }
        }
    }

    fn serve(&self, mut connection: Connection) -> io::Result<()> {
        while let Some(batch) = connection.receive()? {
            if self.health() == Health::Hanging {
                while self.health() == Health::Hanging {
                    thread::sleep(POLL);
                }
                // The agent has given it up, and counts it as lost.
                return Ok(());
            }
            match self.health() {
                Health::Up => {}
                Health::Slow => thread::sleep(SLOW),
                Health::Refusing => {
                    connection.send(&response("503 Service Unavailable", "text/plain", "not now"))?;
                    continue;
                }
                Health::Hanging | Health::Gone => return Ok(()),
            }
            let batch = ExportTraceServiceRequest::decode(&*batch.body).map_err(io::Error::other)?;
            let scopes = batch.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
            self.spans.fetch_add(spans as u64, Ordering::SeqCst);
            connection.send(&response("200 OK", "application/x-protobuf", ""))?;
        }
        Ok(())
    }
}
