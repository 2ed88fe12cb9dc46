//! The text of answers: sentences about running services, picked by the question. A token is a word here.

/// What is said. The order makes sense from any start.
const SENTENCES: [&str; 20] = [
    "Start with the error ratio, because it tells you whether users are affected at all.",
    "Then look at the latency percentiles rather than the mean, since a few slow requests hide well in an average.",
    "A counter that only grows is best read as a rate over a window of at least four scrape intervals.",
    "If the ninety-fifth percentile rises while the median stays flat, look for a slow dependency or a lock.",
    "Compare the time to the first token with the total duration to tell a busy provider from a long answer.",
    "A falling cache hit rate raises both latency and cost, so it deserves an alert of its own.",
    "Label values must come from a bounded set, or the number of series grows without end.",
    "Follow one trace from the entry span to the slowest child before you form an opinion.",
    "The log lines of that request carry the same trace id, so one search brings them together.",
    "Exemplars lead from a point on a latency graph straight to a trace that was that slow.",
    "Page people only for what needs them now, and send everything else to a channel.",
    "An alert should say what is wrong, how bad it is, and where the runbook is.",
    "Use a longer window for a slow burn of the error budget, and a short one for an outage.",
    "When a provider answers with too many requests, wait as long as it asks, with some jitter.",
    "Tokens times list price gives the cost of a call, and the sum by tenant shows who spends it.",
    "A sudden jump in output tokens usually means a prompt that asks for more than it should.",
    "Saturation shows first in queues and open connections, well before errors appear.",
    "After a deployment, compare the same hour of the day before, not the minute before.",
    "Keep dashboards few, and let each answer one question from the top to the bottom.",
    "Write down what you saw and when, because the review afterwards depends on it.",
];

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its tokens, to be joined with spaces.
    pub(super) tokens: Vec<&'static str>,
    /// Whether it ends where a sentence ends, rather than where the caller's limit is.
    pub(super) complete: bool,
}

impl Answer {
    /// Whole sentences of about `target` tokens, and never more than `limit`. The same `topic` starts alike.
    pub(super) fn compose(topic: u64, target: u32, limit: Option<u32>) -> Self {
        let start = (topic % SENTENCES.len() as u64) as usize;
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let mut tokens = Vec::new();
        for sentence in SENTENCES.iter().cycle().skip(start) {
            tokens.extend(sentence.split(' '));
            if tokens.len() >= (target as usize).min(limit) {
                break;
            }
        }
        let complete = tokens.len() <= limit;
        tokens.truncate(limit);
        Self { tokens, complete }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.tokens.join(" ")
    }

    /// Why it ended, in OpenAI's words.
    pub(super) fn finish_reason(&self) -> &'static str {
        if self.complete { "stop" } else { "length" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_with_a_sentence_unless_the_caller_limits_them() {
        let answer = Answer::compose(3, 60, None);
        assert!((60..85).contains(&answer.tokens.len()), "{}", answer.tokens.len());
        assert!(answer.text().ends_with('.'));
        assert_eq!(answer.finish_reason(), "stop");

        let limited = Answer::compose(3, 60, Some(5));
        assert_eq!(limited.tokens, answer.tokens[..5]);
        assert_eq!(limited.finish_reason(), "length");
    }

    #[test]
    fn a_topic_always_starts_alike_and_another_one_differs() {
        assert_eq!(Answer::compose(7, 40, None), Answer::compose(7, 40, None));
        assert_ne!(Answer::compose(7, 40, None).tokens[0..8], Answer::compose(8, 40, None).tokens[0..8]);
    }
}
