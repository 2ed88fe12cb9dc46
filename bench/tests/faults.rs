//! The short forms of what `make bench` and `make soak` measure: conditions, no times.
use std::{path::PathBuf, process::Command, sync::OnceLock};

use bench::{
    faults::{Disturbance, Disturbed},
    soak,
};

/// The agent that the workspace's tests were built with; where only this crate's were, the one that is there or a new one.
fn agent() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        // Two folders up from the test's own binary, which is in `deps`.
        let own = std::env::current_exe().expect("this test has a path");
        let binary = own.ancestors().nth(2).expect("it is in a folder of its own").join("example-agent");
        if !binary.exists() {
            let mut cargo = Command::new(env!("CARGO"));
            let built = cargo.args(["build", "--quiet", "--locked", "-p", "example-agent"]).status();
            assert!(built.expect("cargo starts").success());
        }
        binary
    });
    binary.clone()
}

#[test]
fn whatever_befalls_the_telemetry_every_question_is_answered_and_losses_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for by in Disturbance::ALL {
        match Disturbed::start(&agent(), folder.path(), by) {
            // Answers other than 200, and losses that are not counted, are errors of these.
            Ok(disturbed) => {
                disturbed.fill().unwrap();
                disturbed.agent.stop().unwrap();
            }
            Err(why) if by == Disturbance::FullDisk && why.contains("unshare") => {
                println!("skipped: full disk: no mounts of one's own here: {why}");
            }
            Err(why) => panic!("{why}"),
        }
    }
}

#[test]
fn while_collector_and_reader_come_and_go_nothing_is_lost_uncounted() {
    let (lines, spans) = soak::short(&agent()).unwrap();
    assert_eq!((lines.unaccounted(), spans.unaccounted()), (0, 0), "{lines:?} {spans:?}");
    assert!(lines.made > 0 && spans.made > 0 && spans.counted_as_lost > 0, "{lines:?} {spans:?}");
}
