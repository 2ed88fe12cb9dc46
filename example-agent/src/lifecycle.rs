//! The way from serving to the end, which everybody can wait for.
use tokio::sync::watch;

/// Where the process is; the order is that of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Taking requests.
    #[default]
    Serving,
    /// Not ready for more; open requests are finished.
    Draining,
    /// Requests that are still open are answered with 503.
    Cutting,
    /// Connections that are still open are closed.
    Closed,
}

/// The current phase.
#[derive(Debug, Default)]
pub struct Lifecycle(watch::Sender<Phase>);

impl Lifecycle {
    /// Whether the process is to end.
    pub fn is_ending(&self) -> bool {
        *self.0.borrow() > Phase::Serving
    }

    /// Whether the phase is reached or passed.
    pub fn has_reached(&self, phase: Phase) -> bool {
        *self.0.borrow() >= phase
    }

    /// Goes on to a later phase.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    /// Waits until the phase is reached or passed.
    pub async fn reached(&self, phase: Phase) {
        // It cannot fail while `self` holds the sender.
        let _ = self.0.subscribe().wait_for(|current| *current >= phase).await;
    }
}
