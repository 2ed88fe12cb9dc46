//! The pipelines of `logstash/`: their cases, and that no line is lost, by a real Logstash where there is one (`LOGSTASH_HOME`,
//! or the image that Compose would run); and what can be said of them without one.
//!
//! `LOGSTASH_CASES=write` writes what Logstash made of each case to its `expected.ndjson`: to be read before it is committed.

mod accounting;
mod cases;
mod files;
mod grammar;
mod mapping;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Failed, Trial};
use stack_tests::logpath::Program;

fn main() -> ExitCode {
    // Nothing here is behind TLS; the client wants its cryptography chosen all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let logstash = Program::find(repository, "logstash");
    let trials = [
        files::trials(repository),
        mapping::trials(repository, &logstash),
        cases::trials(repository, &logstash),
        accounting::trials(repository, &logstash),
    ];
    let mut arguments = Arguments::from_args();
    // One Logstash at a time: each takes a gigabyte, and a minute to start.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// What a trial looks at, and what is wrong with it.
type Check<T> = fn(&T) -> Result<(), String>;

/// A trial that needs programs, or is listed with the reason why it cannot run.
fn needing(
    name: String,
    programs: Result<(), String>,
    run: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Trial {
    match programs {
        Ok(()) => trial(name, run),
        Err(why) => trial(name, || Ok(())).with_kind(why).with_ignored_flag(true),
    }
}

fn trial(name: String, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    Trial::test(name, || run().map_err(Failed::from))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The folders of the cases, sorted.
fn case_folders(repository: &Path) -> Vec<PathBuf> {
    let folder = repository.join("logstash/tests/cases");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut folders: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// The last part of a path.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
