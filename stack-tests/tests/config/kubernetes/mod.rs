//! `deploy/kubernetes`: that it is made from the kit's other files as they are, that a cluster would take it, and that it says
//! what Compose says. Each check is shown to notice what it is there for.
//!
//! Needs kustomize or kubectl; without one its trials are listed as ignored, and fail with `CI=true`.

mod agreement;
mod cluster;
mod notices;
mod validity;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use libtest_mimic::Trial;
use serde_json::Value;
use stack_tests::{
    kubernetes::{self, FOLDER, LEFT_OUT, Renderer},
    tools,
};

use crate::{Checker, ensure, files, read, stem, trial};

const MISSING: &str = "neither kustomize nor kubectl is installed: run make setup";
/// What people apply, each as it is in the repository.
const OVERLAYS: [&str; 3] = ["try", "production", "production-eck"];

pub(crate) fn trials(repository: &Path, promtool: &Checker, amtool: &Checker) -> Vec<Trial> {
    let kustomize = Kustomize(Renderer::find());
    let with_overlay = |name: String, run: Check, overlay| {
        let repository = repository.to_owned();
        kustomize.trial(name, move |renderer| run(renderer, &repository, overlay))
    };
    let mut trials = vec![
        own("what_is_made_from_other_files_is_as_they_are", repository, is_current),
        own("each_rule_file_is_taken_or_the_page_says_why_not", repository, left_out_is_explained),
        with_overlay("kubernetes::says_what_compose_says".into(), says_what_compose_says, "try"),
        with_overlay("kubernetes::every_preset_is_a_component".into(), presets_render, "production"),
        rules_trial(repository, &kustomize, promtool),
        alertmanager_trial(repository, &kustomize, amtool),
        elastic_trial(repository, &kustomize),
    ];
    for overlay in OVERLAYS {
        trials.push(with_overlay(format!("kubernetes::a_cluster_takes::{overlay}"), is_taken, overlay));
    }
    trials.extend(notices::trials(repository, &kustomize));
    trials
}

/// What is asked of an overlay.
type Check = fn(&Renderer, &Path, &str) -> Result<(), String>;

/// Kustomize, there or not.
struct Kustomize(Option<Renderer>);

impl Kustomize {
    /// A trial that runs it.
    fn trial(
        &self,
        name: String,
        run: impl FnOnce(&Renderer) -> Result<(), String> + Send + 'static,
    ) -> Trial {
        match self.0.clone() {
            Some(renderer) => trial(name, move || run(&renderer)),
            None if tools::unattended() => trial(name, || Err(MISSING.into())),
            None => trial(name, || Ok(())).with_kind(MISSING).with_ignored_flag(true),
        }
    }
}

fn rules_trial(repository: &Path, kustomize: &Kustomize, promtool: &Checker) -> Trial {
    let (repository, renderer) = (repository.to_owned(), kustomize.0.clone());
    promtool.trial("kubernetes::promtool_takes_the_rules".into(), move |promtool| {
        let objects = render(&renderer.ok_or(MISSING)?, &repository, "production")?;
        validity::rules_are_valid(promtool, &objects)
    })
}

/// The operator mounts all keys of the Secret beside one another, and reads one of them.
fn alertmanager_trial(repository: &Path, kustomize: &Kustomize, amtool: &Checker) -> Trial {
    let (folder, renderer) = (repository.join(FOLDER).join("alertmanager"), kustomize.0.clone());
    amtool.trial("kubernetes::amtool_takes_the_configuration".into(), move |amtool| {
        amtool.run(&folder.join("generated"), &["check-config", "alertmanager.yaml"])?;
        let objects = renderer.ok_or(MISSING)?.render(&folder)?;
        let keys = objects.iter().find_map(|object| object["data"].as_object()).ok_or("no Secret")?;
        let templates = files(&folder.join("generated"), "tmpl");
        let wanted = templates.iter().map(|path| format!("{}.tmpl", stem(path)));
        let wanted: BTreeSet<_> = wanted.chain(["alertmanager.yaml".to_owned()]).collect();
        let keys: BTreeSet<_> = keys.keys().cloned().collect();
        ensure(keys == wanted && templates.len() > 1, || format!("the Secret has {keys:?}, not {wanted:?}"))
    })
}

/// Elastic's operator has definitions of its own, which are here only where `make setup` has fetched them.
fn elastic_trial(repository: &Path, kustomize: &Kustomize) -> Trial {
    let name = "kubernetes::elastics_operator_takes_its_resources".to_owned();
    let (definitions, repository) = (validity::elastic_definitions(), repository.to_owned());
    if definitions.is_empty() && !tools::unattended() {
        let missing = "the operator's definitions are not here: CI=true make setup fetches them";
        return trial(name, || Ok(())).with_kind(missing).with_ignored_flag(true);
    }
    kustomize.trial(name, move |renderer| {
        let mut objects = render(renderer, &repository, "production-eck")?;
        none(&validity::elastic_problems(&repository, &definitions, &objects)?)?;
        // It notices what they do not know.
        let logstash = objects.iter_mut().find(|object| object["kind"] == "Logstash").ok_or("no Logstash")?;
        logstash["spec"]["pipelineRef"] = serde_json::json!({});
        let problems = validity::elastic_problems(&repository, &definitions, &objects)?;
        ensure(problems.len() == 1 && problems[0].contains("pipelineRef"), || {
            format!("noticed: {problems:?}")
        })
    })
}

fn own(name: &str, repository: &Path, check: fn(&Path) -> Result<(), String>) -> Trial {
    let repository = repository.to_owned();
    trial(format!("kubernetes::{name}"), move || check(&repository))
}

fn overlay_of(repository: &Path, overlay: &str) -> PathBuf {
    repository.join(FOLDER).join("overlays").join(overlay)
}

fn render(renderer: &Renderer, repository: &Path, overlay: &str) -> Result<Vec<Value>, String> {
    renderer.render(&overlay_of(repository, overlay))
}

fn none(problems: &[String]) -> Result<(), String> {
    ensure(problems.is_empty(), || problems.join("\n"))
}

fn is_current(repository: &Path) -> Result<(), String> {
    let wanted = kubernetes::generate(repository).map_err(|e| e.to_string())?;
    let differences = kubernetes::differences(repository, &wanted).map_err(|e| e.to_string())?;
    ensure(differences.is_empty(), || {
        format!("{}\n`make kubernetes` writes them anew", differences.join("\n"))
    })
}

fn left_out_is_explained(repository: &Path) -> Result<(), String> {
    let page = read(&repository.join(FOLDER).join("README.md"))?;
    let taken = repository.join(FOLDER).join("components/prometheus-operator/generated");
    for file in files(&repository.join("prometheus/rules"), "yml") {
        let name = stem(&file);
        let why = LEFT_OUT.iter().find(|(left_out, _)| *left_out == name).map(|(_, why)| *why);
        match why {
            Some(why) => ensure(page.contains(&format!("`{name}.yml`: {why}")), || {
                format!("README.md does not say of `{name}.yml`: {why}")
            })?,
            None => {
                ensure(taken.join(format!("{name}.yaml")).exists(), || format!("{name}.yml is not taken"))?;
            }
        }
    }
    Ok(())
}

fn is_taken(renderer: &Renderer, repository: &Path, overlay: &str) -> Result<(), String> {
    let objects = render(renderer, repository, overlay)?;
    let page = read(&repository.join(FOLDER).join("README.md"))?;
    let mut problems = validity::problems(repository, &objects)?;
    problems.extend(cluster::problems(&objects, &page));
    none(&problems)
}

fn says_what_compose_says(renderer: &Renderer, repository: &Path, overlay: &str) -> Result<(), String> {
    let objects = render(renderer, repository, overlay)?;
    none(&agreement::differences(repository, &objects)?)?;
    // What watches it is in the other one.
    let objects = render(renderer, repository, "production")?;
    none(&agreement::scraping(repository, &objects)?)
}

/// A copy of the overlay for each preset in place of the one it names.
fn presets_render(renderer: &Renderer, repository: &Path, overlay: &str) -> Result<(), String> {
    let presets = files(&repository.join("prometheus/thresholds"), "yml");
    ensure(presets.len() > 1, || "there is but one preset".into())?;
    for preset in presets {
        let preset = stem(&preset);
        let copy = notices::Copy::of(repository)?;
        let file = format!("overlays/{overlay}/kustomization.yaml");
        copy.replace(&file, "thresholds/default", &format!("thresholds/{preset}"))?;
        let objects = renderer.render(&overlay_of(copy.root(), overlay))?;
        let rules = objects.iter().filter(|object| object["metadata"]["name"] == "agent-kit-thresholds");
        let groups: Vec<_> = rules.map(|rule| &rule["spec"]).collect();
        let wanted =
            stack_tests::yaml::file(&repository.join(format!("prometheus/thresholds/{preset}.yml")))?;
        ensure(groups == [&wanted], || format!("{preset}: not the limits of its file"))?;
    }
    Ok(())
}
