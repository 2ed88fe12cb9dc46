//! The durations of a PromQL expression: ranges, subqueries, offsets, and numbers written as durations.

use super::duration::divided as divided_duration;

/// A rate needs two samples, and scrapes are a second apart at the least: twice that, so that one may be late.
const SHORTEST_RANGE: u64 = 4000;
const SHORTEST_STEP: u64 = 1000;

/// `expr` with all durations divided by `factor`. Strings, comments and names stay, whatever they look like.
pub(super) fn divided(expr: &str, factor: u32) -> String {
    let mut out = String::with_capacity(expr.len());
    let mut rest = expr;
    // Inside [range:step] a colon separates; elsewhere it is part of a name.
    let mut bracket = None;
    while let Some(first) = rest.chars().next() {
        let (token, tail) = rest.split_at(token_length(rest, first, bracket.is_some()));
        match first {
            '[' => bracket = Some(SHORTEST_RANGE),
            ':' if bracket.is_some() => bracket = Some(SHORTEST_STEP),
            ']' => bracket = None,
            _ => {}
        }
        let scaled = first.is_ascii_digit().then(|| divided_duration(token, factor, bracket.unwrap_or(0)));
        out.push_str(scaled.flatten().as_deref().unwrap_or(token));
        rest = tail;
    }
    out
}

fn token_length(text: &str, first: char, in_bracket: bool) -> usize {
    let until = |end: fn(char) -> bool| text.find(end).unwrap_or(text.len());
    match first {
        '"' | '\'' | '`' => string_length(text, first),
        '#' => until(|c| c == '\n'),
        '0'..='9' => until(|c| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')),
        ':' if in_bracket => 1,
        'a'..='z' | 'A'..='Z' | '_' | ':' => until(|c| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')),
        other => other.len_utf8(),
    }
}

fn string_length(text: &str, quote: char) -> usize {
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

#[cfg(test)]
mod tests {
    use super::divided;

    #[test]
    fn durations_are_found_wherever_promql_has_them() {
        let cases = [
            ("rate(a_total[5m])", "rate(a_total[15s])"),
            ("max_over_time(agent:x:rate5m[1h:1m])", "max_over_time(agent:x:rate5m[3m:3s])"),
            ("max_over_time(a[1h:])", "max_over_time(a[3m:])"),
            ("a offset 1h", "a offset 3m"),
            ("a offset -1h", "a offset -3m"),
            ("time() - start < 1h", "time() - start < 3m"),
            ("rate(a[ 1h30m ])", "rate(a[ 4m30s ])"),
            // Never too short for two samples, or for a step.
            ("rate(a[30s])", "rate(a[4s])"),
            ("max_over_time(a[5m:15s])", "max_over_time(a[15s:1s])"),
        ];
        for (whole, part) in cases {
            assert_eq!(divided(whole, 20), part);
        }
    }

    #[test]
    fn what_only_looks_like_a_duration_stays() {
        let cases = [
            "a:b5m:rate5m > 60",
            r#"a{b="5m", c='5m', d=`5m\`} * 1e3"#,
            r#"a{b="\"5m"} # 5m"#,
            "a > 0x5d or b > 2.5 or c > Inf",
            ":5m",
            "é > 5",
            "\"unfinished 5m",
        ];
        for expr in cases {
            assert_eq!(divided(expr, 20), expr);
        }
    }
}
