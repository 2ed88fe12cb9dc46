//! The files of `deploy/` beside those they take the place of: what is not meant to differ does not.

use std::path::Path;

use libtest_mimic::Trial;
use stack_tests::{containers::Containers, tools::Tool};

use crate::{compose::image, in_containers, read, trial};

pub(crate) fn trials(
    repository: &Path,
    promtool: &Result<Tool, String>,
    containers: &Result<(), String>,
) -> Vec<Trial> {
    let mut trials = Vec::new();
    for step in ["remote-write", "high-availability"] {
        let (here, same) = (repository.to_owned(), repository.to_owned());
        trials.push(trial(
            format!("scaling::{step}::prometheus_takes_its_file"),
            promtool.clone(),
            move |promtool| takes(&promtool, &here, step),
        ));
        let name = format!("scaling::{step}::prometheus_yml_differs_only_where_it_must");
        trials.push(trial(name, Ok(()), move |()| differs_on_purpose(&same, step)));
    }
    let here = repository.to_owned();
    trials.push(trial(
        "scaling::elasticsearch-cluster::settings_are_those_of_one_node_and_more".into(),
        Ok(()),
        move |()| cluster_has_the_nodes_settings(&here),
    ));
    for half in ["collector", "ingester"] {
        let here = repository.to_owned();
        let name = format!("scaling::jaeger-kafka::jaeger_takes_{half}_yaml");
        trials.push(in_containers(&name, containers, move || jaeger_takes(&here, half)));
    }
    for step in ["remote-write", "high-availability", "elasticsearch-cluster", "jaeger-kafka"] {
        let here = repository.to_owned();
        let name = format!("scaling::{step}::compose_takes_it_on_top_of_the_kit");
        trials.push(in_containers(&name, containers, move || compose_takes(&here, step)));
    }
    trials
}

/// In the folder that it is mounted into, with the rules, thresholds and targets that are there.
fn takes(promtool: &Tool, repository: &Path, step: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    scale_durations::folder(&repository.join("prometheus"), folder.path(), 1).map_err(|e| e.to_string())?;
    let file = repository.join(format!("deploy/{step}/prometheus.yml"));
    std::fs::copy(&file, folder.path().join("prometheus.yml")).map_err(|e| e.to_string())?;
    promtool
        .run(folder.path(), &["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"])
        .map(drop)
}

/// Lines that only the step's file has, in `deploy/`, beside those that only the kit's has.
fn differs_on_purpose(repository: &Path, step: &str) -> Result<(), String> {
    let kit = read(&repository.join("prometheus/prometheus.yml"))?;
    let own = read(&repository.join(format!("deploy/{step}/prometheus.yml")))?;
    let gone: Vec<_> = kit.lines().filter(|line| !own.lines().any(|other| other == *line)).collect();
    let (expected, at_end): (&[&str], bool) = match step {
        "remote-write" => (&[], true),
        _ => (&["    # replica: a", "        - targets: [\"alertmanager:9093\"]"], false),
    };
    let added = own.lines().count() - kit.lines().count();
    let extra = if at_end { own.starts_with(kit.trim_end()) } else { added == 1 };
    if gone == expected && extra { Ok(()) } else { Err(format!("gone: {gone:?}, {added} lines more")) }
}

/// What one node is told holds for each of three, but for how it finds the others.
fn cluster_has_the_nodes_settings(repository: &Path) -> Result<(), String> {
    let settings = |file: &str| -> Result<Vec<String>, String> {
        let text = read(&repository.join(file))?;
        Ok(text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect())
    };
    let cluster = settings("deploy/elasticsearch-cluster/elasticsearch.yml")?;
    let missing: Vec<_> = settings("elasticsearch/elasticsearch.yml")?
        .into_iter()
        .filter(|line| !cluster.contains(line))
        .collect();
    let other = [
        "node.name: elasticsearch",
        "discovery.type: single-node",
        "xpack.security.transport.ssl.enabled: false",
    ];
    if missing == other { Ok(()) } else { Err(format!("only one node has {missing:?}")) }
}

/// By Jaeger's own word, in the image that Compose runs.
fn jaeger_takes(repository: &Path, half: &str) -> Result<(), String> {
    let image = image(repository, &["docker-compose.yml"], "jaeger")?;
    let folder = repository.join("deploy/jaeger-kafka").display().to_string();
    let (mount, file) = (format!("{folder}:/etc/jaeger-kafka:ro"), format!("/etc/jaeger-kafka/{half}.yaml"));
    let run = [
        "run",
        "--rm",
        "--network=none",
        "--volume",
        &mount,
        "--entrypoint",
        "/cmd/jaeger/jaeger-linux",
        &image,
    ];
    Containers::docker(&[&run[..], &["validate", "--config", &file]].concat()).map(drop)
}

fn compose_takes(repository: &Path, step: &str) -> Result<(), String> {
    let kit = repository.join("docker-compose.yml").display().to_string();
    let own = repository.join(format!("deploy/{step}/docker-compose.yml")).display().to_string();
    Containers::docker(&["compose", "--profile", "*", "-f", &kit, "-f", &own, "config", "--quiet"]).map(drop)
}
