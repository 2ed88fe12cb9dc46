//! A Compose project of a trial's own: the kit's file, one of `deploy/`, and what the trial adds. It goes with its owner.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use stack_tests::{containers::Containers, elasticsearch::users};

/// Containers, networks and volumes, which are removed when this is dropped.
pub(crate) struct Project {
    pub(crate) name: &'static str,
    pub(crate) repository: PathBuf,
    /// Files of Compose, the later on top of the earlier; relative to the repository, or absolute.
    pub(crate) files: Vec<PathBuf>,
    /// What Compose fills into them.
    pub(crate) environment: BTreeMap<&'static str, OsString>,
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

impl Project {
    /// Removes what there is, from an earlier run too.
    pub(crate) fn remove(&self) -> Result<String, String> {
        self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "2"])
    }

    /// Runs `docker compose` and gives back what it printed.
    pub(crate) fn compose(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        command.current_dir(&self.repository).args(["compose", "--project-name", self.name]);
        for file in &self.files {
            command.arg("--file").arg(file);
        }
        command.args(arguments).stdin(Stdio::null());
        command.env("BIND_ADDRESS", "127.0.0.1").env_remove("COMPOSE_PROJECT_NAME").envs(&self.environment);
        let output = command.output().map_err(|e| format!("docker compose: {e}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("docker compose {}: {said}", arguments.join(" ")))
        }
    }
}

/// New passwords of Elasticsearch's users, by their names, in the files of a folder that the services read.
pub(crate) fn passwords(repository: &Path, folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let elastic = ("elastic".to_owned(), (String::new(), "elasticsearch_password".to_owned()));
    let users = users(&repository.join("elasticsearch"))?.into_iter().chain([elastic]);
    users
        .map(|(user, (_, secret))| {
            let password = uuid::Uuid::new_v4().to_string();
            fs::write(folder.join(&secret), &password).map_err(|e| format!("{secret}: {e}"))?;
            Ok((user, password))
        })
        .collect()
}

/// That the images of these services are here: what no registry gives, and could not be built, cannot be tried.
pub(crate) fn have_images(repository: &Path, files: &[&str], services: &[&str]) -> Result<(), String> {
    services.iter().try_for_each(|service| {
        let image = image(repository, files, service)?;
        let here = Containers::docker(&["image", "inspect", &image]).map(drop);
        here.map_err(|_| {
            format!("the image {image} is not here: COMPOSE_FILE={} make setup", files.join(":"))
        })
    })
}

/// The image that Compose runs for a service of these files, which are relative to the repository.
pub(crate) fn image(repository: &Path, files: &[&str], service: &str) -> Result<String, String> {
    let files: Vec<_> = files.iter().map(|file| repository.join(file).display().to_string()).collect();
    // Asked for the images of one service Compose names those of what it waits for too, in any order.
    let mut command = vec!["compose", "--profile", "*"];
    command.extend(files.iter().flat_map(|file| ["-f", file]));
    command.extend(["config", "--format", "json"]);
    let config = Containers::docker(&command)?;
    let config: Value = serde_json::from_str(&config).map_err(|e| format!("docker compose config: {e}"))?;
    let image = config["services"][service]["image"].as_str();
    image.map(str::to_owned).ok_or(format!("Compose names no image for {service}"))
}
