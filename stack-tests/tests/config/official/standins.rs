//! The images that are here, be they pulled or built from packages (`images/`), against what `images/official.toml` says of them.
//!
//! Nothing is run: an image's file system is exported, and its settings are asked for. A stand-in may hold no program, user, folder
//! or certificate beyond the list; each image must hold what the list says and our files use.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
};

use libtest_mimic::Trial;
use serde_json::Value;

use super::{
    check, compose_files,
    containers::{self, Container, Source},
    list::{Folder, Holds, Official},
};
use crate::{ensure, trial};

pub(crate) fn trials(repository: &'static Path) -> Vec<Trial> {
    let Ok(official) = Official::of_checkout(repository) else { return Vec::new() };
    let wanted = std::env::var_os("IMAGES_AS_LISTED").is_some();
    let engine = wanted && docker(&["version", "--format", "{{.Server.Version}}"]).is_ok();
    official
        .images()
        .into_iter()
        .map(|holds| {
            let name = format!("official::image::{}", holds.name);
            let image = image_of(repository, &holds);
            if !engine {
                return trial(name, || Ok(()))
                    .with_kind(if wanted {
                        "no container engine answers"
                    } else {
                        "make test looks at images"
                    })
                    .with_ignored_flag(true);
            }
            match docker(&["image", "inspect", "--format", "{{json .Config}}", &image]) {
                Ok(config) => trial(name, move || is_as_listed(repository, &holds, &image, &config)),
                Err(_) => {
                    trial(name, || Ok(())).with_kind(format!("{image} is not here")).with_ignored_flag(true)
                }
            }
        })
        .collect()
}

/// The image that `make up` would start: the environment's, then what `make setup` found, then the pin.
fn image_of(repository: &Path, holds: &Holds) -> String {
    let variable = format!("{}_IMAGE", holds.name.to_uppercase().replace('-', "_"));
    let found = std::fs::read_to_string(repository.join(".kit/images.env")).unwrap_or_default();
    let found = found.lines().find_map(|line| line.strip_prefix(&format!("{variable}=")).map(str::to_owned));
    std::env::var(&variable)
        .ok()
        .filter(|image| !image.is_empty())
        .or(found)
        .unwrap_or_else(|| holds.image.clone())
}

fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("docker: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A file of an image.
struct File {
    mode: String,
    owner: String,
    link: Option<String>,
}

/// All files of an image, by their paths.
fn files_of(image: &str) -> Result<BTreeMap<String, File>, String> {
    let container = docker(&["create", image, "none"])?;
    let listed = Command::new("sh")
        .args([
            "-c",
            "docker export \"$1\" | tar -tv --numeric-owner --quoting-style=literal",
            "sh",
            &container,
        ])
        .stdin(Stdio::null())
        .output();
    docker(&["rm", &container])?;
    let listed = listed.map_err(|e| format!("tar: {e}"))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    ensure(!text.is_empty(), || {
        format!("{image} could not be exported: {}", String::from_utf8_lossy(&listed.stderr))
    })?;
    Ok(text.lines().filter_map(file).collect())
}

/// `drwxr-xr-x 0/0 0 2026-12-01 10:00 etc/`, and `… bin -> usr/bin`.
fn file(listed: &str) -> Option<(String, File)> {
    let mut rest = listed;
    let mut fields = Vec::new();
    for _ in 0..5 {
        let (field, more) = rest.trim_start().split_once(' ')?;
        fields.push(field);
        rest = more;
    }
    let (path, link) = match rest.split_once(" -> ") {
        Some((path, link)) => (path, Some(link.to_owned())),
        None => rest
            .split_once(" link to ")
            .map_or((rest, None), |(path, target)| (path, Some(format!("/{target}")))),
    };
    let path = format!("/{}", path.trim_start_matches("./").trim_end_matches('/'));
    Some((path, File { mode: fields[0].to_owned(), owner: fields[1].replace('/', ":"), link }))
}

/// A path with all links followed.
fn followed(files: &BTreeMap<String, File>, path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let mut so_far = String::new();
        let mut next = None;
        let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
        for (n, name) in names.iter().enumerate() {
            let folder = so_far.clone();
            so_far = format!("{so_far}/{name}");
            if let Some(link) = files.get(&so_far).and_then(|file| file.link.as_ref()) {
                let target = if link.starts_with('/') { link.clone() } else { format!("{folder}/{link}") };
                next = Some(
                    [vec![target], names[n + 1..].iter().map(|p| (*p).to_owned()).collect()]
                        .concat()
                        .join("/"),
                );
                break;
            }
        }
        match next {
            Some(target) => path = plain(&target),
            None => return so_far,
        }
    }
    path
}

/// Without `.` and `..`.
fn plain(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

fn is_as_listed(repository: &Path, holds: &Holds, image: &str, config: &str) -> Result<(), String> {
    let config: Value = serde_json::from_str(config).map_err(|e| e.to_string())?;
    let files = files_of(image)?;
    // What a registry gave may hold more than we need to know of.
    let stand_in = config["Labels"]["agent-kit.recipe"].is_string();
    let mut faults = settings(holds, &config, stand_in);
    let containers = containers_of(repository, holds)?;
    faults.extend(programs(repository, holds, &containers, &files, stand_in));
    faults.extend(folders(holds, &containers, &files, stand_in));
    if stand_in {
        faults.extend(users(image, holds)?);
        let certificates =
            ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"];
        for path in certificates {
            if files.contains_key(path) && holds.certificates.is_none() {
                faults.push(format!("it has certificates in {path}, which the official image has not"));
            }
        }
    }
    ensure(faults.is_empty(), || format!("{image}, for {}:\n{}", holds.image, faults.join("\n")))
}

/// The containers that Compose or Kubernetes start from an image.
fn containers_of(repository: &Path, holds: &Holds) -> Result<Vec<Container>, String> {
    let official = Official::of_checkout(repository)?;
    let mut all = containers::of_kubernetes(repository, "deploy/kubernetes")?;
    for file in compose_files(repository) {
        all.extend(containers::of_compose(repository, &file)?);
    }
    all.retain(|container| official.find(&container.image).is_ok_and(|found| found.name == holds.name));
    Ok(all)
}

fn settings(holds: &Holds, config: &Value, stand_in: bool) -> Vec<String> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect()
    };
    let mut faults = Vec::new();
    let mut same = |what: &str, is: String, listed: String| {
        if is != listed {
            faults.push(format!("its {what} is {is}, listed is {listed}"));
        }
    };
    same("user", config["User"].as_str().unwrap_or_default().to_owned(), holds.user.clone());
    same("entrypoint", format!("{:?}", strings(&config["Entrypoint"])), format!("{:?}", holds.entrypoint));
    same("command", format!("{:?}", strings(&config["Cmd"])), format!("{:?}", holds.cmd));
    let ports: BTreeSet<_> = holds.ports.iter().map(|port| format!("{port}/tcp")).collect();
    same("ports", format!("{:?}", keys(&config["ExposedPorts"])), format!("{ports:?}"));
    same(
        "volumes",
        format!("{:?}", keys(&config["Volumes"])),
        format!("{:?}", holds.volumes.iter().cloned().collect::<BTreeSet<_>>()),
    );
    let pairs = strings(&config["Env"]);
    let set: BTreeMap<_, _> = pairs.iter().filter_map(|pair| pair.split_once('=')).collect();
    for (name, value) in &set {
        match holds.environment.get(*name) {
            Some(listed) if listed == value || listed == "*" => {}
            Some(listed) => faults.push(format!("it sets {name}={value}, listed is {listed}")),
            None if *name == "PATH" => {}
            None if stand_in => faults.push(format!("it sets {name}, which the official image does not")),
            None => {}
        }
    }
    faults
}

fn programs(
    repository: &Path,
    holds: &Holds,
    containers: &[Container],
    files: &BTreeMap<String, File>,
    stand_in: bool,
) -> Vec<String> {
    let executable = |path: &str| {
        let path = followed(files, path);
        files
            .get(&path)
            .is_some_and(|file| file.mode.starts_with('-') && file.mode.contains('x'))
            .then_some(path)
    };
    let listed_folders: BTreeSet<_> = holds
        .programs
        .iter()
        .filter_map(|program| program.rsplit_once('/'))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    let searched =
        holds.path().map(|folder| followed(files, folder)).chain(listed_folders).collect::<BTreeSet<_>>();
    let mut faults = Vec::new();
    if stand_in && !holds.partial {
        for path in files.keys() {
            let Some((folder, _)) = path.rsplit_once('/') else { continue };
            if searched.contains(folder)
                && executable(path).is_some()
                && !holds.programs.contains(&holds.followed(path))
            {
                faults.push(format!("it has the program {path}, which the official image has not"));
            }
        }
    }
    let mut needed: BTreeSet<String> = holds.entrypoint.first().cloned().into_iter().collect();
    for container in containers {
        needed.extend(check::needs(repository, container, holds.clone()));
    }
    for program in needed {
        let found = if program.contains('/') {
            executable(&program).is_some()
        } else {
            holds.path().any(|folder| executable(&format!("{folder}/{program}")).is_some())
        };
        if !found {
            faults.push(format!(
                "it lacks the program {program}, which Compose, deploy/ or a script runs in it"
            ));
        }
    }
    faults
}

fn folders(
    holds: &Holds,
    containers: &[Container],
    files: &BTreeMap<String, File>,
    stand_in: bool,
) -> Vec<String> {
    let mut faults = Vec::new();
    let covered = |path: &str| {
        let mut mounts = containers.iter().flat_map(|container| &container.mounts);
        mounts.any(|mount| mount.target == path && matches!(mount.source, Source::Volume(_)))
    };
    let listed = |path: &str| {
        holds.writable.iter().find(|folder| match folder.path.strip_suffix("/*") {
            Some(above) => path.starts_with(&format!("{above}/")),
            None => folder.path == path,
        })
    };
    for (path, file) in files.iter().filter(|(_, file)| file.mode.starts_with('d')) {
        let is = Folder { path: path.clone(), owner: file.owner.clone(), mode: octal(&file.mode) };
        let root = file.owner.starts_with("0:");
        let writable = is
            .takes(super::list::Ids { user: u32::MAX - 1, group: if root { u32::MAX - 1 } else { 0 } })
            || !root;
        if stand_in && writable && listed(path).is_none() && !below_a_listed(holds, path) {
            faults.push(format!("{path} can be written by {} ({}), and is not listed", is.owner, is.mode));
        }
    }
    for folder in holds.writable.iter().filter(|folder| !folder.path.ends_with("/*")) {
        match files.get(&followed(files, &folder.path)) {
            Some(file) if file.owner == folder.owner && octal(&file.mode) == folder.mode => {}
            Some(file) => faults.push(format!(
                "{} is {} {}, listed is {} {}",
                folder.path,
                file.owner,
                octal(&file.mode),
                folder.owner,
                folder.mode
            )),
            None if holds.volumes.contains(&folder.path) || covered(&folder.path) => {
                faults.push(format!("it has no folder {}, whose owner a volume takes", folder.path));
            }
            None => {}
        }
    }
    faults
}

/// Whether a folder belongs to one that its user can write anyway.
fn below_a_listed(holds: &Holds, path: &str) -> bool {
    holds
        .writable
        .iter()
        .any(|folder| folder.path.len() > 4 && path.starts_with(&format!("{}/", folder.path)))
}

/// `drwxrwxrwt` as `1777`.
fn octal(mode: &str) -> String {
    let letters: Vec<_> = mode.chars().skip(1).collect();
    let mut special = 0;
    let digits = letters.chunks(3).zip([4, 2, 1]).map(|(three, bit)| {
        let last = three.get(2).copied().unwrap_or('-');
        if matches!(last, 's' | 't' | 'S' | 'T') {
            special += bit;
        }
        let bits = [three[0] == 'r', three.get(1) == Some(&'w'), matches!(last, 'x' | 's' | 't')];
        bits.iter().zip([4, 2, 1]).filter(|(set, _)| **set).map(|(_, bit)| bit).sum::<u32>()
    });
    let digits: Vec<_> = digits.map(|digit| digit.to_string()).collect();
    format!("{special}{}", digits.join(""))
}

/// Users of a stand-in that the official image does not have.
fn users(image: &str, holds: &Holds) -> Result<Vec<String>, String> {
    let container = docker(&["create", image, "none"])?;
    let passwd = Command::new("sh")
        .args(["-c", "docker cp \"$1:/etc/passwd\" - | tar -xO", "sh", &container])
        .stdin(Stdio::null())
        .output();
    docker(&["rm", &container])?;
    let passwd = passwd.map_err(|e| format!("tar: {e}"))?;
    let mut faults = Vec::new();
    for line in String::from_utf8_lossy(&passwd.stdout).lines() {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, user, group, ..] = fields.as_slice() else { continue };
        if holds.users.get(*name).is_none_or(|listed| *listed != format!("{user}:{group}")) {
            faults.push(format!("it has the user {name} ({user}:{group}), whom the official image has not"));
        }
    }
    Ok(faults)
}
