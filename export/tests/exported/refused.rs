//! What cannot be is one line on standard error and exit code 64.

use std::process::Command;

use libtest_mimic::Trial;

use crate::{ensure, kit, trial};

/// Options, and what the line must say. `OUT` is a folder that is there and not empty, `NEW` one that is not.
const CASES: [(&str, &[&str], &str); 12] = [
    (
        "an_unknown_part",
        &["--part=kibana", "--out=NEW"],
        "[possible values: prometheus, grafana, alertmanager, logstash, jaeger]",
    ),
    ("no_part", &["--part=", "--out=NEW"], "--part"),
    ("no_folder", &["--part=jaeger"], "--out"),
    ("a_folder_with_something_in_it", &["--part=jaeger", "--out=OUT"], "is there and not empty"),
    (
        "a_metric_that_there_is_not",
        &["--part=jaeger", "--out=NEW", "--metrics=agent_request_total=x"],
        "did you mean agent_requests_total?",
    ),
    (
        "two_names_for_one",
        &["--part=jaeger", "--out=NEW", "--metrics=agent_requests_total=x,agent_errors_total=x"],
        "cannot become x",
    ),
    ("a_name_that_is_none", &["--part=jaeger", "--out=NEW", "--labels=tenant_id=a-b"], "no name of a label"),
    ("no_pair", &["--part=jaeger", "--out=NEW", "--labels=tenant_id"], "--labels"),
    ("no_mapping_file", &["--part=jaeger", "--out=NEW", "--map=NEW/none.toml"], "none.toml"),
    (
        "unknown_thresholds",
        &["--part=prometheus", "--out=NEW", "--thresholds=strict"],
        "it can be default, ecommerce, finance",
    ),
    (
        "no_prometheus_for_what_asks_none",
        &["--part=logstash", "--out=NEW", "--against=http://127.0.0.1:9"],
        "no --against",
    ),
    (
        "an_address_that_is_none",
        &["--part=prometheus", "--out=NEW", "--against=prometheus:9090"],
        "--against",
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    CASES
        .into_iter()
        .map(|(name, options, wanted)| trial(format!("refused::{name}"), move || is_refused(options, wanted)))
        .collect()
}

fn is_refused(options: &[&str], wanted: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (full, new) = (folder.path().join("full"), folder.path().join("new"));
    std::fs::create_dir_all(full.join("something")).map_err(|e| e.to_string())?;
    let place = |option: &&str| {
        option.replace("OUT", &full.display().to_string()).replace("NEW", &new.display().to_string())
    };
    let output = Command::new(env!("CARGO_BIN_EXE_export"))
        .args(options.iter().map(place))
        .current_dir(kit())
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.code() == Some(64), || format!("exit code {:?}: {said}", output.status.code()))?;
    ensure(said.lines().count() == 1 && said.contains(wanted), || format!("wanted {wanted}: {said}"))?;
    ensure(!new.exists(), || "something was written".into())
}
