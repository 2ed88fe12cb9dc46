//! `deploy/`: what leads beyond one machine, tried with the very files, and compared with those of the one machine.
//!
//! Trials whose program is missing are listed as ignored; with `CI=true` they fail instead. Those in containers run where
//! `SCALING_IN_CONTAINERS` is set: `make test` does so.

mod buffer;
mod cluster;
mod compose;
mod files;
mod remote_write;
mod replicas;

use std::{
    env,
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Failed, Trial};
use stack_tests::tools::{self, Tool};

use compose::have_images;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let program = |name: &str| {
        Tool::find(name).ok_or_else(|| {
            format!("{name} is not installed: run make setup, with CI=true for all that tests can use")
        })
    };
    let containers = match env::var_os("SCALING_IN_CONTAINERS") {
        Some(_) => Ok(()),
        None => Err("make test runs it, in containers".to_owned()),
    };
    let mut trials = files::trials(repository, &program("promtool"), &containers);
    let here = repository.to_owned();
    let both = program("prometheus").and_then(|one| Ok((one, program("victoria-metrics")?)));
    trials.push(trial(
        "scaling::remote_write_answers_alike_and_loses_nothing".into(),
        both,
        move |(one, other)| remote_write::answers_alike(&here, &one, &other),
    ));
    let here = repository.to_owned();
    trials.push(in_containers("scaling::two_of_each_tell_people_once", &containers, move || {
        let _alone = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        replicas::tell_people_once(&here)
    }));
    let here = repository.to_owned();
    let with_kafka = containers.clone().and_then(|()| buffer::images(repository));
    trials.push(in_containers("scaling::a_buffer_for_spans_loses_nothing", &with_kafka, move || {
        let _alone = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        buffer::loses_nothing(&here)
    }));
    let here = repository.to_owned();
    let with_elasticsearch =
        containers.and_then(|()| have_images(repository, &["docker-compose.yml"], &["elasticsearch"]));
    trials.push(in_containers(
        "scaling::three_elasticsearch_nodes_lose_nothing",
        &with_elasticsearch,
        move || {
            let _alone = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
            cluster::lose_nothing(&here)
        },
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Held by a trial that runs several services: two such on two cores would wait for one another's starts.
static ENGINE: Mutex<()> = Mutex::new(());

/// A trial of what it needs, or the reason why that is not there.
fn trial<P: Send + 'static>(
    name: String,
    needed: Result<P, String>,
    run: impl FnOnce(P) -> Result<(), String> + Send + 'static,
) -> Trial {
    match needed {
        Ok(needed) => Trial::test(name, || run(needed).map_err(Failed::from)),
        Err(why) if tools::unattended() => Trial::test(name, move || Err(Failed::from(why))),
        Err(why) => Trial::test(name, || Ok(())).with_kind(why).with_ignored_flag(true),
    }
}

/// A trial in containers: not of `make check`, so that it may be ignored there even in CI.
fn in_containers(
    name: &str,
    containers: &Result<(), String>,
    run: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Trial {
    match containers {
        Ok(()) => Trial::test(name, || run().map_err(Failed::from)),
        Err(why) => Trial::test(name, || Ok(())).with_kind(why).with_ignored_flag(true),
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}
