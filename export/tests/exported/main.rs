//! Each part exported as it is and with everything renamed, and what the programs that it is for say of it.
//!
//! Without promtool, amtool or Prometheus their trials are listed as ignored; with `CI=true` they fail instead.

mod against;
mod plain;
mod refused;
mod renamed;
mod stranger;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser as _;
use export::{Failure, Outcome, mapping::Mapping, names::Names, settings::Cli, vocabulary::Vocabulary};
use libtest_mimic::{Arguments, Failed, Trial};
use stack_tests::tools::Tool;

/// Each part, and the program that checks it.
const PARTS: [(&str, Option<&str>); 5] = [
    ("prometheus", Some("promtool")),
    ("grafana", None),
    ("alertmanager", Some("amtool")),
    ("logstash", None),
    ("jaeger", None),
];

fn main() -> ExitCode {
    command_line::http::install_cryptography();
    let trials =
        [plain::trials(), renamed::trials(), refused::trials(), against::trials(), stranger::trials()];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit_code()
}

fn trial(name: impl Into<String>, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    Trial::test(name, || run().map_err(Failed::from))
}

/// A trial that needs a program.
fn with(
    program: Option<&str>,
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Trial {
    let Some(missing) = program.filter(|program| Tool::find(program).is_none()) else {
        return trial(name, run);
    };
    let why = format!("{missing} is not installed: run make setup");
    if env::var("CI").is_ok_and(|ci| ci == "true") {
        return trial(name, move || Err(why));
    }
    trial(name, || Ok(())).with_kind(why).with_ignored_flag(true)
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An export into a folder that ends with its owner, and what it said.
fn export(part: &str, options: &[&str]) -> Result<(tempfile::TempDir, String), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (outcome, said) = export_to(folder.path(), part, options)?;
    ensure(outcome == Outcome::Well, || said.clone())?;
    Ok((folder, said))
}

fn export_to(folder: &Path, part: &str, options: &[&str]) -> Result<(Outcome, String), String> {
    let (kit, out) = (kit().display().to_string(), folder.display().to_string());
    let fixed = ["export", "--kit", &kit, "--part", part, "--out", &out];
    let cli = Cli::try_parse_from(fixed.iter().chain(options)).map_err(|e| e.to_string())?;
    let mut said = Vec::new();
    let outcome = export::run(&cli, &mut said).map_err(|failure| match failure {
        Failure::Usage(why) | Failure::Other(why) => why,
    })?;
    Ok((outcome, String::from_utf8_lossy(&said).into_owned()))
}

/// Every file below a folder, by its path there.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).map_err(|e| format!("{}: {e}", inner.display()))? {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                found
                    .insert(name, fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?);
            }
        }
    }
    Ok(found)
}

/// Other names for all that the kit has.
fn everything() -> Result<(Vocabulary, Mapping, Names), String> {
    let words = Vocabulary::of(&kit())?;
    let other = |what: &str, names: &std::collections::BTreeSet<String>| {
        names.iter().enumerate().map(|(at, name)| (name.clone(), format!("their{what}{at}"))).collect()
    };
    let mapping = Mapping {
        metrics: other("_metric_", &words.metrics),
        labels: other("_label_", &words.labels),
        jobs: other("-job-", &words.jobs),
        services: other("-service-", &words.services),
        datasources: other("-source-", &words.sources),
        urls: [
            ("grafana".into(), "https://grafana.example/g".into()),
            ("prometheus".into(), "https://prometheus.example".into()),
            ("runbooks".into(), "https://wiki.example/runbooks".into()),
        ]
        .into(),
        folder: Some("Their folder".into()),
    };
    let names = mapping.names(&words)?;
    Ok((words, mapping, names))
}
