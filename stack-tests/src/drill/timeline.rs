//! What happened when.

use std::time::Instant;

/// Prints what happens as it happens, with the seconds since the start.
pub struct Timeline {
    started: Instant,
}

impl Timeline {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    #[allow(clippy::print_stdout)] // It is what a drill is run for.
    pub(super) fn note(&self, scenario: &str, what: &str) {
        println!("[{:6.1} s] {scenario:<14} {what}", self.started.elapsed().as_secs_f64());
    }
}
