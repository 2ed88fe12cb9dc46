//! What ends a run from outside.
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::target::Error;

/// SIGTERM and SIGINT, once listened for: they no longer end the process by themselves.
#[derive(Debug)]
pub struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// Begins to listen.
    pub fn listen() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(|e| Error::Failed(format!("cannot listen for signals: {e}")));
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// Waits for the next of them; its name.
    pub async fn signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
