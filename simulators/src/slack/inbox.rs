//! What arrived, and what was refused: bounded in number and in bytes, the oldest dropped first.
use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Messages kept.
const MAX_MESSAGES: usize = 1000;

/// Bytes of payloads kept.
const MAX_BYTES: usize = 16 << 20;

/// Refusals kept: the last ones tell what is wrong.
const MAX_REFUSALS: usize = 50;

/// A message that Slack would have accepted.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    #[serde(serialize_with = "rfc3339")]
    pub(super) received_at: SystemTime,
    /// The webhook's path.
    pub(super) webhook: String,
    /// What was sent, unchanged.
    pub(super) payload: Box<RawValue>,
    /// How the page shows it: made once, as the page is asked for often.
    #[serde(skip)]
    pub(super) html: String,
}

/// A message that Slack would have refused.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(serialize_with = "rfc3339")]
    pub(super) received_at: SystemTime,
    pub(super) webhook: String,
    pub(super) status: u16,
    /// What Slack answers.
    pub(super) error: &'static str,
    /// What Slack does not say: where the mistake is.
    pub(super) detail: String,
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    dropped: u64,
    refusals: VecDeque<Arc<Refusal>>,
    refused: u64,
}

/// The inbox at one moment, oldest first.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    pub(super) messages: Vec<Arc<Message>>,
    /// Messages that were accepted and have left the inbox for lack of room.
    pub(super) dropped: u64,
    /// The last of the messages that were refused.
    pub(super) refusals: Vec<Arc<Refusal>>,
    /// All messages that were refused.
    pub(super) refused: u64,
}

impl Message {
    fn bytes(&self) -> usize {
        self.webhook.len() + self.payload.get().len() + self.html.len()
    }
}

impl Inbox {
    /// Keeps a message, and drops the oldest ones that no longer fit.
    pub(super) fn accept(&mut self, message: Message) {
        self.bytes += message.bytes();
        self.messages.push_back(Arc::new(message));
        while self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES && self.messages.len() > 1 {
            if let Some(oldest) = self.messages.pop_front() {
                self.bytes -= oldest.bytes();
                self.dropped += 1;
            }
        }
    }

    /// Keeps a refusal.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused += 1;
        if self.refusals.len() == MAX_REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back(Arc::new(refusal));
    }

    /// Forgets everything, the counts too.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The inbox as it is now; cheap, as messages are shared.
    pub(super) fn listing(&self) -> Listing {
        Listing {
            messages: self.messages.iter().cloned().collect(),
            dropped: self.dropped,
            refusals: self.refusals.iter().cloned().collect(),
            refused: self.refused,
        }
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize, text_bytes: usize) -> Message {
        let payload = format!("{{\"text\":\"{number}\",\"filler\":\"{}\"}}", "x".repeat(text_bytes));
        Message {
            received_at: SystemTime::UNIX_EPOCH,
            webhook: "/services/T00000000/B00000000/simulated".to_owned(),
            payload: RawValue::from_string(payload).unwrap(),
            html: String::new(),
        }
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let mut inbox = Inbox::default();
        for number in 0..MAX_MESSAGES + 3 {
            inbox.accept(message(number, 0));
        }
        let listing = inbox.listing();
        assert_eq!((listing.messages.len(), listing.dropped), (MAX_MESSAGES, 3));
        assert!(listing.messages[0].payload.get().contains("\"3\""));
    }

    #[test]
    fn the_oldest_leave_when_they_take_too_many_bytes() {
        let mut inbox = Inbox::default();
        for number in 0..10 {
            inbox.accept(message(number, MAX_BYTES / 4));
        }
        let listing = inbox.listing();
        assert_eq!((listing.messages.len(), listing.dropped), (3, 7));
        assert!(listing.messages[2].payload.get().contains("\"9\""));
        inbox.clear();
        assert_eq!(inbox.listing().dropped, 0);
        assert_eq!(inbox.bytes, 0);
    }

    #[test]
    fn refusals_are_counted_and_the_last_ones_kept() {
        let mut inbox = Inbox::default();
        for status in 0..60 {
            inbox.refuse(Refusal {
                received_at: SystemTime::UNIX_EPOCH,
                webhook: String::new(),
                status,
                error: "invalid_payload",
                detail: String::new(),
            });
        }
        let listing = inbox.listing();
        assert_eq!(
            (listing.refusals.len(), listing.refused, listing.refusals[0].status),
            (MAX_REFUSALS, 60, 10)
        );
    }
}
