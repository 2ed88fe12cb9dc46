//! The configuration of Prometheus, Alertmanager and Elasticsearch, the runbooks and other pages, each file and each case a trial of its own.
//!
//! Needs promtool and amtool. Without them their trials are listed as ignored; with `CI=true` they fail instead.

mod alertmanager;
mod compose;
mod dashboards;
mod documents;
mod elasticsearch;
mod kibana;
mod kubernetes;
mod official;
mod ordinary;
mod prometheus;
mod rules;
mod runbooks;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Failed, Trial};
use stack_tests::tools::{self, Tool};

fn main() -> ExitCode {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let (promtool, amtool) = (Checker::of("promtool"), Checker::of("amtool"));
    let trials = [
        prometheus::trials(repository, &promtool),
        ordinary::trials(repository, &promtool),
        alertmanager::trials(repository, &amtool),
        compose::trials(repository),
        runbooks::trials(repository, &promtool),
        dashboards::trials(repository),
        documents::trials(repository),
        elasticsearch::trials(repository),
        kibana::trials(repository),
        kubernetes::trials(repository, &promtool, &amtool),
        official::trials(repository),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit_code()
}

/// A program that trials need, there or not.
struct Checker {
    name: &'static str,
    tool: Option<Tool>,
}

impl Checker {
    fn of(name: &'static str) -> Self {
        Self { name, tool: Tool::find(name) }
    }

    /// A trial that runs the program.
    fn trial(&self, name: String, run: impl FnOnce(&Tool) -> Result<(), String> + Send + 'static) -> Trial {
        let missing = format!("{} is not installed: run make setup", self.name);
        match self.tool.clone() {
            Some(tool) => trial(name, move || run(&tool)),
            None if tools::unattended() => trial(name, move || Err(missing)),
            None => trial(name, || Ok(())).with_kind(missing).with_ignored_flag(true),
        }
    }
}

fn trial(name: String, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    Trial::test(name, || run().map_err(Failed::from))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// The files in a folder whose names end in `.extension`, sorted, links left out.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension) && !path.is_symlink())
        .collect();
    files.sort();
    files
}

/// A file's name without its extension.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// A temporary copy of a component's folder with durations divided by `factor`.
fn scaled(folder: &Path, factor: u32) -> Result<tempfile::TempDir, String> {
    let copy = tempfile::tempdir().map_err(|e| e.to_string())?;
    scale_durations::folder(folder, copy.path(), factor).map_err(|e| e.to_string())?;
    Ok(copy)
}
