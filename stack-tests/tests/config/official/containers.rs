//! The containers that Compose and Kubernetes would start, by the files alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::{Captures, Regex};
use serde_json::{Map, Value};
use stack_tests::yaml;

/// What a container is started with.
#[derive(Debug, Default)]
pub(crate) struct Container {
    /// The file that describes it, by its path in the repository, and its text.
    pub(crate) file: String,
    text: String,
    /// `service prometheus`.
    pub(crate) name: String,
    /// Where its description begins: what is looked for is looked for from there.
    from: usize,
    pub(crate) image: String,
    /// The stage in the `Dockerfile`, for an image of ours.
    pub(crate) target: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) secrets: Vec<String>,
    pub(crate) read_only: bool,
    /// Commands that are run in it besides: health checks, probes, hooks.
    pub(crate) runs: Vec<Vec<String>>,
}

/// What lies over a path of the image.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) target: String,
    pub(crate) source: Source,
    pub(crate) writable: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file or folder of the repository, or of the machine.
    Path(PathBuf),
    /// Files of a Kubernetes `ConfigMap`, by their names in the folder.
    Files(BTreeMap<String, PathBuf>),
    /// A named volume: empty at first, owned as the folder it covers.
    Volume(String),
    /// Anybody's: a folder in memory, or one that Kubernetes makes.
    Scratch,
}

impl Container {
    /// The first line of its description that holds a text: `docker-compose.yml:12`.
    pub(crate) fn at(&self, text: &str) -> String {
        let lines = self.text.lines().enumerate().skip(self.from);
        let line =
            lines.filter(|(_, line)| line.contains(text)).map(|(n, _)| n + 1).next().unwrap_or(self.from + 1);
        format!("{}:{line}", self.file)
    }

    /// The file of the repository that a path in the container is.
    pub(crate) fn source_of(&self, path: &str) -> Option<PathBuf> {
        let mount = self.mount_of(path)?;
        let rest = path.strip_prefix(&mount.target)?.trim_start_matches('/');
        match &mount.source {
            Source::Path(source) if rest.is_empty() => Some(source.clone()),
            Source::Path(source) => Some(source.join(rest)),
            Source::Files(files) => files.get(rest).cloned(),
            Source::Volume(_) | Source::Scratch => None,
        }
    }

    /// The innermost mount that covers a path.
    pub(crate) fn mount_of(&self, path: &str) -> Option<&Mount> {
        let covers = |mount: &&Mount| {
            path == mount.target || path.starts_with(&format!("{}/", mount.target.trim_end_matches('/')))
        };
        self.mounts.iter().filter(covers).max_by_key(|mount| mount.target.len())
    }
}

/// `${NAME:-default}` as Compose would take it with nothing set.
fn interpolated(text: &str) -> String {
    static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\$\{([A-Za-z0-9_]+)(?::?([-?+])([^${}]*))?\}").expect("a constant pattern")
    });
    let mut text = text.replace("$$", "\u{0}");
    while VARIABLE.is_match(&text) {
        let default = |found: &Captures| match found.get(2).map(|m| m.as_str()) {
            Some("-") => found[3].to_owned(),
            _ => String::new(),
        };
        text = VARIABLE.replace_all(&text, default).into_owned();
    }
    text.replace('\u{0}', "$")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => interpolated(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A command: a list, or a text that the shell's rules split into words.
fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => None,
        Value::Array(words) => Some(words.iter().map(text).collect()),
        other => Some(
            text(other).split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect(),
        ),
    }
}

/// A list, or nothing.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `environment` and the like, which may be a list of `NAME=value` too.
fn pairs(value: &Value) -> BTreeMap<String, String> {
    match value {
        Value::Object(pairs) => pairs.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        Value::Array(lines) => lines
            .iter()
            .map(text)
            .map(|line| {
                line.split_once('=')
                    .map_or((line.clone(), String::new()), |(n, v)| (n.to_owned(), v.to_owned()))
            })
            .collect(),
        _ => BTreeMap::new(),
    }
}

/// A service with what another file, or what it extends, says over it.
fn merged(under: &Value, over: &Value) -> Value {
    let mut merged = under.as_object().cloned().unwrap_or_default();
    for (key, value) in over.as_object().into_iter().flatten() {
        let before = merged.remove(key).unwrap_or_default();
        let value = match key.as_str() {
            "environment" => {
                let all = pairs(&before).into_iter().chain(pairs(value));
                Value::Object(
                    all.map(|(name, value)| (name, value.replace('$', "$$").into())).collect::<Map<_, _>>(),
                )
            }
            "volumes" | "secrets" | "tmpfs" if !items(value).is_empty() => {
                Value::Array(items(&before).iter().chain(items(value)).cloned().collect())
            }
            "healthcheck" | "build" if before.is_object() && value.is_object() => {
                merged_objects(&before, value)
            }
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    Value::Object(merged)
}

fn merged_objects(under: &Value, over: &Value) -> Value {
    let mut all = under.as_object().cloned().unwrap_or_default();
    all.extend(over.as_object().cloned().unwrap_or_default());
    Value::Object(all)
}

/// The containers of a Compose file, which may go on top of `docker-compose.yml`.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn of_compose(repository: &Path, file: &str) -> Result<Vec<Container>, String> {
    const MAIN: &str = "docker-compose.yml";
    let main = yaml::file(&repository.join(MAIN))?;
    let (over, base) =
        if file == MAIN { (main, Value::Null) } else { (yaml::file(&repository.join(file))?, main) };
    let text = fs::read_to_string(repository.join(file)).map_err(|e| format!("{file}: {e}"))?;
    let services = over["services"].as_object().ok_or_else(|| format!("{file} has no services"))?;
    let mut containers = Vec::new();
    for (name, service) in services {
        let extended = &service["extends"];
        let under = match extended["service"].as_str().or(extended.as_str()) {
            Some(other) if extended["file"].is_null() => &over["services"][other],
            Some(other) => &base["services"][other],
            None => &base["services"][name],
        };
        let whole = merged(under, service);
        let heading = format!("  {name}:");
        let from = text.lines().position(|line| line.trim_end() == heading).unwrap_or(0);
        containers.push(Container {
            file: file.to_owned(),
            text: text.clone(),
            from,
            ..service_container(repository, name, &whole)
        });
    }
    Ok(containers)
}

fn service_container(repository: &Path, name: &str, service: &Value) -> Container {
    let secrets: Vec<_> = items(&service["secrets"])
        .iter()
        .map(|secret| secret.as_str().or(secret["source"].as_str()).unwrap_or_default().to_owned())
        .collect();
    let runs = match items(&service["healthcheck"]["test"]) {
        [kind, words @ ..] if kind == "CMD" => vec![words.iter().map(text).collect()],
        [kind, script] if kind == "CMD-SHELL" => {
            vec![vec!["/bin/sh".to_owned(), "-c".to_owned(), text(script)]]
        }
        _ => service["healthcheck"]["test"]
            .as_str()
            .map(|script| vec!["/bin/sh".to_owned(), "-c".to_owned(), interpolated(script)])
            .into_iter()
            .collect(),
    };
    Container {
        name: format!("service {name}"),
        image: text(&service["image"]),
        target: service["build"].is_object().then(|| text(&service["build"]["target"])),
        user: service["user"].as_str().map(interpolated),
        entrypoint: words(&service["entrypoint"]),
        command: words(&service["command"]),
        environment: pairs(&service["environment"]),
        mounts: compose_mounts(repository, service),
        secrets,
        read_only: service["read_only"] == true,
        runs,
        ..Container::default()
    }
}

fn compose_mounts(repository: &Path, service: &Value) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut put = |mount: Mount| {
        mounts.retain(|other| other.target != mount.target);
        mounts.push(mount);
    };
    let one;
    let memory = match &service["tmpfs"] {
        Value::Array(all) => all.as_slice(),
        Value::Null => &[],
        other => {
            one = [other.clone()];
            &one
        }
    };
    for tmpfs in memory {
        let target = text(tmpfs).split(':').next().unwrap_or_default().to_owned();
        put(Mount { target, source: Source::Scratch, writable: true });
    }
    for volume in items(&service["volumes"]) {
        let (source, target, writable) = if volume.is_object() {
            (text(&volume["source"]), text(&volume["target"]), volume["read_only"] != true)
        } else {
            let volume = text(volume);
            let parts: Vec<_> = volume.split(':').collect();
            let flags = parts.get(2).copied().unwrap_or_default();
            let [source, target] = [0, 1].map(|n| parts.get(n).copied().unwrap_or_default().to_owned());
            (source, target, flags.split(',').all(|flag| flag != "ro"))
        };
        let source = if source.starts_with('/') || source.starts_with('.') || source.starts_with('~') {
            Source::Path(repository.join(source.trim_start_matches("./")))
        } else {
            Source::Volume(source)
        };
        put(Mount { target, source, writable });
    }
    mounts
}

/// The containers of all manifests in a folder.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn of_kubernetes(repository: &Path, folder: &str) -> Result<Vec<Container>, String> {
    let (mut containers, mut maps, mut manifests) = (Vec::new(), BTreeMap::new(), Vec::new());
    for path in walked(&repository.join(folder)) {
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let documents = yaml::documents(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let beside = path.parent().unwrap_or(repository).to_owned();
        for document in documents {
            for generator in items(&document["configMapGenerator"]) {
                let files = items(&generator["files"]).iter().filter_map(Value::as_str);
                let files = files.map(|file| {
                    let (key, file) =
                        file.split_once('=').unwrap_or((file.rsplit('/').next().unwrap_or(file), file));
                    (key.to_owned(), beside.join(file))
                });
                maps.entry(generator["name"].as_str().unwrap_or_default().to_owned())
                    .or_insert_with(BTreeMap::new)
                    .extend(files);
            }
            manifests.push((path.clone(), text.clone(), document));
        }
    }
    for (path, text, document) in &manifests {
        let file = path.strip_prefix(repository).unwrap_or(path).display().to_string();
        let mut pods = Vec::new();
        pod_specs(document, &mut pods);
        for pod in pods {
            for container in items(&pod["containers"]).iter().chain(items(&pod["initContainers"])) {
                // What Elastic's operator starts has an image and a command of its own.
                if container["image"].is_string() {
                    let container = pod_container(pod, container, &maps);
                    containers.push(Container { file: file.clone(), text: text.clone(), ..container });
                }
            }
        }
    }
    Ok(containers)
}

fn pod_specs<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            if map.contains_key("containers") || map.contains_key("initContainers") {
                found.push(value);
            }
            map.values().for_each(|value| pod_specs(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| pod_specs(value, found)),
        _ => {}
    }
}

fn pod_container(
    pod: &Value,
    container: &Value,
    maps: &BTreeMap<String, BTreeMap<String, PathBuf>>,
) -> Container {
    let security = |key: &str| {
        let own = &container["securityContext"][key];
        if own.is_null() { &pod["securityContext"][key] } else { own }
    };
    let mount = |mount: &Value| {
        let volume = items(&pod["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
        let map = volume.map(|volume| &volume["configMap"]).filter(|map| map.is_object());
        let source = match map {
            Some(map) => {
                let files = maps.get(map["name"].as_str().unwrap_or_default()).cloned().unwrap_or_default();
                let renamed = items(&map["items"]).iter().filter_map(|item| {
                    Some((item["path"].as_str()?.to_owned(), files.get(item["key"].as_str()?)?.clone()))
                });
                let renamed: BTreeMap<_, _> = renamed.collect();
                Source::Files(if map["items"].is_null() { files } else { renamed })
            }
            None => Source::Scratch,
        };
        let target = mount["mountPath"].as_str().unwrap_or_default().to_owned();
        Mount { target, source, writable: mount["readOnly"] != true }
    };
    let probes =
        ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| &container[probe]["exec"]["command"]);
    let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]["exec"]["command"]);
    Container {
        name: format!("container {}", container["name"].as_str().unwrap_or_default()),
        image: container["image"].as_str().unwrap_or_default().to_owned(),
        user: security("runAsUser").as_u64().map(|user| user.to_string()),
        entrypoint: words(&container["command"]),
        command: words(&container["args"]),
        environment: items(&container["env"])
            .iter()
            .map(|pair| (text(&pair["name"]), pair["value"].as_str().unwrap_or_default().to_owned()))
            .collect(),
        mounts: items(&container["volumeMounts"]).iter().map(mount).collect(),
        read_only: security("readOnlyRootFilesystem") == &Value::Bool(true),
        runs: probes.into_iter().chain(hooks).filter_map(words).collect(),
        ..Container::default()
    }
}

/// All files in a folder and below.
pub(crate) fn walked(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut entries: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files.extend(walked(&path)) } else { files.push(path) }
    }
    files
}
