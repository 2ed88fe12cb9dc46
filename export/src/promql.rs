//! The names in a PromQL expression: which of them are metrics, which are labels, and which only look like one.

use std::ops::Range;

use scale_durations::tokens::{Token, tokens};

use crate::{
    edit::{Edit, View},
    names::Names,
    prose,
};

/// A name in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it stands, without quotes.
    pub range: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A metric, with the labels that whoever asks for it needs: those it is selected and summed by.
    Metric {
        /// The labels.
        needs: Vec<String>,
    },
    /// A label.
    Label,
    /// A value of the label `job`, one of several where a regular expression lists them.
    Job,
    /// A label that the expression makes itself, with `label_replace` and its like: what it asks for need not have it.
    Made,
    /// A comment.
    Comment,
}

/// What an opening bracket has begun.
enum Frame {
    /// `{…}`: the selector whose metric is at this place among those found.
    Selector { metric: Option<usize>, label: String },
    /// `by (…)` and its like. The labels that are kept are those of what follows.
    Labels { kept: bool, listed: Vec<String> },
    /// `name(…)`, or brackets alone, at its argument; all within is summed by these labels.
    Call { name: String, argument: usize, by: Vec<String>, first: usize },
    /// `[…]`.
    Range,
}

/// The names in an expression. What is no PromQL has none, or wrong ones, but never fails.
pub fn names(expr: &str) -> Vec<Found> {
    Reader::of(expr).read()
}

/// The changes that give an expression other names.
pub fn edits(expr: &str, names: &Names) -> Vec<Edit> {
    let mut edits = Vec::new();
    for Found { range, kind } in self::names(expr) {
        let name = &expr[range.clone()];
        let new = match kind {
            Kind::Metric { .. } => names.metric(name),
            Kind::Label | Kind::Made => names.label(name),
            Kind::Job => names.job(name),
            Kind::Comment => {
                edits.extend(prose::edits(name, names).into_iter().map(|edit| edit.moved(range.start)));
                None
            }
        };
        edits.extend(new.map(|new| Edit::new(range, new)));
    }
    edits
}

struct Reader<'e> {
    /// Each token that is no space, and where it begins.
    tokens: Vec<(usize, Token<'e>)>,
    frames: Vec<Frame>,
    found: Vec<Found>,
    /// The aggregation that a `by (…)` or `without (…)` follows, until the bracket of its arguments.
    aggregation: &'e str,
    /// The labels of a `by (…)` that the next bracket is summed by.
    pending: Vec<String>,
    /// The metrics of the bracket that was closed just now: `sum(…) by (…)`.
    closed: Range<usize>,
}

impl<'e> Reader<'e> {
    fn of(expr: &'e str) -> Self {
        let mut at = 0;
        let placed = tokens(expr).map(|token| {
            let start = at;
            at += token.text().len();
            (start, token)
        });
        let tokens = placed.filter(|(_, token)| !matches!(token, Token::Space(_))).collect();
        let (frames, found, pending) = (Vec::new(), Vec::new(), Vec::new());
        Self { tokens, frames, found, aggregation: "", pending, closed: 0..0 }
    }

    fn read(mut self) -> Vec<Found> {
        for at in 0..self.tokens.len() {
            let (start, token) = self.tokens[at];
            match token {
                Token::Name(name) => self.name(at, start, name),
                Token::Text(text) => self.text(at, start, text),
                Token::Sign(sign) => self.sign(at, sign),
                Token::Comment(text) => self.push(start..start + text.len(), Kind::Comment),
                Token::Number(_) | Token::Variable(_) | Token::Space(_) => {}
            }
        }
        self.found
    }

    fn push(&mut self, range: Range<usize>, kind: Kind) {
        self.found.push(Found { range, kind });
    }

    /// The sign beside a token, ahead (1) or behind (-1).
    fn beside(&self, at: usize, step: isize) -> &'e str {
        match at.checked_add_signed(step).and_then(|at| self.tokens.get(at)) {
            Some((_, Token::Sign(sign))) => sign,
            _ => "",
        }
    }

    fn name(&mut self, at: usize, start: usize, name: &'e str) {
        let range = start..start + name.len();
        let after = self.beside(at, 1);
        let is_aggregation = self.is_aggregation(at);
        if is_aggregation {
            self.aggregation = name;
        }
        // What a template's printf fills in: `{tenant_id=%q}`.
        let is_filled_in = self.beside(at, -1) == "%";
        match self.frames.last_mut() {
            Some(Frame::Selector { .. }) if is_filled_in => {}
            Some(Frame::Selector { metric, label }) => {
                name.clone_into(label);
                let metric = *metric;
                self.need(metric, name);
                self.push(range, Kind::Label);
            }
            Some(Frame::Labels { listed, .. }) => {
                listed.push(name.to_owned());
                self.push(range, Kind::Label);
            }
            // Grafana's own: the values of a label, of those of a metric.
            Some(Frame::Call { name: call, argument, .. })
                if call == "label_values" && (*argument > 0 || after == ")") =>
            {
                let metric = (*argument > 0).then(|| self.found.len().checked_sub(1)).flatten();
                self.need(metric, name);
                self.push(range, Kind::Label);
            }
            Some(Frame::Range) => {}
            // A function, or an operator: `sum by (…) (…)`.
            _ if after == "(" || is_word(name) || is_aggregation => {}
            _ => {
                let needs = self.frames.iter().filter_map(|frame| match frame {
                    Frame::Call { by, .. } => Some(by),
                    _ => None,
                });
                let needs = needs.flatten().cloned().collect();
                self.push(range, Kind::Metric { needs });
            }
        }
    }

    fn is_aggregation(&self, at: usize) -> bool {
        matches!(self.tokens.get(at + 1), Some((_, Token::Name(next))) if matches!(*next, "by" | "without"))
    }

    fn need(&mut self, metric: Option<usize>, label: &str) {
        if label == "__name__" {
            return;
        }
        if let Some(Found { kind: Kind::Metric { needs }, .. }) = metric.and_then(|at| self.found.get_mut(at))
        {
            needs.push(label.to_owned());
        }
    }

    fn text(&mut self, at: usize, start: usize, text: &str) {
        let view = View::of_quoted(text);
        let inside = start + 1..(start + text.len() - 1).max(start + 1);
        match self.frames.last() {
            Some(Frame::Selector { metric, label }) => {
                let (metric, operator) = (*metric, self.beside(at, -1));
                let is_value = matches!(operator, "=" | "~");
                let is_pattern = operator == "~";
                if !is_value && matches!(self.beside(at, 1), "=" | "!") {
                    // A label whose name needs quotes.
                    let name = view.text;
                    self.frames.pop();
                    self.need(metric, &name);
                    self.frames.push(Frame::Selector { metric, label: name });
                    self.push(inside, Kind::Label);
                } else if !is_value {
                    self.push(inside, Kind::Metric { needs: Vec::new() });
                } else if label == "__name__" || label == "job" {
                    let kind = if label == "job" { Kind::Job } else { Kind::Metric { needs: Vec::new() } };
                    let mut at = inside.start;
                    for name in if is_pattern { view.text.split('|').collect() } else { vec![&*view.text] } {
                        self.push(at..at + name.len(), kind.clone());
                        at += name.len() + 1;
                    }
                }
            }
            Some(Frame::Call { name, argument, .. }) => {
                let kind = match (&**name, argument) {
                    ("label_replace" | "label_join", 1) | ("count_values", 0) => Some(Kind::Made),
                    ("label_replace", 3)
                    | ("label_join", 3..)
                    | ("sort_by_label" | "sort_by_label_desc", 1..) => Some(Kind::Label),
                    _ => None,
                };
                if let Some(kind) = kind.filter(|_| !inside.is_empty()) {
                    self.push(inside, kind);
                }
            }
            _ => {}
        }
    }

    fn sign(&mut self, at: usize, sign: &str) {
        let before = at.checked_sub(1).map(|before| self.tokens[before].1);
        match sign {
            "{" => {
                let metric =
                    self.found.len().checked_sub(1).filter(|_| matches!(before, Some(Token::Name(_))));
                let metric = metric.filter(|at| matches!(self.found[*at].kind, Kind::Metric { .. }));
                self.frames.push(Frame::Selector { metric, label: String::new() });
            }
            "[" => self.frames.push(Frame::Range),
            "(" => {
                let name = match before {
                    Some(Token::Name(name)) => name,
                    Some(Token::Sign(")")) => std::mem::take(&mut self.aggregation),
                    _ => "",
                };
                let frame = match &*name.to_ascii_lowercase() {
                    "by" => Frame::Labels { kept: true, listed: Vec::new() },
                    "without" | "on" | "ignoring" | "group_left" | "group_right" => {
                        Frame::Labels { kept: false, listed: Vec::new() }
                    }
                    name => {
                        let by = std::mem::take(&mut self.pending);
                        Frame::Call { name: name.to_owned(), argument: 0, by, first: self.found.len() }
                    }
                };
                self.frames.push(frame);
            }
            "," => {
                if let Some(Frame::Call { argument, .. }) = self.frames.last_mut() {
                    *argument += 1;
                }
            }
            ")" | "}" | "]" => match self.frames.pop() {
                Some(Frame::Call { first, .. }) => self.closed = first..self.found.len(),
                Some(Frame::Labels { kept: true, listed }) => self.summed_by(at, listed),
                _ => {}
            },
            _ => {}
        }
    }

    /// `by (…)` is over: what follows in brackets is summed by it, or what stood in brackets before.
    fn summed_by(&mut self, at: usize, listed: Vec<String>) {
        if self.beside(at, 1) == "(" {
            self.pending = listed;
            return;
        }
        for found in &mut self.found[self.closed.clone()] {
            if let Kind::Metric { needs } = &mut found.kind {
                needs.extend(listed.iter().cloned());
            }
        }
    }
}

/// Words of the language that no bracket follows.
fn is_word(name: &str) -> bool {
    const WORDS: [&str; 15] = [
        "and",
        "or",
        "unless",
        "bool",
        "offset",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "inf",
        "nan",
        "atan2",
        "start",
    ];
    WORDS.contains(&&*name.to_ascii_lowercase())
}

#[cfg(test)]
#[path = "promql_tests.rs"]
mod tests;
