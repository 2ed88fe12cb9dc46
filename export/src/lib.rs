//! `make export`: one component of the kit for somebody else's infrastructure, with their names in place of the kit's.
//!
//! Names are changed in place, by the languages that they stand in: PromQL, Go's templates, Grafana's JSON, the matchers of
//! Alertmanager, addresses. So everything else, comments and layout included, is as it is in the kit, and a plain export is
//! a copy.

pub mod against;
pub mod check;
pub mod document;
pub mod edit;
pub mod mapping;
pub mod names;
pub mod parts;
pub mod promql;
mod prose;
mod readme;
mod runbook;
pub mod settings;
pub mod template;
pub mod vocabulary;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use command_line::EXIT_USAGE;
use thiserror::Error;

use crate::{
    check::Verdict,
    mapping::Mapping,
    parts::{File, Part, Request},
    settings::Cli,
    vocabulary::Vocabulary,
};

/// What is kept beside the files: the adopter's names, for the next time.
pub const MAPPING: &str = "mapping.toml";

/// Why nothing could be exported.
#[derive(Debug, Error)]
pub enum Failure {
    /// What was asked for cannot be.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written, or nobody answered.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// How an export went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Well,
    /// A check found something.
    Unsound,
    /// The Prometheus that was asked lacks something.
    Lacking,
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Unsound => 1,
            Self::Lacking => 2,
        }
    }
}

/// Exports, says on standard output what came of it or on standard error why nothing did, and gives back the exit code.
pub fn main(cli: &Cli) -> ExitCode {
    match run(cli, &mut io::stdout().lock()) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(Failure::Usage(why)) => command_line::fail::<Cli>(EXIT_USAGE, &why),
        Err(Failure::Other(why)) => command_line::fail::<Cli>(1, &why),
    }
}

/// Writes the component, checks it, asks the Prometheus if there is one, and says all of it.
///
/// # Errors
/// That nothing could be written, or nobody answered.
pub fn run(cli: &Cli, out: &mut impl Write) -> Result<Outcome, Failure> {
    let usage = Failure::Usage;
    let words = Vocabulary::of(&cli.kit).map_err(Failure::Other)?;
    let mapping = cli.mapping().map_err(usage)?;
    let (names, urls) = (mapping.names(&words).map_err(usage)?, mapping.links().map_err(usage)?);
    let presets = parts::presets(&cli.kit).map_err(Failure::Other)?;
    if !presets.contains(&cli.thresholds) {
        let there = presets.join(", ");
        return Err(usage(format!("there are no thresholds {}: it can be {there}", cli.thresholds)));
    }
    if cli.against.is_some() && !matches!(cli.part, Part::Prometheus | Part::Grafana) {
        return Err(usage(format!("{} asks nothing of a Prometheus: no --against", cli.part.name())));
    }
    let (kept, passing) = (cli.out.as_deref(), tempfile::tempdir()?);
    kept.map_or(Ok(()), settings::writable).map_err(usage)?;
    let folder = kept.unwrap_or(passing.path());
    let request = Request {
        kit: &cli.kit,
        words: &words,
        names: &names,
        urls: &urls,
        thresholds: &cli.thresholds,
        folder: mapping.folder.as_deref(),
    };
    let files = cli.part.files(&request).map_err(Failure::Other)?;
    write(folder, &files, &mapping)?;
    if kept.is_some() {
        writeln!(out, "{}: {} files in {}", cli.part.name(), files.len(), folder.display())?;
    }
    let mut sound = true;
    for check in check::all(cli.part, folder, &request, cli.skip_tests) {
        writeln!(out, "{check}")?;
        sound &= !matches!(check.verdict, Verdict::Found(_));
    }
    if !sound {
        return Ok(Outcome::Unsound);
    }
    if let Some(server) = &cli.against {
        let needs = against::needs(cli.part, folder, &request).map_err(Failure::Other)?;
        let report = against::ask(server, &needs).map_err(Failure::Other)?;
        writeln!(out, "\n{report}")?;
        if report.is_lacking() {
            return Ok(Outcome::Lacking);
        }
    }
    if kept.is_some() {
        writeln!(out, "Next: {}", folder.join("README.md").display())?;
    }
    Ok(Outcome::Well)
}

fn write(folder: &Path, files: &[File], mapping: &Mapping) -> Result<(), Failure> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| Failure::Other(format!("{path}: {error}"))
    };
    for file in files {
        let path = folder.join(&file.path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(at(parent))?;
        fs::write(&path, &file.text).map_err(at(&path))?;
        if file.executable {
            executable(&path).map_err(at(&path))?;
        }
    }
    if *mapping != Mapping::default() {
        let text = toml::to_string(mapping).map_err(|e| Failure::Other(e.to_string()))?;
        let path = folder.join(MAPPING);
        fs::write(&path, text).map_err(at(&path))?;
    }
    Ok(())
}

#[cfg(unix)]
fn executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn executable(_: &Path) -> io::Result<()> {
    Ok(())
}
