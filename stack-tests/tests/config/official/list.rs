//! `images/official.toml`: what each pinned image holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Deserialize;

/// Where programs are looked for in an image that does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Official {
    base: BTreeMap<String, Base>,
    image: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    from: String,
    sources: Vec<Source>,
    #[serde(default)]
    inferred: String,
    certificates: Option<String>,
    links: BTreeMap<String, String>,
    users: BTreeMap<String, String>,
    writable: Vec<Folder>,
    programs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    image: String,
    base: String,
    sources: Vec<Source>,
    #[serde(default)]
    inferred: String,
    user: String,
    #[serde(default)]
    users: BTreeMap<String, String>,
    #[serde(default)]
    entrypoint: Vec<String>,
    #[serde(default)]
    cmd: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    variables: Vec<String>,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    writable: Vec<Folder>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<u16>,
    certificates: Option<String>,
    #[serde(default)]
    partial: bool,
    size_mb: u64,
    #[serde(default)]
    programs: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    repository: String,
    file: String,
    version: String,
}

/// A folder that a user other than root can write.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folder {
    pub(crate) path: String,
    /// `UID:GID`.
    pub(crate) owner: String,
    /// Octal.
    pub(crate) mode: String,
}

impl Folder {
    /// Whether somebody may make files in it.
    pub(crate) fn takes(&self, user: Ids) -> bool {
        let mode = u32::from_str_radix(&self.mode, 8).unwrap_or(0);
        let owner = Ids::parse(&self.owner).unwrap_or(Ids { user: 0, group: 0 });
        let bits = [(user.user == owner.user, 0o200), (user.group == owner.group, 0o020), (true, 0o002)];
        user.user == 0 || bits.iter().any(|(applies, bit)| *applies && mode & bit != 0)
    }
}

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Ids {
    /// `UID:GID`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (user, group) = text.split_once(':')?;
        Some(Self { user: user.parse().ok()?, group: group.parse().ok()? })
    }
}

/// What one image holds, its base included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds {
    /// What the list calls it: `prometheus`.
    pub(crate) name: String,
    /// `prom/prometheus:v3.13.5`.
    pub(crate) image: String,
    pub(crate) user: String,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) variables: Vec<String>,
    pub(crate) files: Vec<String>,
    pub(crate) writable: Vec<Folder>,
    pub(crate) volumes: Vec<String>,
    pub(crate) ports: Vec<u16>,
    pub(crate) certificates: Option<String>,
    /// By name, as `UID:GID`.
    pub(crate) users: BTreeMap<String, String>,
    /// By their whole path, links followed.
    pub(crate) programs: BTreeSet<String>,
    pub(crate) links: BTreeMap<String, String>,
    /// It has more programs than are listed.
    pub(crate) partial: bool,
    /// What of this no source states.
    pub(crate) inferred: String,
    /// Its own build installs packages: what programs they bring is not known here.
    pub(crate) installs: bool,
}

impl Holds {
    /// The path with the base's links followed: `/bin/sh` is `/usr/bin/sh` where `/bin` is a link.
    pub(crate) fn followed(&self, path: &str) -> String {
        let link = self.links.iter().find(|(from, _)| path.starts_with(&format!("{from}/")));
        link.map_or_else(|| path.to_owned(), |(from, to)| format!("{to}{}", &path[from.len()..]))
    }

    /// The folders in which a program without a path is looked for.
    pub(crate) fn path(&self) -> impl Iterator<Item = &str> {
        self.environment.get("PATH").map_or(PATH, String::as_str).split(':')
    }

    /// Whether a command finds its program.
    pub(crate) fn has_program(&self, program: &str) -> bool {
        if program.contains('/') {
            return self.programs.contains(&self.followed(program));
        }
        self.path().any(|folder| {
            self.programs.contains(&self.followed(&format!("{}/{program}", folder.trim_end_matches('/'))))
        })
    }

    /// Who runs where Compose or Kubernetes name nobody else, or this one.
    pub(crate) fn ids(&self, user: Option<&str>) -> Option<Ids> {
        let user = user.unwrap_or(&self.user);
        let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
        let listed = match (name, name.parse::<u32>()) {
            ("", _) => Ids { user: 0, group: 0 },
            (_, Ok(id)) => {
                let known = self.users.values().filter_map(|ids| Ids::parse(ids)).find(|ids| ids.user == id);
                let image = self.user.split(':').next() == Some(name);
                known.or_else(|| image.then_some(Ids { user: id, group: 0 }))?
            }
            (name, Err(_)) => Ids::parse(self.users.get(name)?)?,
        };
        let group = match group {
            None => listed.group,
            Some(group) => group.parse().ok()?,
        };
        Some(Ids { group, ..listed })
    }

    pub(crate) fn reads(&self, variable: &str) -> bool {
        self.environment.contains_key(variable)
            || self.variables.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => variable.starts_with(start),
                None => name == variable,
            })
    }
}

impl Official {
    /// Reads the list of a checkout.
    pub(crate) fn of_checkout(repository: &Path) -> Result<Self, String> {
        let path = repository.join("images/official.toml");
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// All images, by name.
    pub(crate) fn images(&self) -> Vec<Holds> {
        self.image.iter().map(|(name, entry)| self.holds(name, entry)).collect()
    }

    /// The image of a reference, with its tag; or why it is not listed.
    pub(crate) fn find(&self, reference: &str) -> Result<Holds, String> {
        let repository = |image: &str| image.rsplit_once(':').map_or(image, |(name, _)| name).to_owned();
        if let Some((name, entry)) = self.image.iter().find(|(_, entry)| entry.image == reference) {
            return Ok(self.holds(name, entry));
        }
        match self.image.values().find(|entry| repository(&entry.image) == repository(reference)) {
            Some(other) => Err(format!(
                "images/official.toml lists {}: look at what {reference} holds, and list it",
                other.image
            )),
            None => Err(format!("images/official.toml does not list {reference}")),
        }
    }

    fn holds(&self, name: &str, entry: &Entry) -> Holds {
        let base = &self.base[&entry.base];
        let mut holds = Holds {
            name: name.to_owned(),
            image: entry.image.clone(),
            user: entry.user.clone(),
            entrypoint: entry.entrypoint.clone(),
            cmd: entry.cmd.clone(),
            environment: entry.environment.clone(),
            variables: entry.variables.clone(),
            files: entry.files.clone(),
            writable: base.writable.iter().chain(&entry.writable).cloned().collect(),
            volumes: entry.volumes.clone(),
            ports: entry.ports.clone(),
            certificates: entry.certificates.clone().or_else(|| base.certificates.clone()),
            users: base.users.clone().into_iter().chain(entry.users.clone()).collect(),
            links: base.links.clone(),
            partial: entry.partial,
            inferred: [base.inferred.as_str(), &entry.inferred].map(str::trim).join(" ").trim().to_owned(),
            ..Holds::default()
        };
        for (folder, programs) in base.programs.iter().chain(&entry.programs) {
            let folder = folder.trim_end_matches('/');
            let paths =
                programs.split_whitespace().map(|program| holds.followed(&format!("{folder}/{program}")));
            let paths: Vec<_> = paths.collect();
            holds.programs.extend(paths);
        }
        holds
    }

    /// What is wrong with the list itself.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let bases = self
            .base
            .iter()
            .map(|(name, base)| (format!("base.{name}"), &base.sources, !base.from.is_empty()));
        let images = self.image.iter().map(|(name, entry)| {
            (format!("image.{name}"), &entry.sources, entry.image.contains(':') && entry.size_mb > 0)
        });
        for (name, sources, whole) in bases.chain(images) {
            let named = |s: &Source| !s.repository.is_empty() && !s.file.is_empty() && !s.version.is_empty();
            if !whole || sources.is_empty() || !sources.iter().all(named) {
                faults
                    .push(format!("images/official.toml: {name} needs what it is, its size and its sources"));
            }
        }
        for (name, entry) in &self.image {
            if !self.base.contains_key(&entry.base) {
                faults.push(format!(
                    "images/official.toml: image.{name} is made from {}, which is not listed",
                    entry.base
                ));
                continue;
            }
            let holds = self.holds(name, entry);
            if holds.ids(None).is_none() {
                faults.push(format!(
                    "images/official.toml: image.{name} runs as {}, who is no user of it",
                    entry.user
                ));
            }
            if let Some(program) = entry.entrypoint.first()
                && !holds.has_program(program)
            {
                faults.push(format!(
                    "images/official.toml: image.{name} starts {program}, which it does not list"
                ));
            }
        }
        faults
    }
}
