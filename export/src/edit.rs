//! Changes to a text that is kept as it is otherwise: its layout, its comments, its quotes.

use std::ops::Range;

/// One change: what stands at `range` gives way to `new`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edit {
    /// Where, in bytes.
    pub start: usize,
    /// Up to where.
    pub end: usize,
    /// What is to stand there. A name, so it needs no quotes and no escapes in any of the languages here.
    pub new: String,
}

impl Edit {
    /// What stands at `range` gives way to `new`.
    pub fn new(range: Range<usize>, new: impl Into<String>) -> Self {
        Self { start: range.start, end: range.end, new: new.into() }
    }

    /// The same change in a text in which this one begins at `offset`.
    #[must_use]
    pub fn moved(mut self, offset: usize) -> Self {
        self.start += offset;
        self.end += offset;
        self
    }
}

/// The text with the changes made. What is there twice is made once.
pub fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort();
    edits.dedup();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(&text[at..edit.start]);
        out.push_str(&edit.new);
        at = edit.end;
    }
    out.push_str(&text[at..]);
    out
}

/// What an encoded text means, and where in it each piece of the meaning stands.
pub struct View {
    /// The meaning.
    pub text: String,
    /// For each of its bytes the place in the encoded text; the last is that text's end.
    places: Vec<usize>,
}

impl View {
    fn new() -> Self {
        Self { text: String::new(), places: Vec::new() }
    }

    fn push(&mut self, c: char, place: usize) {
        self.text.push(c);
        self.places.resize(self.text.len(), place);
    }

    fn ended(mut self, place: usize) -> Self {
        self.places.push(place);
        self
    }

    /// A scalar of YAML or JSON, or a string of Go, as it is written: in single quotes, in double quotes, in backquotes,
    /// or in none.
    pub fn of_quoted(source: &str) -> Self {
        let Some(quote @ ('\'' | '"' | '`')) = source.chars().next() else { return Self::of_plain(source) };
        let mut view = Self::new();
        let end = if source.len() > 1 && source.ends_with(quote) { source.len() - 1 } else { source.len() };
        let mut chars = source[..end].char_indices().skip(1).peekable();
        while let Some((place, c)) = chars.next() {
            match (quote, c) {
                ('\'', '\'') => drop(chars.next()),
                ('"', '\\') => {
                    let escape = chars.next().map_or('\\', |(_, escape)| escape);
                    let digits = match escape {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    let number: String = (0..digits).filter_map(|_| Some(chars.next()?.1)).collect();
                    let meant = match escape {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'x' | 'u' | 'U' => u32::from_str_radix(&number, 16)
                            .ok()
                            .and_then(char::from_u32)
                            .unwrap_or(char::REPLACEMENT_CHARACTER),
                        other => other,
                    };
                    view.push(meant, place);
                    continue;
                }
                _ => {}
            }
            view.push(c, place);
        }
        view.ended(end)
    }

    /// A text that is what it says.
    pub fn of_plain(source: &str) -> Self {
        Self { text: source.to_owned(), places: (0..=source.len()).collect() }
    }

    /// A part of an address, in which `%20` is a space.
    pub fn of_url(source: &str) -> Self {
        let mut view = Self::new();
        let mut chars = source.char_indices();
        while let Some((place, c)) = chars.next() {
            let code = source.get(place + 1..place + 3).filter(|_| c == '%');
            match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
                // Names are ASCII: what a byte of another letter becomes here does not matter, for it is never changed.
                Some(byte) => {
                    view.push(char::from(byte), place);
                    chars.nth(1);
                }
                None => view.push(c, place),
            }
        }
        view.ended(source.len())
    }

    /// Changes of the meaning as changes of the encoded text.
    pub fn edits(&self, edits: Vec<Edit>) -> Vec<Edit> {
        let place = |at: usize| self.places[at];
        edits.into_iter().map(|edit| Edit::new(place(edit.start)..place(edit.end), edit.new)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes every `name` another one.
    fn renamed(source: &str, view: impl Fn(&str) -> View) -> String {
        let seen = view(source);
        let found = seen.text.match_indices("name").map(|(at, name)| Edit::new(at..at + name.len(), "other"));
        apply(source, seen.edits(found.collect()))
    }

    #[test]
    fn what_is_not_changed_stays_as_it_was_written() {
        for (source, wanted) in [
            (r#""a \"name\" b""#, r#""a \"other\" b""#),
            (r#""\u003cname\n""#, r#""\u003cother\n""#),
            ("'it''s name'", "'it''s other'"),
            ("`\\name`", "`\\other`"),
            ("plain: name", "plain: other"),
            ("\"é name", "\"é other"),
        ] {
            assert_eq!(renamed(source, View::of_quoted), wanted);
        }
        assert_eq!(renamed("a%7B%20name%3D%22%C3%A9name", View::of_url), "a%7B%20other%3D%22%C3%A9other");
        assert_eq!(renamed("100%name", View::of_url), "100%other");
    }

    #[test]
    fn the_meaning_is_what_the_quotes_say() {
        assert_eq!(View::of_quoted(r#""a\"\\\n\u0041""#).text, "a\"\\\nA");
        assert_eq!(View::of_quoted("'it''s'").text, "it's");
        assert_eq!(View::of_url("a%20b%22").text, "a b\"");
    }

    #[test]
    fn the_same_change_twice_is_made_once() {
        let edits = vec![Edit::new(2..3, "xy"), Edit::new(0..1, "z"), Edit::new(2..3, "xy")];
        assert_eq!(apply("abc", edits), "zbxy");
    }
}
