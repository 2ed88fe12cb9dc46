//! The way of an answer to a caller who takes it while it is made.
use tokio::sync::mpsc;

use super::{compliance::Rules, hold_back::HoldBack};

/// Sends the text of an answer on as it grows, as far as it may be shown. To a caller who waits for the whole, nothing.
#[derive(Debug)]
pub struct Delivery<'a>(Option<Open<'a>>);

#[derive(Debug)]
struct Open<'a> {
    hold_back: HoldBack<'a>,
    sent: usize,
    deltas: mpsc::Sender<String>,
}

impl<'a> Delivery<'a> {
    /// To whoever receives the deltas, if anybody does, by these rules.
    pub(super) fn new(rules: &'a Rules, deltas: Option<mpsc::Sender<String>>) -> Self {
        Self(deltas.map(|deltas| Open { hold_back: HoldBack::new(rules), sent: 0, deltas }))
    }

    /// Takes the answer so far, and waits until the caller has taken what is new of it.
    pub(super) async fn show(&mut self, text: &str) {
        if let Some(open) = &mut self.0 {
            let end = open.hold_back.releasable(text);
            open.send(text, end).await;
        }
    }

    /// Takes the whole answer, which has passed all checks, and sends what is left of it.
    pub(super) async fn finish(&mut self, text: &str) {
        if let Some(open) = &mut self.0 {
            open.send(text, text.len()).await;
        }
    }
}

impl Open<'_> {
    async fn send(&mut self, text: &str, end: usize) {
        if end > self.sent {
            // Who does not receive any more drops all of this anyway.
            let _ = self.deltas.send(text[self.sent..end].to_owned()).await;
            self.sent = end;
        }
    }
}
