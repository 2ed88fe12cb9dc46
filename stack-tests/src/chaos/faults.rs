//! How containers are broken, and made whole again.

use std::time::Duration;

use serde_json::Value;

use super::{
    load::{Moment, now},
    plan::Kind,
};
use crate::{
    containers::Containers,
    drill::{
        Drill,
        faults::{self, Fault},
    },
};

/// A twentieth of a processor: microseconds of every 100 milliseconds.
const QUOTA: u64 = 5_000;

/// A fault, and the moment from which on it was there.
pub(super) type Broken<'d> = (Fault<'d>, Moment);

/// Breaks a service in a way; it is whole again when the fault is switched off or dropped.
///
/// # Errors
/// What the engine said.
pub(super) fn of<'d>(drill: &'d Drill, kind: Kind, service: &'static str) -> Result<Broken<'d>, String> {
    let containers = faults::containers(&drill.stack)?;
    match kind {
        Kind::Kill => killed(drill, containers, service),
        Kind::Pause => paused(containers, service),
        Kind::Slow => slowed(containers, service),
        Kind::Partition => cut_off(containers, service),
        kind => Err(format!("{kind} is no fault of a service")),
    }
}

/// There is nothing to switch off: the engine starts it again.
fn killed<'d>(drill: &Drill, containers: &Containers, service: &str) -> Result<Broken<'d>, String> {
    let before = containers.restarts(service)?;
    containers.signal(service, "KILL")?;
    let at = now();
    drill.wait("started again", Duration::from_mins(1), || {
        let now = containers.restarts(service)?;
        if now > before { Ok(()) } else { Err(format!("{now} restarts")) }
    })?;
    Ok((Fault::none(), at))
}

fn paused<'d>(containers: &'d Containers, service: &'static str) -> Result<Broken<'d>, String> {
    containers.each("pause", service)?;
    Ok((Fault::new(move || containers.each("unpause", service)), now()))
}

fn slowed<'d>(containers: &'d Containers, service: &'static str) -> Result<Broken<'d>, String> {
    let id = containers.id(service)?;
    let quota = |id: &str, quota: &str| {
        Containers::docker(&["update", "--cpu-period=100000", &format!("--cpu-quota={quota}"), id]).map(drop)
    };
    quota(&id, &QUOTA.to_string())?;
    Ok((Fault::new(move || quota(&id, "-1")), now()))
}

/// Without its networks: nobody reaches it, it reaches nobody, and both have to look it up again afterwards.
fn cut_off<'d>(containers: &'d Containers, service: &'static str) -> Result<Broken<'d>, String> {
    let networks = networks(&containers.inspect(service)?)?;
    let id = containers.id(service)?;
    let connect = {
        let (networks, id) = (networks.clone(), id.clone());
        Fault::new(move || {
            networks.iter().try_for_each(|(network, aliases)| {
                let aliases: Vec<_> = aliases.iter().flat_map(|alias| ["--alias", alias]).collect();
                Containers::docker(&[&["network", "connect"], &aliases[..], &[network, &id]].concat())
                    .map(drop)
            })
        })
    };
    for (network, _) in &networks {
        Containers::docker(&["network", "disconnect", network, &id])?;
    }
    Ok((connect, now()))
}

/// A container's networks, with what it is called there.
fn networks(inspect: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let id = inspect["Id"].as_str().unwrap_or_default();
    let networks = inspect["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
    let all: Vec<_> = networks
        .map(|(name, network)| {
            let aliases = network["Aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
            // Older engines list its own id, which it has anyway.
            let aliases = aliases.filter(|alias| !id.starts_with(alias)).map(str::to_owned);
            (name.clone(), aliases.collect())
        })
        .collect();
    if all.is_empty() { Err("it is on no network".into()) } else { Ok(all) }
}

/// What a fault changes of a container, to see that it is as before.
///
/// # Errors
/// What the engine said.
pub(super) fn state(containers: &Containers, service: &str) -> Result<String, String> {
    let inspect = containers.inspect(service)?;
    let quota = inspect["HostConfig"]["CpuQuota"].as_i64().filter(|quota| *quota > 0);
    let networks = networks(&inspect).unwrap_or_default();
    Ok(format!("{}, quota {quota:?}, on {networks:?}", inspect["State"]["Status"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_keeps_the_names_it_has_on_a_network() {
        let inspect = json!({"Id": "0123456789abcdef", "NetworkSettings": {"Networks": {
            "kit_kit": {"Aliases": ["kit-jaeger-1", "jaeger", "0123456789ab"]}, "bare": {"Aliases": null}}}});
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut networks = networks(&inspect).unwrap();
        networks.sort();
        assert_eq!(
            networks,
            [("bare".into(), names(&[])), ("kit_kit".into(), names(&["kit-jaeger-1", "jaeger"]))]
        );
        assert!(super::networks(&json!({"Id": "0"})).is_err());
    }
}
