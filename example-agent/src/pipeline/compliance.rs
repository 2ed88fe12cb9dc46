//! What neither questions nor answers may say: the word lists of a file, all looked for in one pass.
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use serde::Deserialize;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

use crate::{telemetry::steps::StepResult, tenants::one_line};

const MAX_ID_LENGTH: usize = 64;

/// What follows from a rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The question is refused, or the answer withheld.
    Block,
    /// It is counted and logged, and passes.
    Flag,
}

impl Action {
    /// The name in the file, logs and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Flag => "flag",
        }
    }
}

/// Which text is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// What the caller asks.
    Question,
    /// What the model answers.
    Answer,
}

impl Stage {
    /// The name in logs and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Answer => "answer",
        }
    }
}

/// A rule of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Position in the file. Indexes what is kept per rule.
    pub index: usize,
    /// The value of the `rule` label.
    pub id: Arc<str>,
    /// What follows.
    pub action: Action,
}

/// A blocking rule was broken. Says nothing of the text.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the {} breaks the compliance rule {:?}", stage.as_str(), rule.id)]
pub struct Violation {
    /// The first blocking rule in the order of the file.
    pub rule: Arc<Rule>,
    /// By what.
    pub stage: Stage,
}

/// All rules of the file.
#[derive(Debug)]
pub struct Rules {
    all: Vec<Arc<Rule>>,
    phrases: AhoCorasick,
    /// Whose a phrase is.
    rule_of_phrase: Vec<usize>,
    longest_blocking: usize,
}

/// The rules a text breaks, in the order of the file.
#[derive(Debug)]
pub struct Verdict(pub Vec<Arc<Rule>>);

impl Verdict {
    /// The rule for which the text must not pass.
    pub fn blocking(&self) -> Option<&Arc<Rule>> {
        self.0.iter().find(|rule| rule.action == Action::Block)
    }
}

impl StepResult for Verdict {
    fn record(&self, span: &Span) {
        // The one that decides.
        if let Some(rule) = self.blocking().or(self.0.first()) {
            span.set_attribute("compliance.rule", rule.id.to_string());
            span.set_attribute("compliance.action", rule.action.as_str());
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    action: Action,
    phrases: Vec<String>,
}

impl Rules {
    /// Reads the TOML text of a compliance file; without rules everything passes. The error is one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| one_line(&e, text))?;
        let mut rules = Vec::<Arc<Rule>>::with_capacity(file.rule.len());
        let (mut phrases, mut rule_of_phrase, mut longest_blocking) = (Vec::new(), Vec::new(), 0);
        for (index, entry) in file.rule.into_iter().enumerate() {
            let id = entry.id;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if id.is_empty() || id.len() > MAX_ID_LENGTH || !id.chars().all(plain) {
                return Err(format!(
                    "rule id {id:?}: use 1 to {MAX_ID_LENGTH} ASCII letters, digits, '-', '_' or '.'"
                ));
            }
            if rules.iter().any(|rule| *rule.id == id) {
                return Err(format!("rule id {id:?} stands twice in the file"));
            }
            if entry.phrases.is_empty() {
                return Err(format!("rule {id:?} has no phrases: it could never be broken"));
            }
            for phrase in entry.phrases {
                let words = words(&phrase);
                if words.len() == 1 {
                    return Err(format!("rule {id:?}: the phrase {phrase:?} has no letter or digit"));
                }
                if entry.action == Action::Block {
                    longest_blocking = longest_blocking.max(words.split_whitespace().count());
                }
                phrases.push(words);
                rule_of_phrase.push(index);
            }
            rules.push(Arc::new(Rule { index, id: id.into(), action: entry.action }));
        }
        let phrases = AhoCorasick::new(&phrases).map_err(|e| format!("too many phrases: {e}"))?;
        Ok(Self { all: rules, phrases, rule_of_phrase, longest_blocking })
    }

    /// The rules in the order of the file.
    pub fn all(&self) -> &[Arc<Rule>] {
        &self.all
    }

    /// The words of the longest phrase that blocks; 0 without one.
    pub(super) fn longest_blocking(&self) -> usize {
        self.longest_blocking
    }

    /// Where the first phrase that blocks begins, in a text that is in the form of [`words`].
    pub(super) fn first_blocking(&self, words: &str) -> Option<usize> {
        let found = self.phrases.find_overlapping_iter(words);
        let blocking =
            found.filter(|found| self.all[self.rule_of_phrase[found.pattern()]].action == Action::Block);
        blocking.map(|found| found.start()).min()
    }

    /// Which rules the text breaks.
    pub fn check(&self, text: &str) -> Verdict {
        let mut broken = vec![false; self.all.len()];
        // Overlapping: a phrase may hide another's start, and neighbours share the space between them.
        for found in self.phrases.find_overlapping_iter(&words(text)) {
            broken[self.rule_of_phrase[found.pattern().as_usize()]] = true;
        }
        Verdict(self.all.iter().filter(|rule| broken[rule.index]).cloned().collect())
    }
}

/// The words of a text in lower case, a space before and after each, so that what is found are whole words. Letters that
/// only look different to a computer (full width, ligatures, accents as marks of their own) are made the same, and
/// characters nobody sees are left out.
pub(super) fn words(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 2);
    words.push(' ');
    let mut push = |c: char, in_word: bool| {
        if in_word {
            words.push(c);
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    };
    if text.is_ascii() {
        // All of it is as it looks, and that is most questions.
        text.chars().for_each(|c| push(c.to_ascii_lowercase(), c.is_ascii_alphanumeric()));
        push(' ', false);
        return words;
    }
    let visible = text.chars().filter(|c| !is_invisible(*c));
    for c in visible.nfkc().flat_map(char::to_lowercase) {
        push(c, c.is_alphanumeric() || is_combining_mark(c));
    }
    push(' ', false);
    words
}

/// Soft hyphens, zero-width characters and marks of writing direction.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(rules: &Rules, text: &str) -> Vec<String> {
        rules.check(text).0.iter().map(|rule| rule.id.to_string()).collect()
    }

    #[test]
    fn whole_words_are_found_however_they_are_written() {
        let rules = Rules::parse(
            "[[rule]]\nid = \"a\"\naction = \"flag\"\nphrases = [\"café noir\", \"Größe\"]\n\
             [[rule]]\nid = \"b\"\naction = \"block\"\nphrases = [\"noir desir\", \"pump-and-dump\"]\n",
        )
        .unwrap();
        for (text, expected) in [
            ("A CAFÉ, noir!", vec!["a"]),
            ("cafe\u{301}\nnoir", vec!["a"]),
            ("ｃａｆé noir", vec!["a"]),
            ("ca\u{200b}f\u{ad}é noir", vec!["a"]),
            ("GRÖSSE", vec![]),
            ("grÖße", vec!["a"]),
            ("café noir désir", vec!["a"]),
            ("café noir desir", vec!["a", "b"]),
            ("Pump and dump, pump & dump", vec!["b"]),
            ("pump andy dump", vec![]),
            ("café noire", vec![]),
            ("cafés noir", vec![]),
            ("", vec![]),
            ("🦀 !", vec![]),
        ] {
            assert_eq!(broken(&rules, text), expected, "{text:?}");
        }
        assert_eq!(&*rules.check("café noir desir").blocking().unwrap().id, "b");
        assert!(rules.check("café noir").blocking().is_none());
    }

    #[test]
    fn the_built_in_file_is_valid_and_one_without_rules_lets_all_pass() {
        let rules = Rules::parse(include_str!("../../config/compliance.toml")).unwrap();
        assert_eq!(broken(&rules, "Do you have an INSIDER tip?"), ["insider_trading"]);
        assert_eq!(broken(&rules, "-----BEGIN RSA PRIVATE KEY-----"), ["credentials"]);
        assert!(broken(&Rules::parse("").unwrap(), "Do you have an INSIDER tip?").is_empty());
    }

    #[test]
    fn a_bad_file_is_one_line_that_names_the_value() {
        for (text, named) in [
            ("[[rule]]\nid = \"a b\"\naction = \"flag\"\nphrases = [\"x\"]", "\"a b\""),
            ("[[rule]]\nid = \"a\"\naction = \"stop\"\nphrases = [\"x\"]", "line 3: unknown variant `stop`"),
            ("[[rule]]\nid = \"a\"\naction = \"flag\"\nphrases = []", "no phrases"),
            ("[[rule]]\nid = \"a\"\naction = \"flag\"\nphrases = [\"?!\"]", "\"?!\""),
        ] {
            let error = Rules::parse(text).unwrap_err();
            assert!(error.contains(named), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let twice = "[[rule]]\nid = \"a\"\naction = \"flag\"\nphrases = [\"x\"]\n".repeat(2);
        assert!(Rules::parse(&twice).unwrap_err().contains("twice"));
    }
}
