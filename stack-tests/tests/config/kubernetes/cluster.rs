//! Whether the objects fit together: what the API server takes one by one, and what then would quietly do nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::validity::name;

/// Keys of Secrets that are none: Elastic's operator takes settings from there only.
const SETTINGS: [&str; 2] = ["logstash.yml", "pipelines.yml"];

/// What does not fit, a line each. Secrets that are not rendered must be on the page that says how to make them.
pub(super) fn problems(objects: &[Value], page: &str) -> Vec<String> {
    let mut problems = namespaces(objects);
    for object in objects {
        let found = match text(&object["kind"]) {
            "Deployment" | "Job" => workload(object, objects, page),
            "Service" => service(object, objects),
            "ServiceMonitor" => monitor(object, objects),
            "HorizontalPodAutoscaler" => autoscaler(object, objects),
            "PodDisruptionBudget" => budget(object, objects),
            "NetworkPolicy" => policy(object, objects),
            "Secret" => secret(object),
            _ => Vec::new(),
        };
        problems.extend(found.into_iter().map(|what| format!("{}: {what}", name(object))));
    }
    problems
}

fn autoscaler(object: &Value, objects: &[Value]) -> Vec<String> {
    let target = &object["spec"]["scaleTargetRef"];
    match find(objects, text(&target["kind"]), text(&target["name"])) {
        None => vec![format!("scales {target}, which is not there")],
        Some(found) if !found["spec"]["replicas"].is_null() => {
            vec![format!("{} says `replicas` too: each apply undoes it", name(found))]
        }
        Some(_) => Vec::new(),
    }
}

fn budget(object: &Value, objects: &[Value]) -> Vec<String> {
    let selected = pods(objects, &object["spec"]["selector"]["matchLabels"]);
    if selected.is_empty() { vec!["selects no pod".into()] } else { Vec::new() }
}

fn secret(object: &Value) -> Vec<String> {
    let values = ["data", "stringData"].map(|key| object[key].as_object());
    let mut pairs = values.into_iter().flatten().flatten();
    let filled = pairs.any(|(key, value)| value != "" && !SETTINGS.contains(&key.as_str()));
    if filled { vec!["has a value in it: secrets are made by who installs".into()] } else { Vec::new() }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// An object by its kind and name.
pub(super) fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> Option<&'o Value> {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

/// All containers of a workload, those that start before the others too.
pub(super) fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    let pod = &workload["spec"]["template"]["spec"];
    list(pod, "initContainers").iter().chain(list(pod, "containers"))
}

fn matches(wanted: &Value, labels: &Value) -> bool {
    let wanted = wanted.as_object().filter(|wanted| !wanted.is_empty());
    wanted.is_some_and(|wanted| wanted.iter().all(|(label, value)| labels[label] == *value))
}

/// The workloads whose pods have these labels.
fn pods<'o>(objects: &'o [Value], wanted: &Value) -> Vec<&'o Value> {
    let workloads = objects.iter().filter(|object| object["spec"]["template"]["spec"].is_object());
    workloads.filter(|object| matches(wanted, &object["spec"]["template"]["metadata"]["labels"])).collect()
}

/// Pods that Elastic's operator makes, by its own labels: nothing here tells what they have.
fn made_by_the_operator(wanted: &Value) -> bool {
    wanted.as_object().is_some_and(|labels| labels.keys().any(|label| label.contains("k8s.elastic.co/")))
}

/// The ports of a workload's pods, by name and by number.
fn ports(workload: &Value) -> BTreeSet<String> {
    let ports = containers(workload).flat_map(|container| list(container, "ports"));
    ports.flat_map(|port| [text(&port["name"]).to_owned(), port["containerPort"].to_string()]).collect()
}

/// A port as somebody refers to it.
fn port_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn workload(object: &Value, objects: &[Value], page: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let (template, pod) = (&object["spec"]["template"], &object["spec"]["template"]["spec"]);
    let labels = &template["metadata"]["labels"];
    if object["kind"] == "Deployment" && !matches(&object["spec"]["selector"]["matchLabels"], labels) {
        problems.push(format!("its selector does not match its pods' labels {labels}"));
    }
    for spread in list(pod, "topologySpreadConstraints") {
        if !matches(&spread["labelSelector"]["matchLabels"], labels) {
            problems.push(format!("spreads other pods than its own by {}", spread["topologyKey"]));
        }
    }
    let account = text(&pod["serviceAccountName"]);
    if !account.is_empty() && find(objects, "ServiceAccount", account).is_none() {
        problems.push(format!("runs as {account}, which is not there"));
    }
    if pod["automountServiceAccountToken"] != false {
        problems.push("is given a token of the API server".into());
    }
    let ports = ports(object);
    let mut mounted = BTreeSet::new();
    for container in containers(object) {
        let of = text(&container["name"]);
        problems.extend(rights(container, pod).into_iter().map(|what| format!("{of}: {what}")));
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = &container[probe]["httpGet"]["port"];
            if !port.is_null() && !ports.contains(&port_of(port)) {
                problems.push(format!("{of}: {probe} asks port {port}, which it has not"));
            }
        }
        for source in list(container, "envFrom") {
            let map = text(&source["configMapRef"]["name"]);
            if find(objects, "ConfigMap", map).is_none() {
                problems.push(format!("{of}: no ConfigMap {map}"));
            }
        }
        for mount in list(container, "volumeMounts") {
            mounted.insert(text(&mount["name"]));
        }
    }
    for volume in list(pod, "volumes") {
        let volume_name = text(&volume["name"]);
        if !mounted.remove(volume_name) {
            problems.push(format!("nobody mounts the volume {volume_name}"));
        }
        problems.extend(volume_problems(volume, objects, page));
    }
    problems.extend(mounted.into_iter().map(|unknown| format!("mounts {unknown}, which is no volume")));
    problems
}

fn volume_problems(volume: &Value, objects: &[Value], page: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let map = &volume["configMap"];
    if map.is_object() {
        match find(objects, "ConfigMap", text(&map["name"])) {
            None => problems.push(format!("no ConfigMap {}", map["name"])),
            Some(found) => problems.extend(items_problems(map, found)),
        }
    }
    let parts = list(&volume["projected"], "sources").iter().map(|part| text(&part["secret"]["name"]));
    let secrets = parts.chain([text(&volume["secret"]["secretName"])]).filter(|name| !name.is_empty());
    for secret in secrets {
        if find(objects, "Secret", secret).is_none() && !page.contains(&format!("`{secret}`")) {
            problems.push(format!("needs the Secret {secret}, of which README.md says nothing"));
        }
    }
    let directory = &volume["emptyDir"];
    if directory.is_object() && directory["sizeLimit"].is_null() {
        problems.push(format!("{} has no limit", volume["name"]));
    }
    problems
}

/// Where a volume names the keys that it takes, it takes all there are, and no other.
fn items_problems(volume: &Value, map: &Value) -> Option<String> {
    let taken: BTreeSet<_> = list(volume, "items").iter().map(|item| text(&item["key"])).collect();
    let there: BTreeSet<_> = map["data"].as_object()?.keys().map(String::as_str).collect();
    let differ: Vec<_> = taken.symmetric_difference(&there).collect();
    (!taken.is_empty() && !differ.is_empty()).then(|| format!("{}: only one has {differ:?}", name(map)))
}

/// The strictest of Kubernetes' pod security standards, a file system that is read-only, and bounded memory.
fn rights(container: &Value, pod: &Value) -> Vec<String> {
    let (own, pods) = (&container["securityContext"], &pod["securityContext"]);
    let either = |key: &str| if own[key].is_null() { pods[key].clone() } else { own[key].clone() };
    let mut problems = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            problems.push(what.to_owned());
        }
    };
    want(either("runAsNonRoot") == true, "may run as root");
    want(either("runAsUser").as_u64().is_some_and(|uid| uid > 0), "has no user of its own");
    want(either("seccompProfile")["type"] == "RuntimeDefault", "has no seccomp profile");
    want(own["allowPrivilegeEscalation"] == false, "may gain rights");
    want(own["readOnlyRootFilesystem"] == true, "may write to its image");
    want(own["capabilities"] == serde_json::json!({ "drop": ["ALL"] }), "keeps capabilities");
    want(container["resources"]["limits"]["memory"].is_string(), "has no limit for memory");
    want(container["resources"]["requests"]["cpu"].is_string(), "requests no CPU");
    let secret = |variable: &Value| {
        let name = text(&variable["name"]);
        ["KEY", "PASSWORD", "TOKEN", "SECRET"].iter().any(|word| name.ends_with(word))
            && variable["value"].is_string()
    };
    want(!list(container, "env").iter().any(secret), "has a secret among its variables");
    problems
}

fn service(object: &Value, objects: &[Value]) -> Vec<String> {
    let selected = pods(objects, &object["spec"]["selector"]);
    if selected.is_empty() {
        return vec![format!("selects no pod by {}", object["spec"]["selector"])];
    }
    let has = |port: &&Value| {
        selected.iter().all(|workload| ports(workload).contains(&port_of(&port["targetPort"])))
    };
    let missing = list(&object["spec"], "ports").iter().filter(|port| !has(port));
    missing.map(|port| format!("leads to port {}, which its pods have not", port["targetPort"])).collect()
}

fn monitor(object: &Value, objects: &[Value]) -> Vec<String> {
    let wanted = &object["spec"]["selector"]["matchLabels"];
    let services = objects.iter().filter(|other| other["kind"] == "Service");
    let services: Vec<_> = services.filter(|other| matches(wanted, &other["metadata"]["labels"])).collect();
    let [service] = services.as_slice() else {
        return vec![format!("finds {} services by {wanted}, not one", services.len())];
    };
    let mut problems = Vec::new();
    for endpoint in list(&object["spec"], "endpoints") {
        if !list(&service["spec"], "ports").iter().any(|port| port["name"] == endpoint["port"]) {
            problems.push(format!("scrapes port {}, which {} has not", endpoint["port"], name(service)));
        }
    }
    if service["metadata"]["labels"][text(&object["spec"]["jobLabel"])].is_null() {
        problems.push(format!("{} has no label {}", name(service), object["spec"]["jobLabel"]));
    }
    problems
}

fn policy(object: &Value, objects: &[Value]) -> Vec<String> {
    if made_by_the_operator(&object["spec"]["podSelector"]["matchLabels"]) {
        return Vec::new();
    }
    let selected = pods(objects, &object["spec"]["podSelector"]["matchLabels"]);
    if selected.is_empty() {
        return vec!["selects no pod".into()];
    }
    let mut problems = Vec::new();
    for rule in list(&object["spec"], "ingress") {
        for port in list(rule, "ports").iter().map(|port| port_of(&port["port"])) {
            if !selected.iter().all(|workload| ports(workload).contains(&port)) {
                problems.push(format!("lets callers to port {port}, which its pods have not"));
            }
        }
    }
    for rule in list(&object["spec"], "egress") {
        for peer in list(rule, "to").iter().filter(|peer| peer["namespaceSelector"].is_null()) {
            let labels = &peer["podSelector"]["matchLabels"];
            if labels.is_null() {
                continue;
            }
            let peers = pods(objects, labels);
            for port in list(rule, "ports").iter().map(|port| port_of(&port["port"])) {
                if peers.is_empty() || !peers.iter().all(|workload| ports(workload).contains(&port)) {
                    problems.push(format!("lets it to port {port} of {labels}, which is not there"));
                }
            }
        }
    }
    problems
}

/// All are in the overlay's namespace, which is one of them.
fn namespaces(objects: &[Value]) -> Vec<String> {
    let spaces: Vec<_> = objects.iter().filter(|object| object["kind"] == "Namespace").collect();
    let [space] = spaces.as_slice() else { return vec![format!("{} namespaces", spaces.len())] };
    let mut problems = Vec::new();
    for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
        if object["metadata"]["namespace"] != space["metadata"]["name"] {
            problems.push(format!("{}: is not in the namespace", name(object)));
        }
    }
    problems
}
