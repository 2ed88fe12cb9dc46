//! Waiting for a condition, never for a time.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How long a condition is given that needs nothing but a scrape, an export or a poll.
pub const SOON: Duration = Duration::from_secs(30);

/// Asks `probe` again and again until it answers `Ok`.
///
/// # Errors
/// The last answer of `probe`, with what was waited for, once `limit` has passed.
pub fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> Result<T, String> {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if started.elapsed() >= limit => {
                return Err(format!("{what}: not within {} s; last seen: {last}", limit.as_secs()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_soon_as_the_condition_holds() {
        let mut asked = 0;
        let got = until("three", SOON, || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err("not yet") }
        });
        assert_eq!(got, Ok(3));
    }

    #[test]
    fn tells_what_it_saw_last() {
        let got = until("the moon", Duration::ZERO, || Err::<(), _>("clouds"));
        assert_eq!(got, Err("the moon: not within 0 s; last seen: clouds".into()));
    }
}
