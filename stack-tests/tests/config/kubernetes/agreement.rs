//! Kubernetes and Compose say the same, but for what is listed here with its reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use regex::Regex;
use serde_json::Value;
use stack_tests::{secrets, yaml};

use super::{
    cluster::{containers, find},
    validity::name,
};
use crate::read;

/// Settings of the agent that may differ from Compose's: what they name is beside it there, and elsewhere in a cluster; and the
/// folder of lines is smaller here, and as short-lived as its pod.
const ELSEWHERE: [&str; 9] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "AGENT_LINK_GRAFANA",
    "AGENT_LINK_JAEGER",
    "AGENT_LINK_KIBANA",
    "AGENT_LINK_PROMETHEUS",
    "AGENT_LOG_FILES",
    "AGENT_LOG_MAX_BYTES",
    "AGENT_PRICES_FILE",
    "AGENT_TENANTS_FILE",
];
/// Settings that only Kubernetes has: `base/settings.env` says why.
const ONLY_HERE: [&str; 2] = ["AGENT_SHUTDOWN_TIMEOUT", "AGENT_COMPLIANCE_FILE"];
/// What is the same in both, by the names of Compose's services.
const SERVICES: [&str; 3] = ["example-agent", "simulators-llm", "load"];

/// Where the objects and Compose differ, a line each.
pub(super) fn differences(repository: &Path, objects: &[Value]) -> Result<Vec<String>, String> {
    let compose = yaml::documents(&defaults(&read(&repository.join("docker-compose.yml"))?))?;
    let compose = compose.first().ok_or("docker-compose.yml is empty")?;
    let user = user(repository)?;
    let mut differences = Vec::new();
    for service in SERVICES {
        let here = find(objects, "Deployment", service).ok_or(format!("no Deployment {service}"))?;
        let there = &compose["services"][service];
        differences.extend(
            workload(here, there, &user, &secrets::read_by(repository, service)?)
                .into_iter()
                .map(|what| format!("{}: {what}", name(here))),
        );
    }
    differences.extend(settings(repository, objects, &compose["services"]["example-agent"]["environment"])?);
    differences.extend(drain(objects)?);
    Ok(differences)
}

/// Replaces each `${NAME:-default}` by its default, and each `${NAME:+value}` by nothing, as Compose does where no variable is set.
fn defaults(text: &str) -> String {
    let innermost = Regex::new(r"\$\{[A-Z0-9_]+:?([-+])([^{}]*)\}").expect("a constant pattern");
    let mut text = text.to_owned();
    while innermost.is_match(&text) {
        let replaced =
            innermost.replace_all(
                &text,
                |found: &regex::Captures| {
                    if &found[1] == "-" { found[2].to_owned() } else { String::new() }
                },
            );
        text = replaced.into_owned();
    }
    text
}

/// The user of the kit's own images.
fn user(repository: &Path) -> Result<(String, String), String> {
    let dockerfile = read(&repository.join("Dockerfile"))?;
    let line =
        dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).ok_or("Dockerfile names no USER")?;
    let (user, group) = line.split_once(':').ok_or("USER has no group")?;
    Ok((user.to_owned(), group.to_owned()))
}

fn workload(
    here: &Value,
    there: &Value,
    (user, group): &(String, String),
    secrets: &[String],
) -> Vec<String> {
    let pod = &here["spec"]["template"]["spec"];
    let Some(container) = containers(here).last() else { return vec!["no container".into()] };
    let mut differences = Vec::new();
    let mut same = |what: &str, here: &Value, there: &Value| {
        if here != there {
            differences.push(format!("{what} is {here}, in Compose {there}"));
        }
    };
    same("the image", &container["image"], &there["image"]);
    same("what it is started with", &container["args"], &there["command"]);
    let limit = &there["deploy"]["resources"]["limits"]["memory"];
    same("the limit of memory", &bytes(&container["resources"]["limits"]["memory"]), &bytes(limit));
    let security = &pod["securityContext"];
    same("the user", &security["runAsUser"].to_string().into(), &user.as_str().into());
    same("the group", &security["runAsGroup"].to_string().into(), &group.as_str().into());
    let own = &container["securityContext"];
    same("whether its image is read-only", &own["readOnlyRootFilesystem"], &there["read_only"]);
    same("dropped capabilities", &own["capabilities"]["drop"], &there["cap_drop"]);
    let gains = there["security_opt"] != serde_json::json!(["no-new-privileges:true"]);
    same("whether it may gain rights", &own["allowPrivilegeEscalation"], &gains.into());

    // What Compose publishes or serves is what it listens on.
    let published = list(there, "ports").iter().filter_map(|port| port.as_str()?.rsplit(':').next());
    let published: BTreeSet<_> = published.map(str::to_owned).collect();
    let ports = list(container, "ports").iter().map(|port| port["containerPort"].to_string()).collect();
    if published != ports {
        differences.push(format!("the ports are {ports:?}, in Compose {published:?}"));
    }
    // Folders of state and of secrets are where they are there.
    let mounts: Vec<_> =
        list(container, "volumeMounts").iter().filter_map(|m| m["mountPath"].as_str()).collect();
    let named = |volume: &&str| volume.starts_with(|first: char| first.is_ascii_lowercase());
    let volumes = list(there, "volumes").iter().filter_map(Value::as_str).filter(named);
    for path in volumes.filter_map(|volume| volume.split(':').nth(1)).filter(|path| !mounts.contains(path)) {
        differences.push(format!("nothing is mounted at {path}, as Compose does"));
    }
    for secret in secrets {
        let mut items = list(pod, "volumes").iter().flat_map(|volume| list(&volume["secret"], "items"));
        if !items.any(|item| item["path"] == *secret) {
            differences.push(format!("no Secret gives the file {secret}"));
        }
    }
    differences
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `256M` as Compose means it, `256Mi` as Kubernetes does.
fn bytes(size: &Value) -> Value {
    let text = size.as_str().unwrap_or_default();
    let units = [("Mi", 20), ("Gi", 30), ("M", 20), ("G", 30)];
    let size = units.iter().find_map(|(unit, power)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number << power)
    });
    size.into()
}

/// The agent's environment.
fn environment(objects: &[Value]) -> Result<BTreeMap<String, String>, String> {
    let agent = find(objects, "Deployment", "example-agent").ok_or("no agent")?;
    let container = containers(agent).last().ok_or("no container")?;
    let map = container["envFrom"][0]["configMapRef"]["name"].as_str().unwrap_or_default();
    let settings = find(objects, "ConfigMap", map).ok_or("the agent has no settings")?;
    let pairs = settings["data"].as_object().ok_or("the settings are empty")?;
    Ok(pairs.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().into())).collect())
}

fn settings(repository: &Path, objects: &[Value], compose: &Value) -> Result<Vec<String>, String> {
    let here = environment(objects)?;
    let there = compose.as_object().ok_or("the agent has no environment in Compose")?;
    let mut differences = Vec::new();
    for (variable, value) in there {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        match here.get(variable) {
            None => differences.push(format!("{variable} is missing: Compose says {value:?}")),
            Some(own) if *own != value && !ELSEWHERE.contains(&variable.as_str()) => {
                differences.push(format!("{variable} is {own:?}, in Compose {value:?}"));
            }
            Some(_) => {}
        }
    }
    let page = read(&repository.join("example-agent/README.md"))?;
    for variable in here.keys().filter(|name| !there.contains_key(*name)) {
        if !ONLY_HERE.contains(&variable.as_str()) {
            differences.push(format!("{variable} is not in Compose, nor among what only Kubernetes has"));
        }
        if !page.contains(&format!("| `{variable}` |")) {
            differences.push(format!("the agent knows no {variable}"));
        }
    }
    // The files of which Compose has built-in copies.
    let agent = find(objects, "Deployment", "example-agent").ok_or("no agent")?;
    let mounts: Vec<_> = containers(agent).flat_map(|container| list(container, "volumeMounts")).collect();
    for (variable, path) in here.iter().filter(|(name, _)| name.ends_with("_FILE")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !mounts.iter().any(|mount| mount["mountPath"] == folder) {
            differences.push(format!("{variable} is {path}, where nothing is mounted"));
        }
    }
    Ok(differences)
}

/// The end of a pod leaves the agent the time that it takes, and that leaves a model call the time that it may take.
fn drain(objects: &[Value]) -> Result<Vec<String>, String> {
    let here = environment(objects)?;
    let time = |variable: &str| {
        let value = here.get(variable).ok_or(format!("no {variable}"))?;
        humantime::parse_duration(value).map_err(|e| format!("{variable}: {e}"))
    };
    let (shutdown, call) = (time("AGENT_SHUTDOWN_TIMEOUT")?, time("AGENT_LLM_TIMEOUT")?);
    let agent = find(objects, "Deployment", "example-agent").ok_or("no agent")?;
    let container = containers(agent).last().ok_or("no container")?;
    let seconds = |value: &Value| Duration::from_secs(value.as_u64().unwrap_or_default());
    let before = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let grace = seconds(&agent["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]);
    let mut problems = Vec::new();
    if shutdown.mul_f64(0.8) < call {
        problems.push(format!(
            "four fifths of AGENT_SHUTDOWN_TIMEOUT {shutdown:?} are less than a model call's {call:?}"
        ));
    }
    if grace < before + shutdown + Duration::from_secs(5) {
        problems.push(format!("{grace:?} of grace are too short for {before:?} and then {shutdown:?}"));
    }
    // The probes are routes of the agent.
    let probes =
        ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| &container[probe]["httpGet"]["path"]);
    let wanted = ["/healthz", "/healthz", "/readyz"];
    if probes != wanted {
        problems.push(format!("it is probed at {probes:?}, not at {wanted:?}"));
    }
    Ok(problems)
}

/// The operator's Prometheus scrapes as the kit's own does.
pub(super) fn scraping(repository: &Path, objects: &[Value]) -> Result<Vec<String>, String> {
    let config = yaml::file(&repository.join("prometheus/prometheus.yml"))?;
    let jobs = list(&config, "scrape_configs");
    let job = jobs.iter().find(|job| job["job_name"] == "example-agent").ok_or("no job example-agent")?;
    let targets = yaml::file(&repository.join("prometheus/targets/example-agent.yml"))?;
    let target = targets[0]["targets"][0].as_str().unwrap_or_default();
    let monitor = find(objects, "ServiceMonitor", "example-agent").ok_or("no ServiceMonitor")?;
    let service = find(objects, "Service", "example-agent-admin").ok_or("no Service example-agent-admin")?;
    let label = monitor["spec"]["jobLabel"].as_str().unwrap_or_default();
    let endpoint = &monitor["spec"]["endpoints"][0];
    let port = &service["spec"]["ports"][0]["port"];
    let same = [
        ("the job", &service["metadata"]["labels"][label], &job["job_name"]),
        ("the interval", &endpoint["interval"], &job["scrape_interval"]),
        ("the port", &port.to_string().into(), &target.rsplit(':').next().unwrap_or_default().into()),
    ];
    let differ = same.iter().filter(|(_, here, there)| here != there);
    Ok(differ.map(|(what, here, there)| format!("{what} is {here}, in prometheus.yml {there}")).collect())
}
