//! What was backed up is there again, whatever happened to the stack meanwhile.

use std::{path::Path, process::Command};

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{client, send},
    keepsakes::{has_silence, push, push_url, silence},
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[Case::new(
    "backup::what_was_saved_is_there_again_after_a_restore",
    &[Need::Containers, Need::Fast],
    saved_and_restored,
)];

/// `setup/backup.sh`, as `make` calls it.
fn backup(stack: &Stack, what: &str, folder: &Path) -> Result<String, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(repository.join("setup/backup.sh"));
    let project = stack.containers.as_ref().expect("needed").project();
    command.arg(what).arg(folder).env("YES", "1");
    command.env("COMPOSE_PROJECT_NAME", project).env("SECRETS_DIR", &stack.secrets);
    let output = command.output().map_err(|e| format!("backup.sh: {e}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{what}: {}: {said}", output.status)) }
}

fn saved_and_restored(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let saved = folder.path().join("saved");
    let run = uuid::Uuid::new_v4();
    let (before, after) = (format!("before {run}"), format!("after {run}"));
    silence(stack, &before)?;
    let series = push(stack, &run.to_string())?;

    let said = backup(stack, "save", &saved)?;
    ensure(said.contains("prometheus-data: ") && said.contains("It holds passwords"), || said.clone())?;
    ensure(!said.contains("Stopping what writes to its volume: example-agent"), || said.clone())?;
    // What the alert BackupOld asks.
    until("the time of the backup", SOON, || {
        let age = stack.promql_value("time() - max(backup_completed_timestamp_seconds)")?;
        ensure(age < 3600.0, || format!("{age} seconds old"))
    })?;
    // The same folder again would be two backups in one.
    let twice = backup(stack, "save", &saved).err().ok_or("saved twice into one folder")?;
    ensure(twice.contains("is there already"), || twice.clone())?;
    let services = containers.services()?;
    services.iter().try_for_each(|service| containers.wait_healthy(service))?;

    silence(stack, &after)?;
    expect("deleting", send(client().delete(push_url(stack, &run.to_string())))?.status, 202)?;
    let said = backup(stack, "restore", &saved)?;
    ensure(said.contains("prometheus-data is back") && said.contains("All healthy"), || said.clone())?;
    expect("silence of before", has_silence(stack, &before)?, true)?;
    expect("silence of after", has_silence(stack, &after)?, false)?;
    // What was scraped before stays, and what was deleted after is pushed on.
    until("the history", SOON, || {
        let points = stack.promql_value(&format!("count_over_time({series}[15m])"))?;
        ensure(points >= 2.0, || format!("{points} points"))
    })?;
    expect("status of a question", stack.fresh_query("acme")?.status, 200)?;

    std::fs::write(saved.join("prometheus-data.tar.gz"), "broken").map_err(|e| e.to_string())?;
    let damaged = backup(stack, "restore", &saved).err().ok_or("a damaged backup was restored")?;
    ensure(damaged.contains("is damaged"), || damaged.clone())?;
    expect("status after a refused restore", stack.fresh_query("acme")?.status, 200)
}
