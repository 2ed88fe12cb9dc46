//! PromQL cut into its tokens, for whoever changes some of them and keeps the rest as it is: layout, comments and all.
//!
//! A parser would serve better, but none that is kept says where in the text a name stands.

/// A piece of an expression. All of them together are the expression again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'e> {
    /// The name of a metric, a label or a function, or a word of the language.
    Name(&'e str),
    /// A number, or a duration.
    Number(&'e str),
    /// A text with its quotes.
    Text(&'e str),
    /// From `#` to the end of the line.
    Comment(&'e str),
    /// What one of Grafana's variables stands for, with what is glued to it: `$tenant`, `${scope}:requests:rate5m`.
    Variable(&'e str),
    /// Spaces and ends of lines.
    Space(&'e str),
    /// Any other character.
    Sign(&'e str),
}

impl<'e> Token<'e> {
    /// As it is written.
    pub fn text(self) -> &'e str {
        match self {
            Self::Name(text)
            | Self::Number(text)
            | Self::Text(text)
            | Self::Comment(text)
            | Self::Variable(text)
            | Self::Space(text)
            | Self::Sign(text) => text,
        }
    }
}

/// The tokens of an expression, whether or not it is one.
pub fn tokens(expr: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = expr;
    // Inside [range:step] a colon separates; elsewhere it is part of a name.
    let mut in_brackets = false;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (text, tail) = rest.split_at(length(rest, first, in_brackets));
        rest = tail;
        match first {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        Some(match first {
            '"' | '\'' | '`' => Token::Text(text),
            '#' => Token::Comment(text),
            '$' if text.len() > 1 => Token::Variable(text),
            '0'..='9' => Token::Number(text),
            _ if is_name(first) && !(first == ':' && in_brackets) => Token::Name(text),
            _ if first.is_whitespace() => Token::Space(text),
            _ => Token::Sign(text),
        })
    })
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn length(text: &str, first: char, in_brackets: bool) -> usize {
    let until = |end: fn(char) -> bool| text.find(end).unwrap_or(text.len());
    match first {
        '"' | '\'' | '`' => quoted(text, first),
        '#' => until(|c| c == '\n'),
        '$' => variable(text),
        '0'..='9' => until(|c| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')),
        ':' if in_brackets => 1,
        c if is_name(c) => until(|c| !is_name(c)),
        c if c.is_whitespace() => until(|c| !c.is_whitespace()),
        other => other.len_utf8(),
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        // In backquotes nothing is escaped.
        escaped = c == '\\' && !escaped && quote != '`';
    }
    text.len()
}

/// `$name`, `${name}` or `${name:format}`, and the rest of the name that it is a part of.
fn variable(text: &str) -> usize {
    let head = match text.strip_prefix("${") {
        Some(inner) => inner.find('}').map_or(text.len(), |end| "${".len() + end + 1),
        None => 1,
    };
    let tail = &text[head..];
    head + tail.find(|c| !is_name(c)).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(expr: &str) -> Vec<Token<'_>> {
        tokens(expr).filter(|token| !matches!(token, Token::Space(_))).collect()
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        use Token::{Comment, Name, Number, Sign, Text, Variable};
        assert_eq!(
            written("a:b{c='d'}[5m:1m] # e"),
            [
                Name("a:b"),
                Sign("{"),
                Name("c"),
                Sign("="),
                Text("'d'"),
                Sign("}"),
                Sign("["),
                Number("5m"),
                Sign(":"),
                Number("1m"),
                Sign("]"),
                Comment("# e"),
            ]
        );
        assert_eq!(written("x[$__range]"), [Name("x"), Sign("["), Variable("$__range"), Sign("]")]);
        assert_eq!(written("${scope}:a:b + $c"), [Variable("${scope}:a:b"), Sign("+"), Variable("$c")]);
        assert_eq!(written(r#""a\"b" `c\` 'd"#), [Text(r#""a\"b""#), Text(r"`c\`"), Text("'d")]);
    }

    #[test]
    fn together_they_are_the_expression() {
        for expr in ["", "sum by (é) (a{b=\"…\"})\n # c\n", "$", "${", "\"open", ":5m", "1e3 * 0x1F"] {
            assert_eq!(tokens(expr).map(Token::text).collect::<String>(), expr);
        }
    }
}
