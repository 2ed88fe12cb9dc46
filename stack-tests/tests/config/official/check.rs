//! Holds a container, and every script that runs in it, against what its image holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{
    containers::{Container, Source, walked},
    dockerfile,
    list::{Holds, Ids, Official},
    shell::{self, At, Facts, Shell},
};

/// Commands whose arguments are files.
const FILE_TOOLS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "head", "install", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "tail",
    "tar", "touch",
];
/// Those that change the last of them, and those that change all.
const CHANGES_LAST: &[&str] = &["cp", "install", "ln", "mv"];
const CHANGES_ALL: &[&str] = &["chmod", "chown", "mkdir", "rm", "rmdir", "touch"];
/// What an engine gives to every container.
const GIVEN: &[&str] = &["/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// What a container needs and its image does not hold: a line each, with file, line, image and what is missing.
pub(crate) fn faults(repository: &Path, official: &Official, container: &Container) -> Vec<String> {
    let holds = match &container.target {
        Some(target) => dockerfile::stage(repository, official, target),
        None if container.image.starts_with("agent-kit/") => {
            let name = container.image.trim_start_matches("agent-kit/").split(':').next().unwrap_or_default();
            dockerfile::stage(repository, official, name)
        }
        None => official.find(&container.image),
    };
    match holds {
        Ok(holds) => {
            let ours = container.target.is_some() || container.image.starts_with("agent-kit/");
            let mut check = Check {
                repository,
                container,
                holds,
                ours,
                faults: Vec::new(),
                scripts: BTreeSet::new(),
                needs: BTreeSet::new(),
            };
            check.all();
            check.faults
        }
        Err(why) => vec![format!("{}: {}: {why}", container.at("image:"), container.name)],
    }
}

/// The programs that a container needs of its image, by their paths.
pub(crate) fn needs(repository: &Path, container: &Container, holds: Holds) -> BTreeSet<String> {
    let mut check = Check {
        repository,
        container,
        holds,
        ours: false,
        faults: Vec::new(),
        scripts: BTreeSet::new(),
        needs: BTreeSet::new(),
    };
    check.all();
    check.needs
}

struct Check<'a> {
    repository: &'a Path,
    container: &'a Container,
    holds: Holds,
    /// Whether the image is one of the kit's own.
    ours: bool,
    faults: Vec<String>,
    /// The scripts that were read, by their paths in the repository.
    scripts: BTreeSet<PathBuf>,
    needs: BTreeSet<String>,
}

impl Check<'_> {
    fn all(&mut self) {
        let user = self.user();
        let mut argv = self.container.entrypoint.clone().unwrap_or_else(|| self.holds.entrypoint.clone());
        match (&self.container.command, &self.container.entrypoint) {
            (Some(command), _) => argv.extend(command.iter().cloned()),
            (None, None) => argv.extend(self.holds.cmd.iter().cloned()),
            (None, Some(_)) => {}
        }
        let mut variables = BTreeSet::new();
        for words in std::iter::once(&argv).chain(&self.container.runs) {
            self.argv(words, user, &mut variables);
        }
        self.variables(&variables);
        self.volumes(user);
    }

    fn fault(&mut self, place: &str, what: &str) {
        let mut line = format!("{place}: {}, image {}: {what}", self.container.name, self.holds.image);
        if !self.holds.inferred.is_empty() {
            line.push_str(" (part of what images/official.toml says of it is inferred)");
        }
        if !self.faults.contains(&line) {
            self.faults.push(line);
        }
    }

    fn user(&mut self) -> Ids {
        let container = self.container;
        self.holds.ids(container.user.as_deref()).unwrap_or_else(|| {
            let user = container.user.as_deref().unwrap_or(&self.holds.user).to_owned();
            let place = container.at(if container.file.starts_with("deploy/kubernetes") {
                "runAsUser"
            } else {
                "user:"
            });
            self.fault(&place, &format!("the image has no user {user}"));
            Ids { user: u32::MAX, group: u32::MAX }
        })
    }

    /// A command as the engine runs it: without a shell.
    fn argv(&mut self, words: &[String], user: Ids, variables: &mut BTreeSet<String>) {
        let Some(program) = words.first() else {
            let place = self.container.at("image:");
            return self.fault(&place, "nothing says what it runs");
        };
        let place = self.container.at(program.rsplit('/').next().unwrap_or(program));
        self.program(&place, program);
        if let Some(shell) = Shell::called(program) {
            let mut rest =
                words[1..].iter().filter(|word| !matches!(word.as_str(), "-e" | "-u" | "-eu" | "--"));
            match rest.next().map(String::as_str) {
                Some("-c" | "-ec" | "-euc") => {
                    if let Some(script) = rest.next() {
                        let place = self.container.at(script
                            .lines()
                            .next()
                            .unwrap_or_default()
                            .get(..12)
                            .unwrap_or(script));
                        self.script(&place, false, script, shell, user, variables);
                    }
                }
                Some(file) => self.file(&place, file, shell, user, variables),
                None => {}
            }
        } else if matches!(program.rsplit('/').next(), Some("tini" | "env" | "timeout"))
            && let Some(rest) = shell::wrapped(words)
        {
            self.argv(rest, user, variables);
        }
    }

    /// A script that is mounted into the container, or in its image.
    fn file(&mut self, place: &str, file: &str, shell: Shell, user: Ids, variables: &mut BTreeSet<String>) {
        let Some(source) = self.container.source_of(file) else {
            return self.path(place, file, None);
        };
        if !self.scripts.insert(source.clone()) {
            return;
        }
        let name = source.strip_prefix(self.repository).unwrap_or(&source).display().to_string();
        match fs::read_to_string(&source) {
            Ok(text) => self.script(&name, true, &text, shell, user, variables),
            Err(e) => self.fault(place, &format!("{file} is {name}: {e}")),
        }
    }

    fn script(
        &mut self,
        name: &str,
        lines: bool,
        text: &str,
        shell: Shell,
        user: Ids,
        variables: &mut BTreeSet<String>,
    ) {
        let mut environment = self.holds.environment.clone();
        environment.extend(self.container.environment.clone());
        let facts = match shell::facts(text, shell, &environment) {
            Ok(facts) => facts,
            Err(e) => return self.fault(name, &format!("it is no script for this shell: {e}")),
        };
        let place = |line: usize| if lines { format!("{name}:{line}") } else { name.to_owned() };
        variables.extend(facts.variables.iter().cloned());
        for At { line, what } in &facts.wants {
            self.fault(&place(*line), &format!("nothing sets the variable {what}"));
        }
        for At { line, what } in &facts.commands {
            let place = place(*line);
            self.program(&place, &what[0]);
            self.arguments(&place, what, user);
            if let Some(inner) = Shell::called(&what[0])
                && let Some(file) = what.get(1).filter(|file| file.starts_with('/'))
            {
                self.file(&place, file, inner, user, variables);
            }
        }
        self.files(&facts, &place, user);
        for At { line, what } in &facts.sourced {
            if what.starts_with('/') {
                self.file(&place(*line), what, shell, user, variables);
            }
        }
    }

    fn files(&mut self, facts: &Facts, place: &dyn Fn(usize) -> String, user: Ids) {
        for At { line, what } in facts.tests.iter().chain(&facts.reads) {
            self.path(&place(*line), what, None);
        }
        for At { line, what } in &facts.writes {
            self.path(&place(*line), what, Some(user));
        }
    }

    fn program(&mut self, place: &str, program: &str) {
        if program.starts_with('/') && self.container.mount_of(program).is_some() {
            return;
        }
        if self.holds.has_program(program) {
            self.needs.insert(program.to_owned());
        } else if !self.holds.installs {
            self.fault(place, &format!("the image has no program {program}"));
        }
    }

    /// The files among a command's arguments.
    fn arguments(&mut self, place: &str, words: &[String], user: Ids) {
        let command = words[0].rsplit('/').next().unwrap_or_default();
        if command == "mktemp" && words.iter().all(|word| !word.contains('/')) {
            return self.path(place, "/tmp/file", Some(user));
        }
        if !FILE_TOOLS.contains(&command) {
            return;
        }
        let last = words.len() - 1;
        for (n, file) in words.iter().enumerate().skip(1).filter(|(_, word)| word.starts_with('/')) {
            let changes = CHANGES_ALL.contains(&command) || (CHANGES_LAST.contains(&command) && n == last);
            self.path(place, file, changes.then_some(user));
        }
    }

    /// A path that must be there, and that somebody must be able to change.
    fn path(&mut self, place: &str, path: &str, changed_by: Option<Ids>) {
        let below =
            |folder: &str| path == folder || path.starts_with(&format!("{}/", folder.trim_end_matches('/')));
        if GIVEN.iter().any(|given| below(given)) || path.contains(['*', '?']) {
            return;
        }
        if let Some(secret) = path.strip_prefix("/run/secrets/")
            && self.container.mount_of(path).is_none()
        {
            if !self.container.secrets.iter().any(|name| name == secret) {
                self.fault(place, &format!("the container is not given the secret {secret}"));
            }
            return;
        }
        if let Some(mount) = self.container.mount_of(path) {
            if changed_by.is_some() && !mount.writable {
                self.fault(
                    place,
                    &format!("{path} cannot be written: {} is mounted read-only", mount.target),
                );
            }
            if let (Some(source), false) = (self.container.source_of(path), path.contains('{'))
                && source.starts_with(self.repository)
                && !source.exists()
            {
                self.fault(
                    place,
                    &format!("{path} is mounted from {}, which is not there", source.display()),
                );
            }
            return;
        }
        let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let within = self.holds.writable.iter().find(|listed| listed.path == folder || listed.path == path);
        if let Some(user) = changed_by {
            if self.container.read_only {
                self.fault(
                    place,
                    &format!("{path} cannot be written: the container's file system is read-only there"),
                );
            } else if within.is_none_or(|folder| !folder.takes(user)) {
                self.fault(place, &format!("user {} cannot write {path}", user.user));
            }
            return;
        }
        let there = self.holds.has_program(path)
            || self.holds.files.iter().any(|file| file == path)
            || self.holds.writable.iter().any(|folder| folder.path == path);
        if !there && !self.holds.installs {
            self.fault(place, &format!("the image has no {path}"));
        }
    }

    /// Variables that the container is given and nothing in it reads.
    fn variables(&mut self, read: &BTreeSet<String>) {
        if self.ours || self.holds.installs {
            return;
        }
        let container = self.container;
        let unread: Vec<_> = container
            .environment
            .keys()
            .filter(|name| !read.contains(*name) && !self.holds.reads(name))
            .cloned()
            .collect();
        if unread.is_empty() {
            return;
        }
        let mut mounted = BTreeMap::new();
        for mount in &container.mounts {
            let files = match &mount.source {
                Source::Path(path) if path.starts_with(self.repository) && path.is_dir() => walked(path),
                Source::Path(path) if path.starts_with(self.repository) => vec![path.clone()],
                Source::Files(files) => files.values().cloned().collect(),
                _ => Vec::new(),
            };
            mounted.extend(
                files.into_iter().filter_map(|file| Some((file.clone(), fs::read_to_string(file).ok()?))),
            );
        }
        for name in unread {
            // `${NAME}`, `${NAME:-…}`, `${env:NAME}`, `$NAME`.
            let spelled = |text: &str| {
                [format!("${{{name}}}"), format!("${{{name}:"), format!("${{env:{name}"), format!("${name}")]
                    .iter()
                    .any(|form| text.contains(form.as_str()))
            };
            if !mounted.values().any(|text| spelled(text)) {
                self.fault(
                    &container.at(&name),
                    &format!("nothing in the container reads the variable {name}"),
                );
            }
        }
    }

    /// A named volume takes over the owner of the folder that it covers.
    fn volumes(&mut self, user: Ids) {
        let container = self.container;
        for mount in &container.mounts {
            let Source::Volume(name) = &mount.source else { continue };
            if !mount.writable || user.user == 0 || user.user == u32::MAX {
                continue;
            }
            let folder = self.holds.writable.iter().find(|folder| folder.path == mount.target).cloned();
            let place = container.at(&mount.target);
            match folder {
                Some(folder) if folder.takes(user) => {}
                Some(folder) => self.fault(
                    &place,
                    &format!("user {} cannot write the volume {name}: {} belongs to {}", user.user, folder.path, folder.owner),
                ),
                None => self.fault(
                    &place,
                    &format!(
                        "user {} cannot write the volume {name}: the image has no folder {} to give it an owner",
                        user.user, mount.target
                    ),
                ),
            }
        }
    }
}
