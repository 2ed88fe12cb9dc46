//! Files of Prometheus' configuration with another content. Only what `make up` has generated is touched.

use std::{fs, io, path::PathBuf, time::Duration};

use super::{Fault, containers};
use crate::drill::Drill;

/// Where a folder or file of Prometheus' container comes from.
pub(super) fn source(drill: &Drill, inside: &str) -> Result<PathBuf, String> {
    let inspect = containers(&drill.stack)?.inspect("prometheus")?;
    let mounts = inspect["Mounts"].as_array().into_iter().flatten();
    let source = mounts.filter(|m| m["Destination"] == inside).find_map(|m| m["Source"].as_str());
    // Docker Desktop names the folders of its host with this in front.
    let host = source.map(|source| source.strip_prefix("/host_mnt").unwrap_or(source));
    host.map(PathBuf::from).ok_or(format!("Prometheus has no {inside}"))
}

/// The same, to be changed: only what `make up` has generated is touched.
pub(super) fn generated(drill: &Drill, inside: &str) -> Result<PathBuf, String> {
    let source = source(drill, inside)?;
    if source.components().any(|part| part.as_os_str() == ".kit") {
        Ok(source)
    } else {
        Err(format!("{} is no generated file: this needs a stack of FAST=1 make up", source.display()))
    }
}

/// As the runbook says. Not `docker kill`, whatever the signal: the engine takes it for the operator's wish, and would not
/// start the container again when it fails.
fn reload(drill: &Drill) -> Result<(), String> {
    containers(&drill.stack)?.exec("prometheus", &["sh", "-c", "kill -HUP 1"]).map(drop)
}

/// A file of Prometheus' configuration with another content.
pub(super) fn changed<'d>(
    drill: &'d Drill,
    path: PathBuf,
    content: &str,
    reloads: bool,
) -> Result<Fault<'d>, String> {
    let at = |e: io::Error| format!("{}: {e}", path.display());
    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(at(e)),
    };
    // In place: the container may have this very file mounted.
    fs::write(&path, content).map_err(at)?;
    let off = Fault::new(move || {
        match before {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .map_err(|e| format!("{}: {e}", path.display()))?;
        if reloads { reload(drill) } else { Ok(()) }
    });
    if reloads {
        reload(drill)?;
    }
    Ok(off)
}

/// The agent's target is taken away.
pub(in crate::drill) fn no_target(drill: &Drill) -> Result<Fault<'_>, String> {
    let file = generated(drill, "/etc/prometheus-kit/targets")?.join("example-agent.yml");
    changed(drill, file, "[]\n", false)
}

/// A rule that can be loaded, but not evaluated.
pub(in crate::drill) fn bad_rule(drill: &Drill) -> Result<Fault<'_>, String> {
    let file = generated(drill, "/etc/prometheus/rules")?.join("drill.yml");
    let rule = "groups: [{name: drill, rules: [{record: 'drill:up:product', expr: 'up * on () up'}]}]\n";
    changed(drill, file, rule, true)
}

/// A configuration that Prometheus refuses.
pub(in crate::drill) fn bad_config(drill: &Drill) -> Result<Fault<'_>, String> {
    let file = generated(drill, "/etc/prometheus/prometheus.yml")?;
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    changed(drill, file, &format!("{text}\nno_such_setting: 1\n"), true)
}

/// Waits until a target that was taken away has no series any more.
pub(super) fn no_longer_scraped(drill: &Drill, instance: &str) -> Result<(), String> {
    drill.wait(&format!("{instance} no longer scraped"), Duration::from_mins(6), || {
        let up = drill.stack.promql(&format!("up{{instance=\"{instance}\"}}"))?;
        if up.is_empty() { Ok(()) } else { Err("still scraped".into()) }
    })
}

/// Other limits than the preset's, for what cannot be brought about for a test: then what is well is beyond them.
pub(in crate::drill) fn limits<'d>(drill: &'d Drill, limits: &[(&str, &str)]) -> Result<Fault<'d>, String> {
    let file = generated(drill, "/etc/prometheus/thresholds/active.yml")?;
    let preset = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    changed(drill, file, &with_limits(&preset, limits)?, true)
}

fn with_limits(preset: &str, limits: &[(&str, &str)]) -> Result<String, String> {
    let mut text = preset.to_owned();
    for (name, value) in limits {
        let rule = format!("- record: agent:threshold:{name}\n");
        let (before, after) = text.split_once(&rule).ok_or(format!("the preset has no limit {name}"))?;
        let (_, rest) = after.split_once('\n').ok_or(format!("the limit {name} has no expression"))?;
        text = format!("{before}{rule}        expr: vector({value})\n{rest}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_changes_and_the_others_stay() {
        let preset = include_str!("../../../../prometheus/thresholds/default.yml");
        let changed = with_limits(preset, &[("disk_free_ratio", "1.01")]).unwrap();
        assert_eq!(preset.replace("vector(0.1)", "vector(1.01)").lines().count(), changed.lines().count());
        let rule = "- record: agent:threshold:disk_free_ratio\n        expr: vector(1.01)\n";
        assert!(changed.contains(rule), "{changed}");
        assert_eq!(changed.matches("1.01").count(), 1);
        assert!(with_limits(preset, &[("no_such", "1")]).is_err());
    }
}
