//! Where the stack under test is.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use crate::containers::Containers;

/// The checkout whose files programs read while they run: `STACK_REPOSITORY`, by default the one they were compiled from.
pub fn repository() -> PathBuf {
    let named = env::var_os("STACK_REPOSITORY").filter(|folder| !folder.is_empty());
    named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), PathBuf::from)
}

/// Whether this program runs in a container on the stack's own network, where it reaches the other containers by their names:
/// `STACK_INSIDE=1`. Otherwise it uses the ports that the engine publishes.
pub fn is_inside() -> bool {
    env::var("STACK_INSIDE").is_ok_and(|value| value == "1")
}

/// The addresses of a running stack. Each has an environment variable; the defaults are those of `make up`.
pub struct Stack {
    /// `STACK_AGENT_URL`: the agent's API.
    pub agent: String,
    /// `STACK_AGENT_ADMIN_URL`: the agent's metrics and health.
    pub agent_admin: String,
    /// `STACK_LLM_URL`: the model simulator, for its faults.
    pub llm: String,
    /// `STACK_SLACK_URL`: the Slack simulator, for its inbox.
    pub slack: String,
    /// `STACK_PROMETHEUS_URL`.
    pub prometheus: String,
    /// `STACK_ALERTMANAGER_URL`.
    pub alertmanager: String,
    /// `STACK_PUSHGATEWAY_URL`.
    pub pushgateway: String,
    /// `STACK_MAILDEV_URL`: the mailbox's web side.
    pub maildev: String,
    /// `STACK_JAEGER_URL`: the query API.
    pub jaeger: String,
    /// `STACK_GRAFANA_URL`.
    pub grafana: String,
    /// `STACK_GRAFANA_PASSWORD`: of the account `admin`.
    pub grafana_password: String,
    /// `STACK_ELASTICSEARCH_URL`.
    pub elasticsearch: String,
    /// `STACK_KIBANA_URL`.
    pub kibana: String,
    /// `STACK_SECRETS_DIR`: the folder with the passwords, by default the checkout's `secrets/`.
    pub secrets: PathBuf,
    /// The containers behind it, if `STACK_COMPOSE_PROJECT` names them: trials that stop and kill need it.
    pub containers: Option<Containers>,
    /// `STACK_FAST=1`: the rules run with all durations divided by 20, so that an alert's end can be waited for.
    pub fast: bool,
    /// `STACK_MISSING`: services that could not be had here, as lines of a name, a tab and the reason (`.kit/missing`).
    pub missing: BTreeMap<String, String>,
}

impl Stack {
    /// Reads the environment.
    pub fn from_env() -> Self {
        let url = |name: &str, default: &str| {
            let url = env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| default.into());
            url.trim_end_matches('/').to_owned()
        };
        Self {
            agent: url("STACK_AGENT_URL", "http://127.0.0.1:8080"),
            agent_admin: url("STACK_AGENT_ADMIN_URL", "http://127.0.0.1:8000"),
            llm: url("STACK_LLM_URL", "http://127.0.0.1:8081"),
            slack: url("STACK_SLACK_URL", "http://127.0.0.1:8082"),
            prometheus: url("STACK_PROMETHEUS_URL", "http://127.0.0.1:9090"),
            alertmanager: url("STACK_ALERTMANAGER_URL", "http://127.0.0.1:9093"),
            pushgateway: url("STACK_PUSHGATEWAY_URL", "http://127.0.0.1:9091"),
            maildev: url("STACK_MAILDEV_URL", "http://127.0.0.1:1080"),
            jaeger: url("STACK_JAEGER_URL", "http://127.0.0.1:16686"),
            grafana: url("STACK_GRAFANA_URL", "http://127.0.0.1:3000"),
            grafana_password: url("STACK_GRAFANA_PASSWORD", "admin"),
            elasticsearch: url("STACK_ELASTICSEARCH_URL", "http://127.0.0.1:9200"),
            kibana: url("STACK_KIBANA_URL", "http://127.0.0.1:5601"),
            secrets: url("STACK_SECRETS_DIR", &repository().join("secrets").to_string_lossy()).into(),
            containers: env::var("STACK_COMPOSE_PROJECT").ok().filter(|v| !v.is_empty()).map(Containers::of),
            fast: env::var("STACK_FAST").is_ok_and(|v| v == "1"),
            missing: missing(&env::var("STACK_MISSING").unwrap_or_default()),
        }
    }
}

fn missing(lines: &str) -> BTreeMap<String, String> {
    lines
        .lines()
        .filter_map(|line| {
            let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            (!name.trim().is_empty()).then(|| (name.trim().to_owned(), reason.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn a_missing_service_has_a_name_and_a_reason() {
        let got = missing("grafana\tno registry\n\nkibana\n");
        assert_eq!(got["grafana"], "no registry");
        assert_eq!(got["kibana"], "no reason given");
        assert_eq!(got.len(), 2);
    }
}
