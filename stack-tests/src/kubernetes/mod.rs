//! `deploy/kubernetes`: what of it is made from the kit's other files, and what it says once kustomize has put it together.
//!
//! `kubectl apply -k` reads nothing outside of the folder it is given, so what Prometheus, Grafana and the agent have
//! elsewhere in the kit is written into it, and `make check` compares the two.

mod generate;
mod render;
pub mod schemas;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

pub use generate::{LEFT_OUT, generate};
pub use render::Renderer;
use thiserror::Error;

/// Where the manifests are, from the top of the repository.
pub const FOLDER: &str = "deploy/kubernetes";

/// Files by their path within [`FOLDER`].
pub type Files = BTreeMap<PathBuf, String>;

/// Why the files could not be made or compared.
#[derive(Debug, Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A source says something that has no place in Kubernetes.
    #[error("{0}")]
    Source(String),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    |error| Error::Io(path.to_owned(), error)
}

/// What differs between the files that are wanted and those that are there, a line each; nothing where they agree.
///
/// # Errors
/// A file that cannot be read.
pub fn differences(repository: &Path, wanted: &Files) -> Result<Vec<String>, Error> {
    let folder = repository.join(FOLDER);
    let mut differences = Vec::new();
    for (path, text) in wanted {
        let there = folder.join(path);
        match fs::read_to_string(&there) {
            Ok(found) if found == *text => {}
            Ok(_) => differences.push(format!("{FOLDER}/{} is not what its source says", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                differences.push(format!("{FOLDER}/{} is missing", path.display()));
            }
            Err(error) => return Err(Error::Io(there, error)),
        }
    }
    for path in stale(&folder, wanted)? {
        differences.push(format!("{FOLDER}/{} has no source any more", path.display()));
    }
    Ok(differences)
}

/// Writes what differs and removes what has no source any more; gives back the paths of both.
///
/// # Errors
/// A file that cannot be read, written or removed.
pub fn write(repository: &Path, wanted: &Files) -> Result<Vec<PathBuf>, Error> {
    let folder = repository.join(FOLDER);
    let mut changed = Vec::new();
    for (path, text) in wanted {
        let target = folder.join(path);
        if fs::read_to_string(&target).is_ok_and(|found| found == *text) {
            continue;
        }
        let parent = target.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(at(parent))?;
        fs::write(&target, text).map_err(at(&target))?;
        changed.push(path.clone());
    }
    for path in stale(&folder, wanted)? {
        let target = folder.join(&path);
        fs::remove_file(&target).map_err(at(&target))?;
        changed.push(path);
    }
    Ok(changed)
}

/// Files in folders that hold nothing but what is made, which nobody makes any more.
fn stale(folder: &Path, wanted: &Files) -> Result<Vec<PathBuf>, Error> {
    let mut all = Vec::new();
    files_below(folder, &mut all)?;
    let relative = all.iter().filter_map(|path| path.strip_prefix(folder).ok());
    let made = |path: &&Path| {
        path.components().any(|part| part.as_os_str() == "generated")
            || path.starts_with(generate::THRESHOLDS)
    };
    Ok(relative.filter(made).filter(|path| !wanted.contains_key(*path)).map(Path::to_owned).collect())
}

/// All files below a folder, sorted.
fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        entries.push(entry.map_err(at(folder))?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() { files_below(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
