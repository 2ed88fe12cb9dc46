//! The durations of a PromQL expression: ranges, subqueries, offsets, and numbers written as durations.

use super::duration::divided as divided_duration;
use crate::tokens::{Token, tokens};

/// A rate needs two samples, and scrapes are a second apart at the least: twice that, so that one may be late.
const SHORTEST_RANGE: u64 = 4000;
const SHORTEST_STEP: u64 = 1000;

/// `expr` with all durations divided by `factor`. Strings, comments and names stay, whatever they look like.
pub(super) fn divided(expr: &str, factor: u32) -> String {
    let mut out = String::with_capacity(expr.len());
    // Inside [range:step] a duration is a range, then a step.
    let mut bracket = None;
    for token in tokens(expr) {
        match token {
            Token::Sign("[") => bracket = Some(SHORTEST_RANGE),
            Token::Sign(":") if bracket.is_some() => bracket = Some(SHORTEST_STEP),
            Token::Sign("]") => bracket = None,
            _ => {}
        }
        let scaled = match token {
            Token::Number(text) => divided_duration(text, factor, bracket.unwrap_or(0)),
            _ => None,
        };
        out.push_str(scaled.as_deref().unwrap_or(token.text()));
    }
    out
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
