//! Promises of `docker-compose.yml` that its own schema does not check.

use std::{collections::BTreeMap, path::Path};

use libtest_mimic::Trial;
use regex::Regex;
use serde_json::Value;
use stack_tests::yaml;

use crate::{ensure, read, trial};

/// How long a one-shot service waits for the service that it sets up, in seconds: `SETUP_TIMEOUT` of the scripts.
const ONE_SHOT_SECONDS: u64 = 300;

pub(crate) fn trials(repository: &Path) -> Vec<Trial> {
    let (series, secrets) = (repository.to_owned(), repository.to_owned());
    vec![
        trial("compose::make_up_waits_for_start_periods_in_series".into(), move || wait_timeout(&series)),
        trial("compose::no_secret_file_must_exist_before_the_first_start".into(), move || {
            no_file_of_secrets(&secrets)
        }),
    ]
}

/// Services start one after the other where they depend on one another, so their start periods add up.
fn wait_timeout(repository: &Path) -> Result<(), String> {
    let compose = yaml::file(&repository.join("docker-compose.yml"))?;
    let services = compose["services"].as_object().ok_or("no services")?;
    let mut known = BTreeMap::new();
    let mut longest = 0;
    for name in services.keys() {
        longest = longest.max(seconds_until_started(name, services, &mut known)?);
    }
    ensure(longest > ONE_SHOT_SECONDS, || {
        format!("the longest start is {longest} s, so nothing depends on anything")
    })?;
    let script = read(&repository.join("setup/up.sh"))?;
    let pattern = Regex::new(r"--wait-timeout (\d+)").expect("a constant pattern");
    let timeout = pattern.captures(&script).ok_or("setup/up.sh has no --wait-timeout")?;
    let timeout: u64 = timeout[1].parse().map_err(|e| format!("--wait-timeout: {e}"))?;
    ensure(timeout > longest, || {
        format!("make up waits {timeout} s, a slow first start may take {longest} s")
    })
}

/// The longest time until a service is healthy, or has ended, with all that it depends on.
fn seconds_until_started(
    name: &str,
    services: &serde_json::Map<String, Value>,
    known: &mut BTreeMap<String, u64>,
) -> Result<u64, String> {
    if let Some(seconds) = known.get(name) {
        return Ok(*seconds);
    }
    let service = services.get(name).ok_or_else(|| format!("no service {name}"))?;
    let own = match &service["healthcheck"]["start_period"] {
        Value::String(period) => {
            let seconds = period.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
            seconds.ok_or_else(|| format!("{name}: start_period {period}"))?
        }
        _ if name.ends_with("-setup") => ONE_SHOT_SECONDS,
        _ => 0,
    };
    let mut before = 0;
    for dependency in service["depends_on"].as_object().into_iter().flat_map(serde_json::Map::keys) {
        before = before.max(seconds_until_started(dependency, services, known)?);
    }
    known.insert(name.to_owned(), before + own);
    Ok(before + own)
}

/// Compose refuses to create a container whose secret file is missing, so a fresh clone would not start.
fn no_file_of_secrets(repository: &Path) -> Result<(), String> {
    let compose = yaml::file(&repository.join("docker-compose.yml"))?;
    ensure(compose["secrets"].is_null(), || {
        "docker-compose.yml declares secrets as files of the host".into()
    })?;
    let services = compose["services"].as_object().ok_or("no services")?;
    let mut readers = 0;
    for (name, service) in services {
        let volumes = service["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let own = format!("secrets-{name}:/run/secrets:ro");
        if !volumes.iter().filter_map(Value::as_str).any(|volume| volume == own) {
            continue;
        }
        readers += 1;
        let after = &service["depends_on"]["secrets"]["condition"];
        ensure(after == "service_completed_successfully", || {
            format!("{name} does not wait for its secrets")
        })?;
    }
    ensure(readers > 5, || format!("only {readers} services read secrets"))
}
