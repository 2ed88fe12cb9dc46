//! What each part of the kit is made of, in the adopter's words.

mod alertmanager;
mod grafana;
mod jaeger;
mod logstash;
mod prometheus;

pub(crate) use grafana::MOUNTED;
pub(crate) use prometheus::{asked, presets};

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::{mapping::Urls, names::Names, readme, vocabulary::Vocabulary};

/// A component that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Rules, their tests, thresholds, runbooks, and what is to be scraped.
    Prometheus,
    /// Dashboards, and what provisions them.
    Grafana,
    /// Routes, receivers, templates.
    Alertmanager,
    /// Pipelines, and what Elasticsearch needs to know for them.
    Logstash,
    /// Its configuration, and what Elasticsearch needs to know for it.
    Jaeger,
}

/// A file to be written.
#[derive(Debug)]
pub struct File {
    /// Where, below the folder that is asked for.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// It is a program.
    pub executable: bool,
}

/// What parts are made from.
pub struct Request<'r> {
    /// A clone of the kit.
    pub kit: &'r Path,
    /// The kit's names.
    pub words: &'r Vocabulary,
    /// The adopter's.
    pub names: &'r Names,
    /// Where links lead.
    pub urls: &'r Urls,
    /// The preset of thresholds that is in use.
    pub thresholds: &'r str,
    /// Grafana's folder.
    pub folder: Option<&'r str>,
}

impl Part {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Grafana => "grafana",
            Self::Alertmanager => "alertmanager",
            Self::Logstash => "logstash",
            Self::Jaeger => "jaeger",
        }
    }

    /// Its files.
    ///
    /// # Errors
    /// Names the file that cannot be read or changed.
    pub fn files(self, request: &Request<'_>) -> Result<Vec<File>, String> {
        let mut files = match self {
            Self::Prometheus => prometheus::files(request),
            Self::Grafana => grafana::files(request),
            Self::Alertmanager => alertmanager::files(request),
            Self::Logstash => logstash::files(request),
            Self::Jaeger => jaeger::files(request),
        }?;
        files.push(file("README.md", readme::of(self, request)));
        Ok(files)
    }
}

impl Request<'_> {
    /// The text of a file of the kit.
    fn read(&self, path: impl AsRef<Path>) -> Result<String, String> {
        crate::vocabulary::read(&self.kit.join(path))
    }

    /// The files of a folder of the kit, by their paths in the kit.
    fn list(&self, folder: &str, extension: &str) -> Result<Vec<PathBuf>, String> {
        let files = crate::vocabulary::files(&self.kit.join(folder), extension)?;
        Ok(files.iter().filter_map(|file| Some(Path::new(folder).join(file.file_name()?))).collect())
    }

    /// A file as it is.
    fn copy(&self, from: &str, to: &str) -> Result<File, String> {
        Ok(file(to, self.read(from)?))
    }

    /// A program as it is.
    fn program(&self, from: &str, to: &str) -> Result<File, String> {
        Ok(File { executable: true, ..self.copy(from, to)? })
    }
}

fn file(path: impl Into<PathBuf>, text: impl Into<String>) -> File {
    File { path: path.into(), text: text.into(), executable: false }
}

/// What Elasticsearch must know for one component: the setup and, of what it puts there, this component's share.
fn elasticsearch(request: &Request<'_>, user: &str, resources: &[&str]) -> Result<Vec<File>, String> {
    let users = request.read("elasticsearch/users")?;
    let mine = |line: &&str| line.starts_with('#') || line.split_whitespace().next() == Some(user);
    let users: Vec<_> = users.lines().filter(mine).collect();
    let mut files = vec![
        request.program("elasticsearch/setup.sh", "elasticsearch/setup.sh")?,
        file("elasticsearch/users", users.join("\n") + "\n"),
    ];
    let role = format!("roles/{user}.json");
    for resource in resources.iter().copied().chain([&*role]) {
        let path = format!("elasticsearch/{resource}");
        files.push(request.copy(&path, &path)?);
    }
    Ok(files)
}

/// Names the file in what is wrong with it.
fn within(path: &Path) -> impl FnOnce(String) -> String {
    move |error| format!("{}: {error}", path.display())
}
