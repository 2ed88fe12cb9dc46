//! What is exported, where to, and in whose words.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use reqwest::Url;

use crate::{
    mapping::{Mapping, pairs},
    parts::Part,
};

/// Writes one component of the kit for somebody else's infrastructure, with their names in place of the kit's.
///
/// Exit code 1 where a check of what was written finds something, 2 where the Prometheus of `--against` lacks what it needs.
#[derive(Debug, Parser)]
#[command(name = "export", version)]
pub struct Cli {
    /// The component.
    #[arg(long, value_enum)]
    pub part: Part,
    /// The folder to write; it must not be there yet, or be empty. Not needed with `--against`: then nothing is kept.
    #[arg(long, required_unless_present = "against")]
    pub out: Option<PathBuf>,
    /// A mapping file: all of the options below, see export/mapping.example.toml. What is said here overrules it.
    #[arg(long)]
    pub map: Option<PathBuf>,
    /// Metrics: `kit_name=your_name,…`; a histogram without its ending.
    #[arg(long, value_parser = pairs)]
    pub metrics: Option<BTreeMap<String, String>>,
    /// Labels of metrics and alerts: `kit_name=your_name,…`
    #[arg(long, value_parser = pairs)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Jobs of Prometheus: `kit-name=your-name,…`
    #[arg(long, value_parser = pairs)]
    pub jobs: Option<BTreeMap<String, String>>,
    /// Services of traces: `kit-name=your-name,…`
    #[arg(long, value_parser = pairs)]
    pub services: Option<BTreeMap<String, String>>,
    /// Grafana's data sources: `kit-uid=your-uid,…`, or `kit-uid=your-uid:your name`
    #[arg(long, value_parser = pairs)]
    pub datasources: Option<BTreeMap<String, String>>,
    /// Where links lead: `grafana=https://…,prometheus=https://…,runbooks=https://…`
    #[arg(long, value_parser = pairs)]
    pub urls: Option<BTreeMap<String, String>>,
    /// Grafana's folder for all dashboards.
    #[arg(long)]
    pub folder: Option<String>,
    /// The preset of thresholds that is in use.
    #[arg(long, default_value = "default")]
    pub thresholds: String,
    /// A Prometheus that is asked for all metrics and labels that the export needs.
    #[arg(long, value_parser = command_line::http_url)]
    pub against: Option<Url>,
    /// Leave the rules' tests out of the checks: they take the longest.
    #[arg(long)]
    pub skip_tests: bool,
    /// A clone of the kit.
    #[arg(long, default_value = ".")]
    pub kit: PathBuf,
}

impl Cli {
    /// The mapping: that of the file, overruled by what the options say.
    ///
    /// # Errors
    /// One line: the file cannot be read, or the folder's name cannot be written.
    pub fn mapping(&self) -> Result<Mapping, String> {
        let file = self.map.as_deref().map(Mapping::of_file).transpose()?.unwrap_or_default();
        let options = Mapping {
            metrics: self.metrics.clone().unwrap_or_default(),
            labels: self.labels.clone().unwrap_or_default(),
            jobs: self.jobs.clone().unwrap_or_default(),
            services: self.services.clone().unwrap_or_default(),
            datasources: self.datasources.clone().unwrap_or_default(),
            urls: self.urls.clone().unwrap_or_default(),
            folder: self.folder.clone(),
        };
        let mapping = file.overruled_by(options);
        if mapping
            .folder
            .as_ref()
            .is_some_and(|folder| folder.is_empty() || folder.contains(['\'', '\n', '$']))
        {
            return Err("folder: a name without ' and $".into());
        }
        Ok(mapping)
    }
}

/// That a folder can be written: it is not there, or there is nothing in it.
///
/// # Errors
/// One line that says what is there.
pub fn writable(folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    if entries.next().is_some() {
        return Err(format!("{} is there and not empty: name another folder", folder.display()));
    }
    Ok(())
}
