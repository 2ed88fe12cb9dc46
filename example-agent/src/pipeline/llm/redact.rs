//! Excerpts of a provider's texts for logs and spans, without anything that looks like a key.
use std::{fmt, sync::Arc};

/// Longest excerpt, in characters.
const MAX_CHARS: usize = 200;
/// What keys of well-known services begin with.
const KEY_PREFIXES: [&str; 14] = [
    "sk-", "sk_", "pk-", "rk-", "gsk_", "xai-", "hf_", "r8_", "AIza", "AKIA", "ghp_", "pplx-", "nvapi-",
    "eyJ",
];
/// A word at least this long that mixes letters and digits may be a key.
const MIN_KEY_CHARS: usize = 20;
const REDACTED: &str = "[redacted]";

/// The key that the provider is sent. Not shown, not even for debugging.
#[derive(Clone)]
pub(super) struct Secret(pub(super) Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// The start of a text in one line.
pub(super) fn excerpt(text: &str, key: Option<&Secret>) -> String {
    let text = match key {
        Some(Secret(key)) => text.replace(&**key, REDACTED),
        None => text.to_owned(),
    };
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '*' | '.' | '+' | '/' | '=');
    let (mut clean, mut word, mut after_label) = (String::new(), String::new(), false);
    for c in text.trim().chars().chain([' ']) {
        if in_word(c) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            // The word after `Bearer` is a key whatever it looks like.
            clean.push_str(if after_label || is_key(&word) { REDACTED } else { &word });
            after_label = word.eq_ignore_ascii_case("bearer");
            word.clear();
        }
        clean.push(if c.is_control() { ' ' } else { c });
    }
    clean.trim_end().chars().take(MAX_CHARS).collect()
}

fn is_key(word: &str) -> bool {
    // `key=…` and the path of a URL are words of several parts.
    word.split(['=', '/']).any(|part| {
        let mixed =
            part.contains(|c: char| c.is_ascii_digit()) && part.contains(|c: char| c.is_ascii_alphabetic());
        KEY_PREFIXES.iter().any(|prefix| part.starts_with(prefix) && part.len() > prefix.len())
            || (mixed && part.chars().filter(|c| c.is_alphanumeric()).count() >= MIN_KEY_CHARS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_is_not_repeated() {
        for (text, shown) in [
            ("Incorrect API key provided: sk-test-AAAABBBB.", "Incorrect API key provided: [redacted]"),
            ("Incorrect API key provided: sk-proj-****.", "Incorrect API key provided: [redacted]"),
            (
                "bad header Authorization: Bearer abc, sorry",
                "bad header Authorization: Bearer [redacted], sorry",
            ),
            ("see https://host/v1?key=AIzaSyD4 for it", "see https://host/v1?[redacted] for it"),
            ("token 0123456789abcdef0123456789abcdef", "token [redacted]"),
            ("my-own-secret is wrong", "[redacted] is wrong"),
            ("model gpt-4o-mini-2024-07-18 is overloaded", "model gpt-4o-mini-2024-07-18 is overloaded"),
            ("two\nlines\tand\u{7}", "two lines and"),
        ] {
            assert_eq!(excerpt(text, Some(&Secret("my-own-secret".into()))), shown);
        }
        assert_eq!(excerpt(&"é".repeat(500), None).chars().count(), MAX_CHARS);
    }
}
