//! The files that are made from others of the kit.

mod elastic;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

use super::{Error, FOLDER, Files, at, files_below};
use crate::pins::{self, Pin};

/// A component for each set of limits, all made.
pub(super) const THRESHOLDS: &str = "components/thresholds";
const AGENT_CONFIG: [&str; 3] = ["tenants.toml", "prices.toml", "compliance.toml"];
/// Rule files that are not for a cluster, and why: README.md says it with the same words.
pub const LEFT_OUT: [(&str, &str); 4] = [
    ("hosts", "node rules come with the operator's own stack"),
    (
        "log-path",
        "they need log-watch and elasticsearch-exporter, which ask one agent and one Elasticsearch by name",
    ),
    (
        "logs",
        "they need log-watch and elasticsearch-exporter, which ask one agent and one Elasticsearch by name",
    ),
    (
        "stack",
        "they know the parts by the names of Compose's services, and would watch every target of the cluster",
    ),
];

/// Everything under [`FOLDER`] that is made from files elsewhere in the repository.
///
/// # Errors
/// A source that cannot be read, or a mark that names no pin.
pub fn generate(repository: &Path) -> Result<Files, Error> {
    let mut files = Files::new();
    for name in AGENT_CONFIG {
        let text = read(&repository.join("example-agent/config").join(name))?;
        files.insert(format!("base/generated/{name}").into(), text);
    }
    rules(repository, &mut files)?;
    thresholds(repository, &mut files)?;
    dashboards(repository, &mut files)?;
    alertmanager(repository, &mut files)?;
    elastic::files(repository, &mut files)?;
    let pins = pins::of_checkout(repository).map_err(Error::Source)?;
    marked(repository, &pins, &mut files)?;
    Ok(files)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(at(path))
}

/// The files in a folder with an extension, sorted, links left out.
fn sources(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Error> {
    let mut all = Vec::new();
    files_below(folder, &mut all)?;
    all.retain(|path| path.extension().is_some_and(|e| e == extension) && !path.is_symlink());
    Ok(all)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn written_from(source: &str) -> String {
    format!("# Written by `make kubernetes` from {source}: change that one.\n")
}

/// The very text of a rule file, comments and all, as a `PrometheusRule`.
fn prometheus_rule(name: &str, source: &str, text: &str) -> String {
    let mut rule = written_from(source);
    let _ = write!(
        rule,
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {name}\n  \
         labels: {{ app.kubernetes.io/part-of: agent-observability-kit }}\nspec:\n"
    );
    for line in text.lines() {
        if line.is_empty() {
            rule.push('\n');
        } else {
            let _ = writeln!(rule, "  {line}");
        }
    }
    rule
}

fn kustomization(kind: &str, source: &str, body: &str) -> String {
    let version = if kind == "Component" { "v1alpha1" } else { "v1beta1" };
    format!("{}apiVersion: kustomize.config.k8s.io/{version}\nkind: {kind}\n{body}", written_from(source))
}

fn rules(repository: &Path, files: &mut Files) -> Result<(), Error> {
    let folder = PathBuf::from("components/prometheus-operator/generated");
    let mut resources = String::from("resources:\n");
    for path in sources(&repository.join("prometheus/rules"), "yml")? {
        let stem = stem(&path);
        if LEFT_OUT.iter().any(|(name, _)| *name == stem) {
            continue;
        }
        let source = format!("prometheus/rules/{stem}.yml");
        let rule = prometheus_rule(&format!("agent-kit-{stem}"), &source, &read(&path)?);
        files.insert(folder.join(format!("{stem}.yaml")), rule);
        let _ = writeln!(resources, "  - {stem}.yaml");
    }
    let text = kustomization("Kustomization", "prometheus/rules/", &resources);
    files.insert(folder.join("kustomization.yaml"), text);
    Ok(())
}

/// All of them make an object of the same name, so that two at once are refused and another one takes its place.
fn thresholds(repository: &Path, files: &mut Files) -> Result<(), Error> {
    for path in sources(&repository.join("prometheus/thresholds"), "yml")? {
        let stem = stem(&path);
        let folder = Path::new(THRESHOLDS).join(&stem);
        let source = format!("prometheus/thresholds/{stem}.yml");
        let rule = prometheus_rule("agent-kit-thresholds", &source, &read(&path)?);
        files.insert(folder.join("thresholds.yaml"), rule);
        let body = "resources:\n  - thresholds.yaml\n";
        files.insert(folder.join("kustomization.yaml"), kustomization("Component", &source, body));
    }
    Ok(())
}

/// The dashboards byte for byte, each with its own `ConfigMap`.
fn dashboards(repository: &Path, files: &mut Files) -> Result<(), Error> {
    let from = repository.join("grafana/dashboards");
    let folder = PathBuf::from("components/grafana-sidecar/generated");
    let mut maps = String::new();
    for path in sources(&from, "json")? {
        let within = path.strip_prefix(&from).unwrap_or(&path);
        files.insert(folder.join(within), read(&path)?);
        let grafana_folder = within.parent().unwrap_or(Path::new("")).display();
        let _ = writeln!(
            maps,
            "  - name: agent-kit-dashboard-{}\n    files: [{}]\n    options:\n      annotations: {{ grafana_folder: {grafana_folder} }}",
            stem(&path),
            within.display(),
        );
    }
    let body = format!(
        "generatorOptions:\n  # The sidecar watches them: a changed dashboard needs no new name.\n  disableNameSuffixHash: true\n  \
         labels:\n    grafana_dashboard: \"1\"\n    app.kubernetes.io/part-of: agent-observability-kit\nconfigMapGenerator:\n{maps}"
    );
    let text = kustomization("Kustomization", "grafana/dashboards/", &body);
    files.insert(folder.join("kustomization.yaml"), text);
    Ok(())
}

/// The configuration with the paths that the operator gives to its templates and secrets.
fn alertmanager(repository: &Path, files: &mut Files) -> Result<(), Error> {
    let (from, folder) = (repository.join("alertmanager"), PathBuf::from("alertmanager/generated"));
    let config = read(&from.join("alertmanager.yml"))?;
    let (templates, secrets) = ("  - templates/*.tmpl\n", "/run/secrets/");
    if !config.contains(templates) || !config.contains(secrets) {
        return Err(Error::Source("alertmanager.yml names neither templates nor secrets".to_owned()));
    }
    let config = config
        .replace(templates, "  - /etc/alertmanager/config/*.tmpl\n")
        .replace(secrets, "/etc/alertmanager/secrets/agent-kit-receivers/");
    let written = written_from("alertmanager/alertmanager.yml");
    files.insert(folder.join("alertmanager.yaml"), format!("{written}{config}"));
    // Named in the Alertmanager resource, so its name may not change.
    let mut body = String::from(
        "generatorOptions:\n  disableNameSuffixHash: true\nsecretGenerator:\n  - name: agent-kit-alertmanager\n    \
         files:\n      - alertmanager.yaml\n",
    );
    for path in sources(&from.join("templates"), "tmpl")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(folder.join(&name), read(&path)?);
        let _ = writeln!(body, "      - {name}");
    }
    files.insert(folder.join("kustomization.yaml"), kustomization("Kustomization", "alertmanager/", &body));
    Ok(())
}

/// Files written by hand in which a version is one of Compose's pins: `… # tag of ELASTICSEARCH_IMAGE`.
fn marked(repository: &Path, pins: &[Pin], files: &mut Files) -> Result<(), Error> {
    let folder = repository.join(FOLDER);
    // An image's tag after its colon, or a version by itself.
    let mark = Regex::new(r"(?m)^(.*[: ])[^: ]+( # tag of ([A-Z_]+))$").expect("a constant pattern");
    for path in sources(&folder, "yaml")? {
        let text = read(&path)?;
        if !mark.is_match(&text) {
            continue;
        }
        if let Some(unknown) = mark.captures_iter(&text).find(|found| tag(pins, &found[3]).is_none()) {
            let name = &unknown[3];
            return Err(Error::Source(format!("{}: docker-compose.yml has no {name}", path.display())));
        }
        let with_tags = mark.replace_all(&text, |found: &regex::Captures| {
            format!("{}{}{}", &found[1], tag(pins, &found[3]).unwrap_or_default(), &found[2])
        });
        let within = path.strip_prefix(&folder).unwrap_or(&path).to_owned();
        files.insert(within, with_tags.into_owned());
    }
    Ok(())
}

fn tag<'p>(pins: &'p [Pin], variable: &str) -> Option<&'p str> {
    pins.iter().find(|pin| pin.variable == variable).map(|pin| pin.tag.as_str())
}
