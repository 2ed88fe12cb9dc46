//! Grafana's dashboards: each of them through the linter, and the data sources that they name.

use std::{collections::BTreeSet, path::Path};

use libtest_mimic::Trial;
use stack_tests::dashboards::{
    Dashboard,
    lint::{SOURCES, Surroundings, lint},
    load,
};

use crate::{ensure, rules, stem, trial};

pub(crate) fn trials(repository: &Path) -> Vec<Trial> {
    let dashboards = match load(&repository.join("grafana/dashboards")) {
        Ok(dashboards) => dashboards,
        Err(error) => return vec![trial("dashboards::can_be_read".into(), move || Err(error))],
    };
    let each = dashboards.iter().map(|dashboard| {
        let (repository, all, dashboard) = (repository.to_owned(), dashboards.clone(), dashboard.clone());
        let name = format!("dashboards::{}_is_made_as_it_should_be", stem(&dashboard.file));
        trial(name, move || is_sound(&dashboard, &Surroundings::of(&repository, &all)?))
    });
    let (here, all) = (repository.to_owned(), dashboards.clone());
    let mut trials: Vec<_> = each.collect();
    trials.push(trial("dashboards::they_are_sound_with_other_uids".into(), move || {
        with_other_uids(&here, &all)
    }));
    trials
        .push(trial("dashboards::they_have_uids_of_their_own".into(), move || uids_are_unique(&dashboards)));
    let here = repository.to_owned();
    trials
        .push(trial("dashboards::data_sources_have_the_fixed_uids".into(), move || sources_are_fixed(&here)));
    trials
}

fn is_sound(dashboard: &Dashboard, around: &Surroundings) -> Result<(), String> {
    let problems = lint(dashboard, around);
    ensure(problems.is_empty(), || format!("{}:\n{}", dashboard.file.display(), problems.join("\n")))
}

/// What an adopter does: maps our uids to theirs. Nothing of ours may be left.
fn with_other_uids(repository: &Path, dashboards: &[Dashboard]) -> Result<(), String> {
    let theirs =
        |uid: &str| if SOURCES.contains(&uid) { format!("their-{uid}-0001") } else { uid.to_owned() };
    let mut around = Surroundings::of(repository, dashboards)?;
    around.sources = SOURCES.map(theirs).into();
    for dashboard in dashboards {
        let dashboard = dashboard.with_uids(&theirs);
        is_sound(&dashboard, &around)?;
        let text = dashboard.json.to_string();
        for uid in SOURCES {
            for left in [format!("\"uid\":\"{uid}\""), format!("%22{uid}%22%2C%22queries")] {
                ensure(!text.contains(&left), || format!("{}: {left} is left", dashboard.file.display()))?;
            }
        }
    }
    Ok(())
}

fn uids_are_unique(dashboards: &[Dashboard]) -> Result<(), String> {
    let uids: BTreeSet<_> = dashboards.iter().map(Dashboard::uid).collect();
    ensure(uids.len() == dashboards.len(), || {
        format!("{} dashboards have the uids {uids:?}", dashboards.len())
    })
}

fn sources_are_fixed(repository: &Path) -> Result<(), String> {
    let file = rules::load(&repository.join("grafana/provisioning/datasources/datasources.yaml"))?;
    let sources = rules::list(&file, "datasources").iter();
    let uids: BTreeSet<_> = sources.filter_map(|source| source.as_mapping_get("uid")?.as_str()).collect();
    ensure(uids == SOURCES.into(), || format!("provisioned are {uids:?}, dashboards name {SOURCES:?}"))
}
