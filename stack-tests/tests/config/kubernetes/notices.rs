//! The checks fail where they should: each of these changes a copy of the manifests and is noticed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use libtest_mimic::Trial;
use stack_tests::kubernetes::{self, FOLDER, Renderer};

use super::{Kustomize, agreement, cluster, overlay_of, validity};
use crate::read;

/// A name, the file within the manifests, what becomes what in it, and a word of what is then said.
type Change = (&'static str, &'static str, &'static str, &'static str, &'static str);

const AGENT: &str = "base/deployment.yaml";
const CHANGES: [Change; 25] = [
    ("an_unknown_field", AGENT, "runAsNonRoot", "runAsNonroot", "runAsNonroot"),
    (
        "an_unknown_field_of_a_custom_resource",
        "components/prometheus-operator/service-monitor.yaml",
        "interval:",
        "every:",
        "every",
    ),
    ("a_wrong_type", AGENT, "containerPort: 8080", "containerPort: http", "containerPort"),
    (
        "a_selector_without_its_label",
        "base/services.yaml",
        "selector: { app.kubernetes.io/name: example-agent }",
        "selector: { app: agent }",
        "selects no pod",
    ),
    (
        "a_port_of_a_service_that_no_pod_has",
        "base/services.yaml",
        "targetPort: metrics",
        "targetPort: admin",
        "leads to port",
    ),
    (
        "a_monitor_of_a_port_that_is_not_there",
        "base/services.yaml",
        "name: metrics, port",
        "name: admin, port",
        "scrapes port",
    ),
    (
        "a_probe_of_another_port",
        AGENT,
        "/readyz, port: metrics",
        "/readyz, port: probes",
        "readinessProbe asks port",
    ),
    (
        "an_autoscaler_of_nothing",
        "base/autoscaler.yaml",
        "kind: Deployment, name: example-agent",
        "kind: Deployment, name: agent",
        "scales",
    ),
    (
        "a_budget_of_nothing",
        "base/disruption-budget.yaml",
        "matchLabels: { app.kubernetes.io/name: example-agent }",
        "matchLabels: { app: agent }",
        "selects no pod",
    ),
    (
        "a_policy_for_another_port",
        "base/network-policy.yaml",
        "port: metrics",
        "port: 9000",
        "lets callers to port",
    ),
    (
        "a_config_map_that_is_not_there",
        AGENT,
        "configMap: { name: example-agent-config }",
        "configMap: { name: agent-config }",
        "no ConfigMap",
    ),
    (
        "a_secret_that_nobody_knows_how_to_make",
        AGENT,
        "secretName: example-agent-llm",
        "secretName: the-key",
        "README.md says nothing",
    ),
    (
        "a_right_too_many",
        AGENT,
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "may write to its image",
    ),
    (
        "a_token_that_nobody_needs",
        AGENT,
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "is given a token",
    ),
    ("a_folder_without_a_limit", AGENT, "{ sizeLimit: 1Gi }", "{}", "has no limit"),
    (
        "a_secret_with_its_value",
        "components/simulators/kustomization.yaml",
        "llm_api_key=",
        "llm_api_key=sk-secret",
        "has a value in it",
    ),
    (
        "a_file_of_the_setup_that_is_not_mounted",
        "components/eck/setup.yaml",
        "              - { key: users, path: users }\n",
        "",
        "only one has",
    ),
    ("another_image", AGENT, "agent-kit/example-agent:dev", "agent-kit/example-agent:new", "the image is"),
    ("another_limit", AGENT, "limits: { memory: 256Mi", "limits: { memory: 512Mi", "the limit of memory"),
    ("another_user", AGENT, "runAsUser: 10001", "runAsUser: 10002", "the user is"),
    (
        "another_port",
        AGENT,
        "name: metrics, containerPort: 8000",
        "name: metrics, containerPort: 8001",
        "the ports are",
    ),
    (
        "another_setting",
        "base/settings.env",
        "AGENT_LLM_MODEL=gpt-5.4-mini",
        "AGENT_LLM_MODEL=sim-large",
        "AGENT_LLM_MODEL is",
    ),
    (
        "a_setting_that_the_agent_does_not_know",
        "base/settings.env",
        "AGENT_LOG_FILES=",
        "AGENT_LOGS=",
        "the agent knows no",
    ),
    (
        "a_grace_period_that_is_too_short",
        AGENT,
        "terminationGracePeriodSeconds: 55",
        "terminationGracePeriodSeconds: 30",
        "too short",
    ),
    (
        "another_interval",
        "components/prometheus-operator/service-monitor.yaml",
        "interval: 5s",
        "interval: 30s",
        "the interval is",
    ),
];
/// The same, of files that are made: they are then not what their sources say.
const EDITS: [(&str, &str, &str, &str); 4] = [
    (
        "a_rule_that_was_changed_here",
        "components/prometheus-operator/generated/agent.yaml",
        "for: 5m",
        "for: 6m",
    ),
    (
        "a_limit_that_was_changed_here",
        "components/thresholds/default/thresholds.yaml",
        "vector(2)",
        "vector(3)",
    ),
    (
        "a_dashboard_that_was_changed_here",
        "components/grafana-sidecar/generated/agent/cost.json",
        "agent-cost",
        "my-cost",
    ),
    ("a_version_of_filebeat_of_its_own", "components/filebeat/sidecar.yaml", "filebeat:9.", "filebeat:8."),
];

pub(super) fn trials(repository: &Path, kustomize: &Kustomize) -> Vec<Trial> {
    let changes = CHANGES.into_iter().map(|change| {
        let repository = repository.to_owned();
        kustomize.trial(format!("kubernetes::notices::{}", change.0), move |renderer| {
            is_noticed(renderer, &repository, change)
        })
    });
    let edits = EDITS.into_iter().map(|(name, file, from, to)| {
        let repository = repository.to_owned();
        crate::trial(format!("kubernetes::notices::{name}"), move || {
            edit_is_noticed(&repository, file, from, to)
        })
    });
    changes.chain(edits).collect()
}

/// The manifests in a folder of their own.
pub(super) struct Copy(tempfile::TempDir);

impl Copy {
    pub(super) fn of(repository: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        copy(&repository.join(FOLDER), &folder.path().join(FOLDER))?;
        Ok(Self(folder))
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn replace(&self, file: &str, from: &str, to: &str) -> Result<(), String> {
        let path = self.root().join(FOLDER).join(file);
        let text = read(&path)?;
        crate::ensure(text.contains(from), || format!("{file} has no `{from}`"))?;
        fs::write(&path, text.replace(from, to)).map_err(|e| e.to_string())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|e| e.to_string())?;
    for entry in fs::read_dir(from).map_err(|e| format!("{}: {e}", from.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let target: PathBuf = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map(drop).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

fn is_noticed(
    renderer: &Renderer,
    repository: &Path,
    (_, file, from, to, said): Change,
) -> Result<(), String> {
    let copy = Copy::of(repository)?;
    copy.replace(file, from, to)?;
    let page = read(&repository.join(FOLDER).join("README.md"))?;
    let mut all = Vec::new();
    let monitored = renderer.render(&overlay_of(copy.root(), "production-eck"))?;
    all.extend(validity::problems(repository, &monitored)?);
    all.extend(cluster::problems(&monitored, &page));
    all.extend(agreement::scraping(repository, &monitored)?);
    let tried = renderer.render(&overlay_of(copy.root(), "try"))?;
    all.extend(cluster::problems(&tried, &page));
    // What is noticed here may be what the rest of these cannot do without.
    all.extend(agreement::differences(repository, &tried).unwrap_or_else(|missing| vec![missing]));
    crate::ensure(all.iter().any(|problem| problem.contains(said)), || {
        format!("`{said}` is not among what was noticed: {all:#?}")
    })
}

fn edit_is_noticed(repository: &Path, file: &str, from: &str, to: &str) -> Result<(), String> {
    let wanted = kubernetes::generate(repository).map_err(|e| e.to_string())?;
    let copy = Copy::of(repository)?;
    copy.replace(file, from, to)?;
    let differences = kubernetes::differences(copy.root(), &wanted).map_err(|e| e.to_string())?;
    crate::ensure(differences.len() == 1 && differences[0].contains(file), || format!("{differences:?}"))
}
