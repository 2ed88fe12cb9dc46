//! Durations as Prometheus writes them: `1h30m`, `15s`, `250ms`.

const SECOND: u64 = 1000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

/// The units in milliseconds, largest first.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", DAY / 24),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1),
];

/// `text` divided by `factor`, but not below `floor` milliseconds and never made longer. Nothing if it is no duration.
pub(super) fn divided(text: &str, factor: u32, floor: u64) -> Option<String> {
    let whole = parse(text)?;
    let part = (whole / u64::from(factor)).max(floor).max(1).min(whole);
    // Also keeps 90s from becoming 1m30s where there is nothing to divide.
    Some(if part == whole { text.to_owned() } else { format(part) })
}

fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*size)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

fn format(mut milliseconds: u64) -> String {
    let mut out = String::new();
    // Weeks and years are for people who think in them; a part of one seldom is.
    for (name, size) in &UNITS[2..] {
        let count = milliseconds / size;
        if count > 0 {
            out.push_str(&count.to_string());
            out.push_str(name);
        }
        milliseconds %= size;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::divided;

    #[test]
    fn durations_are_divided() {
        let cases = [
            ("5m", "15s"),
            ("1h", "3m"),
            ("30s", "1s500ms"),
            ("15s", "750ms"),
            ("1h30m", "4m30s"),
            ("4w", "1d9h36m"),
            ("10ms", "1ms"),
            ("0s", "0s"),
        ];
        for (whole, part) in cases {
            assert_eq!(divided(whole, 20, 0).as_deref(), Some(part), "{whole}");
        }
    }

    #[test]
    fn the_floor_holds_but_makes_nothing_longer() {
        assert_eq!(divided("5s", 20, 1000).as_deref(), Some("1s"));
        assert_eq!(divided("500ms", 20, 1000).as_deref(), Some("500ms"));
    }

    #[test]
    fn what_is_no_duration_is_left_alone() {
        for text in ["", "5", "m", "5x", "1.5h", "0x5d", "5m:", "99999999999999999999y"] {
            assert_eq!(divided(text, 20, 0), None, "{text}");
        }
    }
}
