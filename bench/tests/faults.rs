//! The short forms of what `make bench` and `make soak` measure: conditions, no times.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use bench::{
    faults::{Disturbance, Disturbed, small_disks},
    soak,
};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let binary = if arguments.list { PathBuf::new() } else { agent() };
    let mut trials: Vec<_> = Disturbance::ALL
        .into_iter()
        .map(|by| {
            let name =
                format!("every_question_is_answered_and_losses_are_counted::{}", by.name().replace(' ', "_"));
            let missing = (by == Disturbance::FullDisk).then(|| small_disks().err()).flatten();
            let agent = binary.clone();
            let trial = Trial::test(name, move || disturbed(&agent, by));
            match missing {
                Some(why) => trial.with_kind(why).with_ignored_flag(true),
                None => trial,
            }
        })
        .collect();
    trials.push(Trial::test("while_collector_and_reader_come_and_go_nothing_is_lost_uncounted", move || {
        soaked(&binary)
    }));
    libtest_mimic::run(&arguments, trials).exit();
}

/// The agent that the workspace's tests were built with. Where only this crate's were, there is none, or one that is older than
/// its sources: then it is built.
fn agent() -> PathBuf {
    // Two folders up from the test's own binary, which is in `deps`.
    let own = std::env::current_exe().expect("this test has a path");
    let binary = own.ancestors().nth(2).expect("it is in a folder of its own").join("example-agent");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../example-agent/src");
    if changed(&binary).is_none_or(|built| newest(&sources).is_some_and(|source| source > built)) {
        let mut cargo = Command::new(env!("CARGO"));
        let built = cargo.args(["build", "--quiet", "--locked", "-p", "example-agent"]).status();
        assert!(built.expect("cargo starts").success(), "the agent cannot be built");
    }
    binary
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.filter_map(|path| if path.is_dir() { newest(&path) } else { changed(&path) }).max()
}

/// Answers other than 200, and losses that are not counted, are errors of these.
fn disturbed(agent: &Path, by: Disturbance) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let disturbed = Disturbed::start(agent, folder.path(), by)?;
    disturbed.fill()?;
    disturbed.agent.stop()?;
    Ok(())
}

fn soaked(agent: &Path) -> Result<(), Failed> {
    let (lines, spans) = soak::short(agent)?;
    let accounted = (lines.unaccounted(), spans.unaccounted()) == (0, 0);
    if accounted && lines.made > 0 && spans.made > 0 && spans.counted_as_lost > 0 {
        Ok(())
    } else {
        Err(format!("{lines:?} {spans:?}").into())
    }
}
