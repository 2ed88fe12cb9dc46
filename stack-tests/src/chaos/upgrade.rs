//! A stack of an earlier commit, with a project, ports and volumes of its own, is brought up to the present one under load: by
//! `setup/up.sh`, as people do it. What it has kept must be there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use super::{
    Chaos,
    judgement::{Promise, Seen},
    load::Epoch,
    restart,
};
use crate::{
    containers::Containers,
    drill::{Drill, faults::Fault},
    ports,
    programs::free_port,
    stack::{Stack, repository},
};

type Environment = BTreeMap<String, String>;

/// Starts the earlier one, and the present one in its place.
pub(super) fn of_a_stack(chaos: &Chaos<'_>) -> Result<(Seen, Promise), String> {
    let drill = chaos.drill;
    let present = repository();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let earlier = folder.path().join("earlier");
    let reference = match &chaos.reference {
        Some(reference) => reference.clone(),
        None => git(&present, &["describe", "--tags", "--abbrev=0"]).unwrap_or_else(|_| "HEAD~1".into()),
    };
    let commit = git(&present, &["rev-parse", "--verify", &format!("{reference}^{{commit}}")])?;
    drill.note("upgrade stack", &format!("from {reference}, {commit}"));
    extract(&present, &commit, &earlier)?;
    let containers = drill.stack.containers.as_ref().ok_or("STACK_COMPOSE_PROJECT is not set")?;
    let project = format!("{}-upgrade", containers.project());
    let environment = environment(&present, &project, &folder.path().join("secrets"))?;
    let removed = {
        let (present, environment) = (present.clone(), environment.clone());
        Fault::new(move || run(&present, "down.sh", &["--volumes"], &environment))
    };
    run(&earlier, "up.sh", &[], &environment)?;
    drill.note("upgrade stack", "the earlier one is up");
    let second = Drill::of(stack(&environment, project), Arc::clone(drill.ended()))?;
    let result = {
        let chaos = Chaos::begin(&second)?;
        restart::anew(&chaos, Epoch(1), || run(&present, "up.sh", &[], &environment))
    };
    removed.off()?;
    result
}

fn git(repository: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new("git").arg("-C").arg(repository).args(args).output();
    let output = output.map_err(|e| format!("git: {e}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(format!("git {}: {}", args.join(" "), said(&output.stderr)))
    }
}

/// The files of a commit, with what `make setup` has found out about this machine.
fn extract(repository: &Path, commit: &str, into: &Path) -> Result<(), String> {
    let state = into.join(".kit");
    fs::create_dir_all(&state).map_err(|e| format!("{}: {e}", state.display()))?;
    let archive = into.join(".kit/archive.tar");
    git(repository, &["archive", "--output", &archive.display().to_string(), commit])?;
    let untar = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(into).status();
    if !untar.is_ok_and(|status| status.success()) {
        return Err(format!("tar cannot unpack {}", archive.display()));
    }
    for name in ["images.env", "missing"] {
        // Where nothing was found out `up.sh` does so.
        let _ = fs::copy(repository.join(".kit").join(name), state.join(name));
    }
    Ok(())
}

/// A project with free ports, by the settings of the page that lists them, and secrets of its own.
fn environment(repository: &Path, project: &str, secrets: &Path) -> Result<Environment, String> {
    let page = repository.join("docs/security.md");
    let page = fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
    let mut environment = Environment::new();
    for port in ports::table(&page)? {
        environment.insert(port.setting, free_port()?.to_string());
    }
    environment.insert("COMPOSE_PROJECT_NAME".into(), project.into());
    environment.insert("SECRETS_DIR".into(), secrets.display().to_string());
    environment.extend([("FAST", "1"), ("YES", "1")].map(|(name, value)| (name.into(), value.into())));
    Ok(environment)
}

fn stack(environment: &Environment, project: String) -> Stack {
    let url =
        |setting: &str| format!("http://127.0.0.1:{}", environment.get(setting).map_or("0", String::as_str));
    Stack {
        agent: url("AGENT_PORT"),
        agent_admin: url("AGENT_ADMIN_PORT"),
        llm: url("LLM_PORT"),
        slack: url("SLACK_PORT"),
        prometheus: url("PROMETHEUS_PORT"),
        alertmanager: url("ALERTMANAGER_PORT"),
        pushgateway: url("PUSHGATEWAY_PORT"),
        maildev: url("MAILDEV_PORT"),
        jaeger: url("JAEGER_PORT"),
        grafana: url("GRAFANA_PORT"),
        elasticsearch: url("ELASTICSEARCH_PORT"),
        kibana: url("KIBANA_PORT"),
        secrets: PathBuf::from(&environment["SECRETS_DIR"]),
        containers: Some(Containers::of(project)),
        ..Stack::from_env()
    }
}

/// One of the scripts of a checkout; its last words where it fails.
fn run(repository: &Path, script: &str, args: &[&str], environment: &Environment) -> Result<(), String> {
    let output = Command::new(repository.join("setup").join(script))
        .args(args)
        .envs(environment)
        // Those of the stack in use.
        .env_remove("PROMETHEUS_TARGETS_DIR")
        .env_remove("PROMETHEUS_CONFIG_DIR")
        .env_remove("ALERTMANAGER_CONFIG_DIR")
        .env_remove("COMPOSE_ENV_FILES")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{script}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let last: Vec<_> = said.lines().rev().take(12).collect();
    Err(format!("{script}: {}: {}", output.status, last.into_iter().rev().collect::<Vec<_>>().join(" / ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_port_is_another() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let environment = environment(&repository, "kit-upgrade", Path::new("/secrets")).unwrap();
        let ports: std::collections::BTreeSet<_> =
            environment.iter().filter(|(name, _)| name.ends_with("_PORT")).map(|(_, port)| port).collect();
        assert!(ports.len() > 15 && ports.len() + 4 == environment.len(), "{environment:?}");
        let stack = stack(&environment, "kit-upgrade".into());
        for url in [&stack.agent, &stack.agent_admin, &stack.llm, &stack.prometheus, &stack.elasticsearch] {
            assert!(!url.ends_with(":0"), "{url}");
        }
    }
}
