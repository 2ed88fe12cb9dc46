//! The two small services of `docs/instrumenting.md`, this one and the one in Python beside it, keep to the contract: what they show is
//! compared with the tables of `docs/metrics.md`, `docs/logs.md` and `docs/traces.md`.
//!
//! The Python one needs its virtual environment (`setup/instrumenting.sh`). Without it its trials are listed as ignored; with
//! `CI=true` they fail instead.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here, and says where")]
mod lines;
mod metrics;
mod pages;
mod service;
mod spans;
mod surroundings;

use std::{env, path::PathBuf, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::service::Kind;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let python = python().ok_or("its virtual environment is missing: run setup/instrumenting.sh");
    let checks: [(&str, Check); 4] = [
        ("metrics_are_as_documented", metrics::are_as_documented),
        ("lines_are_as_documented", lines::are_as_documented),
        ("spans_are_as_documented", spans::are_as_documented),
        ("nobody_waits_for_a_collector_that_hangs", spans::nobody_waits),
    ];
    let mut trials = Vec::new();
    for (language, kind) in [("rust", Ok(Kind::Rust)), ("python", python.clone().map(Kind::Python))] {
        for (name, check) in checks {
            trials.push(trial(format!("instrumenting_{language}::{name}"), kind.clone(), check));
        }
    }
    let workers = python.map(Kind::PythonWorkers);
    trials.push(trial(
        "instrumenting_python::workers_are_counted_together".to_owned(),
        workers,
        metrics::workers_add_up,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What is asked of a service.
type Check = fn(&Kind);

/// A trial of a service, or the reason why there is none.
fn trial(name: String, kind: Result<Kind, &'static str>, check: Check) -> Trial {
    match kind {
        Ok(kind) => Trial::test(name, move || {
            check(&kind);
            Ok(())
        }),
        Err(why) if env::var("CI").is_ok_and(|ci| ci == "true") => {
            Trial::test(name, move || Err(Failed::from(why)))
        }
        Err(why) => Trial::test(name, || Ok(())).with_kind(why).with_ignored_flag(true),
    }
}

/// Where `setup/instrumenting.sh` puts the environment, or that of `INSTRUMENTING_PYTHON`.
fn python() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("AGENT_KIT_CACHE").or_else(|| {
        let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
        Some(base.join("agent-observability-kit"))
    });
    let environment = set("INSTRUMENTING_PYTHON").or_else(|| Some(cache?.join("instrumenting")));
    environment.filter(|folder| folder.join("bin/uvicorn").is_file())
}
