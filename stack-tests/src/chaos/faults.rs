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
        faults::{self, Fault, beside, container_of, read_only},
    },
};

/// A twentieth of a processor: microseconds of every 100 milliseconds.
const QUOTA: u64 = 5_000;
/// Containers that are started at most to take an address.
const MANY: usize = 32;

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
        Kind::Partition => cut_off(drill, containers, service),
        Kind::Full if service == "elasticsearch" => Ok((read_only(drill)?, now())),
        kind => Err(format!("{kind} is no fault of a service")),
    }
}

/// There is nothing to switch off: the engine starts it again.
fn killed<'d>(drill: &Drill, containers: &Containers, service: &str) -> Result<Broken<'d>, String> {
    let before = containers.restarts(service)?;
    let at = containers.signal(service, "KILL")?;
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

/// Without its networks: nobody reaches it, it reaches nobody, and both have to look it up again afterwards, since another takes
/// its address meanwhile. A connection of before leads nowhere then, and nobody says so: what waits for it waits for ever.
fn cut_off<'d>(
    drill: &'d Drill,
    containers: &'d Containers,
    service: &'static str,
) -> Result<Broken<'d>, String> {
    let networks = networks(&containers.inspect(service)?)?;
    let id = containers.id(service)?;
    let addresses = addresses(&id)?;
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
    let at = now();
    let taken = taken(drill, service, &addresses)?;
    let connect = Fault::new(move || {
        let connected = connect.off();
        taken.into_iter().try_for_each(Fault::off).and(connected)
    });
    Ok((connect, at))
}

/// Containers that have these addresses.
fn taken<'d>(drill: &'d Drill, service: &str, former: &[String]) -> Result<Vec<Fault<'d>>, String> {
    let neighbour = if service == "simulators-slack" { "simulators-llm" } else { "simulators-slack" };
    let mut all = Vec::new();
    // The engine gives the lowest one that is free, so those below have to be taken too.
    for number in 0..MANY {
        let name = format!("chaos-address-{number}");
        all.push(beside(drill, neighbour, &name, &[], &["slack"])?);
        if addresses(&container_of(drill, &name)?)?.iter().any(|address| former.contains(address)) {
            return Ok(all);
        }
    }
    Err(format!("{MANY} containers have other addresses than {}", former.join(", ")))
}

/// A container's address on each of its networks.
fn addresses(container: &str) -> Result<Vec<String>, String> {
    let format = "--format={{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}";
    let out = Containers::docker(&["inspect", format, container])?;
    Ok(out.split_whitespace().map(str::to_owned).collect())
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
