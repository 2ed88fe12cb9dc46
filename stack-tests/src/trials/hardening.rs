//! What the containers may do, and who may reach them.

use std::{fs, net::TcpStream, path::Path};

use serde_json::Value;

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{client, send},
    containers::Containers,
    ports::{self, Port},
    stack::Stack,
};

pub(super) const CASES: &[Case] = &[
    Case::new("hardening::every_published_port_is_on_loopback", &[Need::Containers], ports_are_on_loopback),
    Case::new("hardening::containers_have_the_least_rights", &[Need::Containers], least_rights),
    Case::new(
        "hardening::without_a_log_in_each_port_answers_as_the_page_says",
        &[Need::Containers],
        ports_answer_as_documented,
    ),
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

/// What `docs/security.md` says that anybody can do, and cannot.
fn ports_answer_as_documented(stack: &Stack) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let page = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let containers = stack.containers.as_ref().expect("needed");
    let here = containers.services()?;
    let mut asked = 0;
    for Port { service, port, asked: requests, .. } in ports::table(&page)? {
        if !here.contains(&service) {
            continue;
        }
        let bindings = &containers.inspect(&service)?["NetworkSettings"]["Ports"][format!("{port}/tcp")];
        let address = bindings[0]["HostPort"].as_str().map(|port| format!("127.0.0.1:{port}"));
        let address = address.ok_or_else(|| format!("{service} does not publish {port}: {bindings}"))?;
        TcpStream::connect(&address).map_err(|e| format!("{service} {port}: {e}"))?;
        for (method, path, status) in requests {
            let what = format!("{service} {port}: {method} {path}");
            let method = method.parse().map_err(|e| format!("{what}: {e}"))?;
            let answer = send(client().request(method, format!("http://{address}{path}")))?;
            expect(&what, answer.status, status)?;
            asked += 1;
        }
    }
    ensure(asked > 20, || format!("only {asked} requests"))
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
