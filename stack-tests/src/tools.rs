//! The programs that configuration is checked with.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program on this machine.
#[derive(Clone)]
pub struct Tool {
    path: PathBuf,
}

impl Tool {
    /// Looks for `name` on the `PATH`, then where `make setup` puts what it fetches:
    /// `${AGENT_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agent-observability-kit}/bin`.
    pub fn find(name: &str) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain(cache().map(|cache| cache.join("bin")));
        folders.map(|folder| folder.join(name)).find(|path| path.is_file()).map(|path| Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it in a folder and gives back what it printed.
    ///
    /// # Errors
    /// The arguments, and all that it printed.
    pub fn run(&self, folder: &Path, args: &[&str]) -> Result<String, String> {
        let line = || format!("{} {}", self.path.display(), args.join(" "));
        let output = Command::new(&self.path)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{}: {e}", line()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(stdout)
        } else {
            Err(format!("{}: {}\n{stdout}{}", line(), output.status, String::from_utf8_lossy(&output.stderr)))
        }
    }
}

/// Whether tests run where nobody could install what is missing: `CI=true`. There it must not be missing.
pub fn unattended() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Where `make setup` keeps what it fetches and builds.
pub fn cache() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    folder("AGENT_KIT_CACHE").or_else(|| {
        let base = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        base.map(|base| base.join("agent-observability-kit"))
    })
}
