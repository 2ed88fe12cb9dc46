//! How much of an answer may be shown while the model still makes it: all but its last words, as many as the longest phrase
//! that blocks has. A phrase is so seen whole before its first word has left, and an answer that is withheld for it has shown
//! nothing of it.
use std::collections::VecDeque;

use unicode_normalization::char::is_combining_mark;

use super::compliance::{Rules, is_invisible, words};

/// A piece of the text between two separators, the first of which is its own.
#[derive(Debug)]
struct Run {
    bytes: usize,
    /// Its words as the rules read them, with a space between.
    words: String,
    count: usize,
}

/// Reads one answer as it grows.
#[derive(Debug)]
pub(super) struct HoldBack<'a> {
    rules: &'a Rules,
    /// Runs that are complete and not shown, oldest first.
    held: VecDeque<Run>,
    words_held: usize,
    /// How much of the answer has been looked at, may be shown, and lies before the run under way.
    scanned: usize,
    released: usize,
    run_start: usize,
    blocked: bool,
}

impl<'a> HoldBack<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            held: VecDeque::new(),
            words_held: 0,
            scanned: 0,
            released: 0,
            run_start: 0,
            blocked: false,
        }
    }

    /// How many bytes of the answer so far may be shown. It may only have grown since the last call.
    pub(super) fn releasable(&mut self, text: &str) -> usize {
        if self.rules.longest_blocking() == 0 {
            return text.len();
        }
        let new = self.scanned;
        self.scanned = text.len();
        for (at, _) in text[new..].char_indices().filter(|(_, c)| separates(*c)) {
            if self.blocked {
                break;
            }
            self.end_run(text, new + at);
        }
        self.released
    }

    fn end_run(&mut self, text: &str, end: usize) {
        let run = &text[self.run_start..end];
        self.run_start = end;
        let words = words(run).trim_matches(' ').to_owned();
        let count = words.split(' ').filter(|word| !word.is_empty()).count();
        self.words_held += count;
        self.held.push_back(Run { bytes: run.len(), words, count });
        if count > 0 && self.rules.first_blocking(&self.words()).is_some() {
            self.blocked = true;
            return;
        }
        // What a later word may complete begins with one of the last complete words, all but one of a longest phrase.
        let kept = self.rules.longest_blocking() - 1;
        while let Some(run) = self.held.pop_front_if(|run| self.words_held - run.count >= kept) {
            self.words_held -= run.count;
            self.released += run.bytes;
        }
    }

    /// The words held, as [`words`] would give them for the text held.
    fn words(&self) -> String {
        let mut all = String::from(" ");
        for run in self.held.iter().filter(|run| run.count > 0) {
            all.extend([&run.words, " "]);
        }
        all
    }
}

/// Whether words end before the character, and what follows cannot change that: it joins nothing before it.
fn separates(c: char) -> bool {
    !(c.is_alphanumeric() || is_combining_mark(c) || is_invisible(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::{UnicodeNormalization as _, char::canonical_combining_class};

    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            "[[rule]]\nid = \"a\"\naction = \"block\"\nphrases = [\"ab\", \"b a b\", \"é\", \"c d e f\"]\n\
             [[rule]]\nid = \"b\"\naction = \"flag\"\nphrases = [\"a a a a a a a\"]\n",
        )
        .unwrap()
    }

    /// What is shown of a text that arrives in these pieces, before the last check.
    fn shown<'t>(rules: &Rules, text: &'t str, pieces: impl IntoIterator<Item = usize>) -> &'t str {
        let mut hold_back = HoldBack::new(rules);
        let (mut end, mut shown) = (0, 0);
        for piece in pieces {
            end = text.ceil_char_boundary((end + piece).min(text.len()));
            let now = hold_back.releasable(&text[..end]);
            assert!(now >= shown, "shown is shown");
            shown = now;
        }
        &text[..shown]
    }

    #[test]
    fn a_text_is_shown_but_for_the_words_that_a_phrase_may_begin_with() {
        let rules = rules();
        for (text, expected) in [
            ("one", ""),
            ("one two three four five", "one"),
            ("one two three four. Five", "one"),
            ("one two three four, five six", "one two"),
            ("well, well, well; so ab and more words follow here", "well,"),
            ("x c d e fine, and more", "x c d"),
            ("Aｂ", ""),
        ] {
            let pieces = std::iter::repeat_n(1, text.len());
            assert_eq!(shown(&rules, text, pieces), expected, "{text}");
            assert_eq!(shown(&rules, text, [text.len()]), expected, "{text}");
        }
        assert_eq!(shown(&Rules::parse("").unwrap(), "ab", [2]), "ab");
    }

    #[test]
    fn no_separator_joins_what_is_before_it() {
        let mut joining: Vec<char> = ('\u{1161}'..='\u{11c2}').collect();
        for c in '\0'..=char::MAX {
            // What is composed of more than two is composed of a composed one and the last.
            let parts: Vec<_> = c.to_string().nfd().collect();
            joining.extend(parts[1..].last());
        }
        joining.sort_unstable();
        for c in ('\0'..=char::MAX).filter(|c| separates(*c)) {
            let first = c.to_string().nfkd().next().unwrap();
            assert!(joining.binary_search(&first).is_err(), "{c:?} joins what is before it");
            assert_eq!(canonical_combining_class(first), 0, "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_what_blocks_is_shown_and_the_rest_is_all_there_is(
            text in "([abcdefé =<…ﬁ.,\u{301}\u{338}\u{ad}℀㏂，。]|ab|b a b|c d e f){0,40}",
            pieces in prop::collection::vec(1..9usize, 0..200),
        ) {
            let rules = rules();
            let shown = shown(&rules, &text, pieces);
            let (all, of_shown) = (words(&text), words(shown));
            // In words, what is shown ends before the first phrase that blocks begins.
            let first = rules.first_blocking(&all).unwrap_or(all.len());
            prop_assert!(of_shown.len() <= first + 1, "{text:?}: {shown:?}");
            prop_assert!(all.starts_with(of_shown.trim_end()), "{text:?}: {shown:?}");
        }
    }
}
