//! What the containers may do, and who may reach them.

use serde_json::Value;

use super::{Case, Need, ensure};
use crate::{containers::Containers, stack::Stack};

pub(super) const CASES: &[Case] = &[
    Case::new("hardening::every_published_port_is_on_loopback", &[Need::Containers], ports_are_on_loopback),
    Case::new("hardening::containers_have_the_least_rights", &[Need::Containers], least_rights),
    Case::new("hardening::no_secret_shows_in_docker_inspect", &[Need::Containers], no_secret_shows),
];

fn each(
    stack: &Stack,
    check: impl Fn(&Containers, &str, &Value) -> Result<(), String>,
) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let services = [containers.services()?, containers.one_shots()?].concat();
    ensure(!services.is_empty(), || "the project has no containers".into())?;
    services.iter().try_for_each(|service| check(containers, service, &containers.inspect(service)?))
}

fn ports_are_on_loopback(stack: &Stack) -> Result<(), String> {
    each(stack, |_, service, inspect| {
        let ports = inspect["HostConfig"]["PortBindings"].as_object().into_iter().flatten();
        for (port, bindings) in ports {
            for binding in bindings.as_array().into_iter().flatten() {
                ensure(binding["HostIp"] == "127.0.0.1", || {
                    format!("{service} publishes {port} on {binding}")
                })?;
            }
        }
        Ok(())
    })
}

fn least_rights(stack: &Stack) -> Result<(), String> {
    each(stack, |containers, service, inspect| {
        let host = &inspect["HostConfig"];
        ensure(host["ReadonlyRootfs"] == true, || format!("{service} can write to its image"))?;
        ensure(host["CapDrop"] == serde_json::json!(["ALL"]), || format!("{service} keeps capabilities"))?;
        ensure(host["Privileged"] == false, || format!("{service} is privileged"))?;
        ensure(host["SecurityOpt"].to_string().contains("no-new-privileges"), || {
            format!("{service} may gain rights")
        })?;
        ensure(host["Memory"].as_u64() > Some(0), || format!("{service} has no memory limit"))?;
        ensure(host["PidsLimit"].as_u64() > Some(0), || format!("{service} has no limit on processes"))?;
        // Asked of the kernel: an image's own USER may be a name, or missing. What has ended can say only what it was told.
        let uid = if inspect["State"]["Running"] == true {
            containers.exec(service, &["id", "-u"])?
        } else {
            inspect["Config"]["User"]
                .as_str()
                .and_then(|user| user.split(':').next())
                .unwrap_or("0")
                .to_owned()
        };
        ensure(!["", "0", "root"].contains(&uid.trim()), || format!("{service} runs as root"))
    })
}

fn no_secret_shows(stack: &Stack) -> Result<(), String> {
    each(stack, |_, service, inspect| {
        let shown = format!("{} {}", inspect["Config"], inspect["Args"]);
        ensure(!shown.contains("/services/T"), || format!("{service} shows the webhook's address"))?;
        let environment = inspect["Config"]["Env"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for (name, value) in environment.filter_map(|entry| entry.split_once('=')) {
            let secret = ["PASSWORD", "SECRET", "TOKEN", "API_KEY"].iter().any(|word| name.contains(word));
            let by_file = name.ends_with("_FILE") || value.is_empty();
            ensure(!secret || by_file, || format!("{service} has {name} in its environment"))?;
        }
        Ok(())
    })
}
