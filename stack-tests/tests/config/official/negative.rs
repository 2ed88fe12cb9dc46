//! A file with one fault is refused, and the line that says so names file, line, image and what is missing.

use std::{fs, path::Path};

use libtest_mimic::Trial;
use stack_tests::pins;

use super::{check, containers, list::Official};
use crate::{ensure, read, trial};

const COMPOSE: &str = r#"services:
  jaeger:
    image: ${JAEGER_IMAGE:-JAEGER}
    user: "10001:10001"
    read_only: true
    entrypoint: [/bin/sh, /etc/kit/start.sh]
    environment:
      STORAGE: memory
    secrets: [password]
    tmpfs: ["/tmp:mode=1777"]
    volumes: ["./kit:/etc/kit:ro"]
    healthcheck: { test: [CMD, wget, -q, "http://127.0.0.1:13133/status"] }
  elasticsearch:
    image: ELASTICSEARCH
    user: "1000:0"
    entrypoint: [/bin/bash, /etc/kit/setup.sh]
    volumes:
      - ./kit:/etc/kit:ro
      - data:/usr/share/elasticsearch/data
    healthcheck: { test: [CMD-SHELL, "curl -s http://127.0.0.1:9200/ | grep -q name"] }
"#;

const START: &str = r#"#!/bin/sh
set -eu
storage=${STORAGE:-memory}
tell() { echo "kept in $storage, as $(cat /run/secrets/password)"; }
if getent hosts elasticsearch >/dev/null; then tell; fi
scratch=$(mktemp)
date >"$scratch"
exec /cmd/jaeger/jaeger-linux "$@"
"#;

const SETUP: &str = r#"#!/bin/bash
set -euo pipefail
shopt -s nullglob
here=$(cd "$(dirname "$0")" && pwd)
config=/usr/share/elasticsearch/config
cp "$config/elasticsearch.yml" /usr/share/elasticsearch/data/
sed -e 's/a/b/' <<<"$here" | tr 'a' 'b'
exec /bin/tini -- /usr/local/bin/docker-entrypoint.sh eswrapper
"#;

/// A fault: what it is called, the file with what stands there and what shall, and what the line has to say.
type Fault = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const FAULTS: &[Fault] = &[
    (
        "a_program_of_a_health_check",
        "docker-compose.yml",
        "CMD, wget",
        "CMD, curl",
        &["docker-compose.yml:12: service jaeger", "no program curl"],
    ),
    (
        "a_program_of_a_health_check_in_shell",
        "docker-compose.yml",
        "grep -q name",
        "jq .name",
        &["docker-compose.yml:20: service elasticsearch", "no program jq"],
    ),
    (
        "a_program_of_a_script",
        "kit/start.sh",
        "date >",
        "curl -s localhost >",
        &["kit/start.sh:7: service jaeger", "no program curl"],
    ),
    (
        "a_program_in_a_substitution",
        "kit/start.sh",
        "getent hosts elasticsearch",
        "[ \"$(dig +short elasticsearch)\" ]",
        &["kit/start.sh:5:", "no program dig"],
    ),
    (
        "a_program_in_a_function",
        "kit/start.sh",
        "{ echo",
        "{ jq . /dev/null; echo",
        &["kit/start.sh:4:", "no program jq"],
    ),
    (
        "a_program_after_exec",
        "kit/start.sh",
        "exec /cmd/jaeger/jaeger-linux",
        "exec /cmd/jaeger/jaeger",
        &["kit/start.sh:8:", "no program /cmd/jaeger/jaeger"],
    ),
    (
        "a_program_within_another",
        "kit/setup.sh",
        "/bin/tini -- /usr/local/bin/docker-entrypoint.sh",
        "/bin/tini -- /usr/local/bin/entrypoint.sh",
        &["kit/setup.sh:8:", "no program /usr/local/bin/entrypoint.sh"],
    ),
    (
        "a_builtin_that_only_bash_has",
        "kit/start.sh",
        "set -eu",
        "shopt -s nullglob",
        &["kit/start.sh:2:", "no program shopt"],
    ),
    (
        "a_shell",
        "docker-compose.yml",
        "[/bin/sh, /etc/kit/start.sh]",
        "[/bin/bash, /etc/kit/start.sh]",
        &["docker-compose.yml:6: service jaeger", "no program /bin/bash"],
    ),
    (
        "a_path_of_the_image",
        "kit/setup.sh",
        "config=/usr/share/elasticsearch/config",
        "config=/etc/elasticsearch",
        &["kit/setup.sh:6: service elasticsearch", "no /etc/elasticsearch/elasticsearch.yml"],
    ),
    (
        "a_path_that_cannot_be_written",
        "kit/start.sh",
        "scratch=$(mktemp)",
        "scratch=/var/tmp/scratch",
        &["kit/start.sh:7:", "/var/tmp/scratch cannot be written", "read-only"],
    ),
    (
        "a_folder_of_another_user",
        "kit/setup.sh",
        "elasticsearch/data/",
        "elasticsearch/modules/",
        &["kit/setup.sh:6:", "user 1000 cannot write /usr/share/elasticsearch/modules/"],
    ),
    (
        "a_secret_that_is_not_given",
        "kit/start.sh",
        "/run/secrets/password",
        "/run/secrets/passwort",
        &["kit/start.sh:4:", "not given the secret passwort"],
    ),
    (
        "no_folder_in_memory",
        "docker-compose.yml",
        "    tmpfs: [\"/tmp:mode=1777\"]\n",
        "",
        &["kit/start.sh:6:", "/tmp/file cannot be written"],
    ),
    (
        "a_user",
        "docker-compose.yml",
        "\"10001:10001\"",
        "\"10002:10002\"",
        &["docker-compose.yml:4: service jaeger", "no user 10002:10002"],
    ),
    (
        "a_user_by_name",
        "docker-compose.yml",
        "\"1000:0\"",
        "kibana",
        &["docker-compose.yml:15: service elasticsearch", "no user kibana"],
    ),
    (
        "a_variable_that_nothing_reads",
        "docker-compose.yml",
        "STORAGE: memory",
        "STORE: memory",
        &["docker-compose.yml:8: service jaeger", "reads the variable STORE"],
    ),
    (
        "a_variable_that_nothing_sets",
        "kit/start.sh",
        "${STORAGE:-memory}",
        "$STORE",
        &["kit/start.sh:3:", "nothing sets the variable STORE"],
    ),
    (
        "a_variable_that_must_be_set",
        "kit/start.sh",
        "${STORAGE:-memory}",
        "${STORE:?}",
        &["kit/start.sh:3:", "nothing sets the variable STORE"],
    ),
    (
        "a_volume_that_belongs_to_root",
        "docker-compose.yml",
        "data:/usr/share/elasticsearch/data",
        "data:/var/lib/elasticsearch",
        &["docker-compose.yml:19:", "no folder /var/lib/elasticsearch"],
    ),
    (
        "an_image_that_is_not_listed",
        "docker-compose.yml",
        "    image: ELASTICSEARCH",
        "    image: redis:8.4",
        &["docker-compose.yml:14:", "does not list redis:8.4"],
    ),
    (
        "a_version_that_is_not_listed",
        "docker-compose.yml",
        "image: ELASTICSEARCH",
        "image: docker.elastic.co/elasticsearch/elasticsearch:8.0.0",
        &["docker-compose.yml:14:", "look at what docker.elastic.co/elasticsearch/elasticsearch:8.0.0 holds"],
    ),
    (
        "a_script_that_is_not_there",
        "docker-compose.yml",
        "/etc/kit/start.sh",
        "/etc/kit/begin.sh",
        &["docker-compose.yml:6: service jaeger", "kit/begin.sh"],
    ),
    (
        "what_is_no_shell",
        "kit/start.sh",
        "then tell; fi",
        "then tell",
        &["kit/start.sh", "no script for this shell"],
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let whole = trial("official::what_is_right_is_taken".to_owned(), || {
        let faults = faults_of(None)?;
        ensure(faults.is_empty(), || faults.join("\n"))
    });
    let each = FAULTS.iter().map(|fault| {
        trial(format!("official::refuses::{}", fault.0), || {
            let faults = faults_of(Some(fault))?;
            let says =
                |line: &&String| fault.4.iter().all(|part| line.contains(part)) && !line.contains('\n');
            ensure(faults.iter().filter(says).count() == 1, || {
                format!("no line says {:?}, but:\n{}", fault.4, faults.join("\n"))
            })
        })
    });
    std::iter::once(whole).chain(each).collect()
}

fn faults_of(fault: Option<&Fault>) -> Result<Vec<String>, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let pinned = pins::of_checkout(repository)?;
    let image = |name: &str| {
        pinned.iter().find(|pin| pin.name() == name).map(pins::Pin::image).expect("it is pinned")
    };
    let copy = tempfile::tempdir().map_err(|e| e.to_string())?;
    for folder in ["images", "kit"] {
        fs::create_dir(copy.path().join(folder)).map_err(|e| e.to_string())?;
    }
    let list = read(&repository.join("images/official.toml"))?;
    for (file, text) in [
        ("docker-compose.yml", COMPOSE),
        ("kit/start.sh", START),
        ("kit/setup.sh", SETUP),
        ("images/official.toml", &list),
    ] {
        let changed = match fault {
            Some((name, in_file, from, to, _)) if *in_file == file => {
                ensure(text.matches(from).count() == 1, || format!("{name}: {from:?} is not there once"))?;
                text.replace(from, to)
            }
            _ => text.to_owned(),
        };
        let changed = if file == "docker-compose.yml" {
            changed
                .replace(":-JAEGER}", &format!(":-{}}}", image("jaeger")))
                .replace(": ELASTICSEARCH", &format!(": {}", image("elasticsearch")))
        } else {
            changed
        };
        fs::write(copy.path().join(file), changed).map_err(|e| e.to_string())?;
    }
    let official = Official::of_checkout(copy.path())?;
    let containers = containers::of_compose(copy.path(), "docker-compose.yml")?;
    Ok(containers.iter().flat_map(|container| check::faults(copy.path(), &official, container)).collect())
}
