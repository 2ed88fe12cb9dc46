//! `deploy/high-availability/`: two Prometheus servers and two Alertmanagers, in containers, with the very files; rules, routes and
//! intervals twenty times as fast. Nothing else runs, so that the one alert of an agent is that there is none.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use regex::Regex;
use serde_json::{Value, json};
use stack_tests::{
    clients,
    programs::{ask, free_address},
    wait,
};

use crate::compose::Project;

const FACTOR: u32 = 20;
/// A busy machine, and the second Alertmanager's turn, which comes after 15 seconds.
const PATIENCE: Duration = Duration::from_secs(90);
const PROJECT: &str = "agent-kit-scaling";
const SERVICES: [&str; 5] =
    ["prometheus", "prometheus-2", "alertmanager", "alertmanager-2", "simulators-slack"];

pub(crate) fn tell_people_once(repository: &Path) -> Result<(), String> {
    let kit = Kit::start(repository)?;
    for alertmanager in ["ALERTMANAGER_PORT", "ALERTMANAGER_2_PORT"] {
        wait::until("the Alertmanagers know one another", PATIENCE, || {
            kit.metric(alertmanager, "alertmanager_cluster_members")
                .and_then(|members| at_least(members, 2.0))
        })?;
    }
    for prometheus in ["PROMETHEUS_PORT", "PROMETHEUS_2_PORT"] {
        wait::until("each Prometheus fires", PATIENCE, || {
            let alerts = ask(&kit.url(prometheus, "/api/v1/alerts"), &[])?;
            let fires =
                |alert: &Value| alert["labels"]["alertname"] == "AgentAbsent" && alert["state"] == "firing";
            let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
            if alerts.iter().any(fires) { Ok(()) } else { Err(format!("{alerts:?}")) }
        })?;
    }
    // Each has come to the point of sending: the one did, the other knew of it. Two ways, mail and Slack, are two questions.
    for alertmanager in ["ALERTMANAGER_PORT", "ALERTMANAGER_2_PORT"] {
        wait::until("each Alertmanager has had its turn", PATIENCE, || {
            kit.metric(alertmanager, "alertmanager_nflog_queries_total").and_then(|n| at_least(n, 2.0))
        })?;
        let alerts = ask(&kit.url(alertmanager, "/api/v2/alerts"), &[])?;
        let replica =
            alerts.as_array().into_iter().flatten().any(|alert| alert["labels"].get("replica").is_some());
        if replica {
            return Err(format!("an alert that says which replica it is of is two alerts: {alerts}"));
        }
    }
    kit.one_message_of("AgentAbsent")?;

    // One of them dies, and something else breaks.
    kit.project.compose(&["kill", "alertmanager"])?;
    let asked = kit.metric("ALERTMANAGER_2_PORT", "alertmanager_nflog_queries_total")?;
    kit.target("grafana", "- targets: [\"grafana:3000\"]\n")?;
    wait::until("a message of what broke then", PATIENCE, || kit.one_message_of("GrafanaDown"))?;
    wait::until("the one that is left has come to AgentAbsent again", PATIENCE, || {
        let now = kit.metric("ALERTMANAGER_2_PORT", "alertmanager_nflog_queries_total")?;
        at_least(now, asked + 6.0)
    })?;
    kit.one_message_of("GrafanaDown")?;
    kit.one_message_of("AgentAbsent")
}

fn at_least(value: f64, least: f64) -> Result<(), String> {
    if value >= least { Ok(()) } else { Err(value.to_string()) }
}

/// The containers, and their folder.
struct Kit {
    project: Project,
    folder: tempfile::TempDir,
    ports: BTreeMap<&'static str, String>,
}

impl Kit {
    fn start(repository: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut ports = BTreeMap::new();
        for name in
            ["PROMETHEUS_PORT", "PROMETHEUS_2_PORT", "ALERTMANAGER_PORT", "ALERTMANAGER_2_PORT", "SLACK_PORT"]
        {
            let address = free_address()?;
            ports.insert(name, address.rsplit(':').next().unwrap_or_default().to_owned());
        }
        let at = |name: &str| folder.path().join(name);
        let mut environment: BTreeMap<_, _> =
            ports.iter().map(|(name, port)| (*name, OsString::from(port))).collect();
        environment.insert("COMPOSE_PROFILES", "".into());
        // Of this trial Grafana is one that is down, where it cannot be had too.
        environment.insert("ABSENT_SERVICES", "".into());
        environment.insert("PROMETHEUS_CONFIG_DIR", at("prometheus").into());
        environment.insert("PROMETHEUS_TARGETS_DIR", at("targets").into());
        environment.insert("ALERTMANAGER_CONFIG_DIR", at("alertmanager").into());
        environment.insert("SECRETS_DIR", at("secrets").into());
        environment.insert("PROMETHEUS_RESEND_DELAY", "2s".into());
        let files = ["docker-compose.yml", "deploy/high-availability/docker-compose.yml"];
        let files = files.into_iter().map(PathBuf::from).chain([at("faster.yml")]).collect();
        let project = Project { name: PROJECT, repository: repository.to_owned(), files, environment };
        let kit = Self { project, folder, ports };
        let scaled = |from: &str, to: &str| {
            scale_durations::folder(&repository.join(from), &kit.at(to), FACTOR).map_err(|e| e.to_string())
        };
        scaled("prometheus", "prometheus")?;
        scaled("alertmanager", "alertmanager")?;
        scaled("deploy/high-availability", "high-availability")?;
        for folder in ["targets", "secrets"] {
            std::fs::create_dir(kit.at(folder)).map_err(|e| e.to_string())?;
        }
        kit.target("prometheus", "- targets: [\"prometheus:9090\", \"prometheus-2:9090\"]\n")?;
        // start.sh takes the files that it finds; what is in them is read again.
        kit.target("grafana", "[]\n")?;
        for secret in
            ["slack_webhook_url", "smtp_password", "pagerduty_routing_key", "webhook_url", "deadman_url"]
        {
            kit.write(
                &format!("secrets/{secret}"),
                "http://simulators-slack:8082/services/T00000000/B00000000/simulated",
            )?;
        }
        let mount = format!(
            "{}:/etc/prometheus/prometheus.yml:ro",
            kit.at("high-availability/prometheus.yml").display()
        );
        let faster = json!({ "volumes": [mount] });
        let own = json!({ "services": { "prometheus": faster, "prometheus-2": faster } });
        kit.write("faster.yml", &own.to_string())?;
        // The containers' users are not this one.
        set_readable(kit.folder.path())?;
        // What an earlier run has left.
        let _ = kit.project.remove();
        kit.project.compose(
            &[&["up", "--detach", "--wait", "--no-build", "--quiet-pull"], &SERVICES[..]].concat(),
        )?;
        Ok(kit)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        std::fs::write(self.at(name), text).map_err(|e| format!("{name}: {e}"))?;
        set_readable(&self.at(name))
    }

    /// Writes a job's targets.
    fn target(&self, job: &str, text: &str) -> Result<(), String> {
        self.write(&format!("targets/{job}.yml"), text)
    }

    fn url(&self, port: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[port])
    }

    /// The sum of a metric's series.
    fn metric(&self, port: &str, name: &str) -> Result<f64, String> {
        let answer = clients::send(clients::client().get(self.url(port, "/metrics")))?;
        let sample =
            Regex::new(&format!(r"(?m)^{name}(?:\{{[^}}]*\}})? (\S+)$")).map_err(|e| e.to_string())?;
        let values = sample.captures_iter(&answer.text).map(|found| found[1].parse::<f64>());
        values.sum::<Result<f64, _>>().map_err(|e| format!("{name}: {e}"))
    }

    /// That people were told of this alert once, not twice and not at all.
    fn one_message_of(&self, alert: &str) -> Result<(), String> {
        let inbox = ask(&self.url("SLACK_PORT", "/api/messages"), &[])?;
        let messages = inbox["messages"].as_array().ok_or_else(|| inbox.to_string())?;
        let of_alert: Vec<_> =
            messages.iter().filter(|message| message.to_string().contains(alert)).collect();
        if of_alert.len() == 1 {
            Ok(())
        } else {
            Err(format!("{} messages of {alert}: {of_alert:?}", of_alert.len()))
        }
    }
}

/// Lets the containers' users read it, with what is in it.
pub(crate) fn set_readable(path: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            set_readable(&entry.map_err(failed)?.path())?;
        }
    }
    Ok(())
}
