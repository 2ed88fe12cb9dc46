//! The text of answers: what the passages that came with the question say about it, then sentences about running services,
//! picked by the question. A token is a word here.
use std::{borrow::Cow, collections::HashSet};

/// What is said. The order makes sense from any start.
const SENTENCES: [&str; 20] = [
    "Start with the error ratio, because it tells you whether users are affected at all.",
    "Then look at the latency percentiles rather than the mean, since a few slow requests hide well in an average.",
    "A counter that only grows is best read as a rate over a window of at least four scrape intervals.",
    "If the ninety-fifth percentile rises while the median stays flat, look for a slow dependency or a lock.",
    "Compare the time to the first token with the total duration to tell a busy provider from a long answer.",
    "A cache that has fewer of the answers raises both latency and cost, so it deserves an alert of its own.",
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

/// The longest quotation, in tokens: a table's row can be long.
const MAX_QUOTED: usize = 60;

/// Words of fewer letters say nothing about what a question is about.
const MIN_LETTERS: usize = 3;

/// The line of the passages that has most of the question's words, of several the shortest; none where no line has two.
pub(super) fn quote(passages: &str, question: &str) -> Option<String> {
    let asked = words(question);
    let score = |line: &str| words(line).intersection(&asked).count();
    let lines = passages.lines().map(str::trim).filter(|line| !line.starts_with('['));
    let scored = lines.map(|line| (score(line), line)).filter(|(score, _)| *score > 1);
    let (_, best) = scored.max_by_key(|(score, line)| (*score, std::cmp::Reverse(line.len())))?;
    let tokens = best.split_whitespace().filter(|token| token.chars().any(char::is_alphanumeric));
    Some(tokens.take(MAX_QUOTED).collect::<Vec<_>>().join(" "))
}

/// The words of a text without case and plural, those between underscores each.
fn words(text: &str) -> HashSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= MIN_LETTERS);
    words.map(|word| word.to_lowercase().trim_end_matches('s').to_owned()).collect()
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its tokens, to be joined with spaces.
    pub(super) tokens: Vec<Cow<'static, str>>,
    /// Whether it ends where a sentence ends, rather than where the caller's limit is.
    pub(super) complete: bool,
}

impl Answer {
    /// The quotation and whole sentences, of about `target` tokens, and never more than `limit`. The same `topic` starts
    /// alike.
    pub(super) fn compose(quoted: Option<&str>, topic: u64, target: u32, limit: Option<u32>) -> Self {
        let start = (topic % SENTENCES.len() as u64) as usize;
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let owned = |token: &str| Cow::Owned(token.to_owned());
        let mut tokens: Vec<_> = quoted.into_iter().flat_map(|text| text.split(' ')).map(owned).collect();
        for sentence in SENTENCES.iter().cycle().skip(start) {
            if !tokens.is_empty() && tokens.len() >= (target as usize).min(limit) {
                break;
            }
            tokens.extend(sentence.split(' ').map(Cow::Borrowed));
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
        let answer = Answer::compose(None, 3, 60, None);
        assert!((60..85).contains(&answer.tokens.len()), "{}", answer.tokens.len());
        assert!(answer.text().ends_with('.'));
        assert_eq!(answer.finish_reason(), "stop");

        let limited = Answer::compose(None, 3, 60, Some(5));
        assert_eq!(limited.tokens, answer.tokens[..5]);
        assert_eq!(limited.finish_reason(), "length");
    }

    #[test]
    fn the_line_that_fits_the_question_is_quoted_first() {
        let passages = "Answer with these.\n\n[README.md: Settings]\n| `A_TTL` | `5m` | how long answers are kept |\n\
            | `A_RETRY_BUDGET` | share of the calls that may be retries |\nNo budget here.";
        let quoted = quote(passages, "Which setting says how long an answer is kept?");
        assert_eq!(quoted.as_deref(), Some("`A_TTL` `5m` how long answers are kept"));
        assert_eq!(quote(passages, "What is the weather like?"), None);
        let answer = Answer::compose(quoted.as_deref(), 0, 20, None);
        assert!(
            answer.text().starts_with("`A_TTL` `5m` how long answers are kept Start with"),
            "{}",
            answer.text()
        );
        assert!(answer.text().ends_with('.'));
    }

    #[test]
    fn a_topic_always_starts_alike_and_another_one_differs() {
        assert_eq!(Answer::compose(None, 7, 40, None), Answer::compose(None, 7, 40, None));
        assert_ne!(
            Answer::compose(None, 7, 40, None).tokens[0..8],
            Answer::compose(None, 8, 40, None).tokens[0..8]
        );
    }
}
