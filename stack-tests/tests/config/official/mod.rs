//! What Compose, `deploy/` and the scripts ask of the official images, against what those hold (`images/official.toml`).

mod check;
mod containers;
mod dockerfile;
mod list;
mod negative;
mod shell;
mod standins;

use std::path::Path;

use libtest_mimic::Trial;
use stack_tests::pins;

use self::list::Official;
use crate::{ensure, trial};

pub(crate) fn trials(repository: &'static Path) -> Vec<Trial> {
    let mut trials = vec![
        trial("official::the_list_is_whole".to_owned(), move || {
            let faults = Official::of_checkout(repository)?.faults();
            ensure(faults.is_empty(), || faults.join("\n"))
        }),
        trial("official::each_pin_is_listed".to_owned(), move || {
            let official = Official::of_checkout(repository)?;
            let unlisted = pins::of_checkout(repository)?
                .into_iter()
                .filter_map(|pin| official.find(&pin.image()).err());
            let unlisted: Vec<_> = unlisted.collect();
            ensure(unlisted.is_empty(), || unlisted.join("\n"))
        }),
        trial("official::deploy/kubernetes".to_owned(), move || {
            fit(repository, &containers::of_kubernetes(repository, "deploy/kubernetes")?)
        }),
    ];
    for file in compose_files(repository) {
        trials.push(trial(format!("official::{file}"), move || {
            fit(repository, &containers::of_compose(repository, &file)?)
        }));
    }
    trials.extend(negative::trials());
    trials.extend(standins::trials(repository));
    trials
}

/// The kit's own Compose file, and those that go on top of it.
fn compose_files(repository: &Path) -> Vec<String> {
    let deployed = containers::walked(&repository.join("deploy")).into_iter().filter(|path| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("docker-compose") && name.ends_with(".yml")
        })
    });
    let deployed = deployed.map(|path| path.strip_prefix(repository).unwrap_or(&path).display().to_string());
    std::iter::once("docker-compose.yml".to_owned()).chain(deployed).collect()
}

fn fit(repository: &Path, containers: &[containers::Container]) -> Result<(), String> {
    let official = Official::of_checkout(repository)?;
    ensure(!containers.is_empty(), || "there are no containers".to_owned())?;
    let faults: Vec<_> =
        containers.iter().flat_map(|container| check::faults(repository, &official, container)).collect();
    ensure(faults.is_empty(), || faults.join("\n"))
}
