//! What the containers may do, and who may reach them.

use std::{fs, net::TcpStream, path::Path, process::Command};

use serde_json::Value;

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{client, send},
    containers::Containers,
    ports::{self, Port},
    stack::Stack,
    wait::{SOON, until},
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
    Case::new(
        "hardening::no_secret_is_in_a_list_of_processes_or_a_log",
        &[Need::Containers],
        no_secret_is_told,
    ),
    Case::new(
        "hardening::of_a_question_its_start_is_logged_and_of_an_answer_nothing",
        &[Need::Containers, Need::Service("jaeger")],
        no_word_is_kept,
    ),
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

/// The rights of the service that makes copies of secrets for the users of other containers: it is root, ends, and has no network.
const SECRETS_RIGHTS: [&str; 3] = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"];

fn least_rights(stack: &Stack) -> Result<(), String> {
    each(stack, |containers, service, inspect| {
        let host = &inspect["HostConfig"];
        let added = host["CapAdd"].as_array().map(Vec::as_slice).unwrap_or_default();
        if service == "secrets" {
            ensure(host["NetworkMode"] == "none" && inspect["State"]["Running"] == false, || {
                "the service secrets runs on, or has a network".into()
            })?;
            let allowed = |right: &Value| {
                SECRETS_RIGHTS.iter().any(|known| right.as_str().is_some_and(|right| known.ends_with(right)))
            };
            ensure(added.iter().all(allowed), || format!("the service secrets has {added:?}"))?;
        } else {
            ensure(added.is_empty(), || format!("{service} has {added:?}"))?;
        }
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
        ensure(service == "secrets" || !["", "0", "root"].contains(&uid.trim()), || {
            format!("{service} runs as root")
        })
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

/// The generated ones: what is a default stands in files of ours too.
fn no_secret_is_told(stack: &Stack) -> Result<(), String> {
    let mut secrets = Vec::new();
    for entry in fs::read_dir(&stack.secrets).map_err(|e| format!("{}: {e}", stack.secrets.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let value = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if name != "README.md" && value.len() >= 24 && !value.contains("://") {
            secrets.push((name, value.trim().to_owned()));
        }
    }
    ensure(secrets.len() >= 5, || format!("only {} secrets in {}", secrets.len(), stack.secrets.display()))?;
    each(stack, |containers, service, inspect| {
        let id = containers.id(service)?;
        let mut said = containers_log(&id)?;
        if inspect["State"]["Running"] == true {
            said += &Containers::docker(&["top", &id, "-eo", "pid,args"])?;
        }
        ensure(!said.trim().is_empty(), || format!("{service} says nothing: this proves nothing"))?;
        let told = secrets.iter().find(|(_, secret)| said.contains(secret.as_str()));
        ensure(told.is_none(), || format!("{service} tells {}", told.map_or("", |(name, _)| name)))
    })
}

/// Both streams: `docker logs` gives back each on its own.
fn containers_log(id: &str) -> Result<String, String> {
    let output =
        Command::new("docker").args(["logs", id]).output().map_err(|e| format!("docker logs: {e}"))?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// What `docs/security.md` says of what people ask.
fn no_word_is_kept(stack: &Stack) -> Result<(), String> {
    let (start, end) = (uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string());
    let question = format!("What does {start} say? {} And {end}?", "Take your time. ".repeat(8));
    let answer = stack.query("acme", &question)?;
    expect("status", answer.status, 200)?;
    let trace = answer.header("x-trace-id").to_owned();
    let body = answer.json()?;
    let text = body["answer"].as_str().filter(|text| text.len() >= 40).ok_or("no answer worth the name")?;
    let containers = stack.containers.as_ref().expect("needed");
    let files = ["sh", "-c", "cat /var/log/agent/*.ndjson"];
    // All of them, whoever writes last: what is not there yet tells nothing either.
    let lines = until("the question's lines", SOON, || {
        let lines = containers.exec("example-agent", &files)?;
        ensure(lines.contains(&start), || "its start is in no line".into())?;
        let has = |event: &str| lines.lines().any(|line| line.contains(&trace) && line.contains(event));
        let is_whole = has("request completed") && has("access decision");
        ensure(is_whole, || "its last lines are not there".into()).map(|()| lines)
    })?;
    let spans = until("its trace", SOON, || {
        let trace = stack.get(&format!("{}/api/traces/{trace}", stack.jaeger))?.to_string();
        let is_whole = trace.contains("process_request") && trace.contains("llm-simulator");
        ensure(is_whole, || trace.clone()).map(|()| trace)
    })?;
    let metrics = stack.metrics()?;
    let first_words: String = text.chars().take(40).collect();
    for (where_to, kept) in [("lines", &lines), ("spans", &spans), ("metrics", &metrics)] {
        for (what, words) in [("the question's end", &end), ("the answer", &first_words)] {
            ensure(!kept.contains(words.as_str()), || format!("{what} is in the {where_to}"))?;
        }
    }
    for (where_to, kept) in [("spans", &spans), ("metrics", &metrics)] {
        ensure(!kept.contains(&start), || format!("the question's start is in the {where_to}"))?;
    }
    Ok(())
}
