//! Ctrl-C and SIGTERM, for programs that have to make whole what they broke.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What a shell says of a program that Ctrl-C has ended.
pub const EXIT_BROKEN_OFF: u8 = 130;

/// Has the first of these signals end the process, for programs that have nothing to undo: as the first process of a container
/// a program that does not ask for them does not get them.
pub fn at_once() {
    // It fails only where a handler is set already.
    let _ = ctrlc::set_handler(|| std::process::exit(EXIT_BROKEN_OFF.into()));
}

/// Becomes true with the first of these signals; a second one ends the process at once.
///
/// # Errors
/// That signals cannot be listened for.
pub fn by_signals() -> Result<Arc<AtomicBool>, String> {
    let ended = Arc::new(AtomicBool::new(false));
    let result = {
        let ended = Arc::clone(&ended);
        ctrlc::set_handler(move || {
            if ended.swap(true, Ordering::Relaxed) {
                std::process::exit(EXIT_BROKEN_OFF.into());
            }
        })
    };
    result.map(|()| ended).map_err(|error| format!("cannot listen for signals: {error}"))
}
