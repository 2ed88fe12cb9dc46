//! `prometheus/`: what promtool says of it, and what it cannot know.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use libtest_mimic::Trial;
use regex::Regex;
use stack_tests::{drill, tools::Tool};

use crate::{Checker, ensure, files, rules, scaled, stem, trial};

/// What the fast stack divides durations by, and 1 for the files as they are.
const FACTORS: [u32; 2] = [1, 20];

pub(crate) fn trials(repository: &Path, promtool: &Checker) -> Vec<Trial> {
    let folder = repository.join("prometheus");
    let mut trials = Vec::new();
    for preset in files(&folder.join("thresholds"), "yml") {
        for factor in FACTORS {
            let (folder, preset) = (folder.clone(), stem(&preset));
            let name = format!("prometheus::config::{preset}{}", if factor == 1 { "" } else { "_fast" });
            trials.push(promtool.trial(name, move |promtool| {
                config_is_valid(promtool, scaled(&folder, factor)?.path(), &preset)
            }));
        }
    }
    for kind in ["rules", "mappings"] {
        for file in files(&folder.join(kind), "yml") {
            let name = format!("prometheus::{kind}::{}", stem(&file));
            trials.push(promtool.trial(name, move |promtool| rules_are_valid(promtool, &file)));
        }
    }
    for file in files(&folder.join("tests"), "yml") {
        let name = format!("prometheus::tests::{}", stem(&file));
        let folder = folder.join("tests");
        trials.push(promtool.trial(name, move |promtool| {
            promtool.run(&folder, &["test", "rules", &file.display().to_string()]).map(drop)
        }));
    }
    let repository = repository.to_owned();
    let own = |name: &str, check: fn(&Path) -> Result<(), String>| {
        let repository = repository.clone();
        trial(format!("prometheus::{name}"), move || check(&repository))
    };
    trials.extend([
        own("every_preset_has_the_same_thresholds", presets_agree),
        own("every_threshold_that_a_rule_reads_is_there", thresholds_are_there),
        own("every_threshold_is_missed_when_it_is_missing", missing_thresholds_are_told),
        own("every_alert_says_what_people_need", alerts_say_enough),
        own("every_alert_has_a_test_and_a_runbook", alerts_have_tests_and_runbooks),
        own("every_alert_links_to_a_dashboard_that_is_there", alerts_have_dashboards),
        own("every_alert_names_its_team", alerts_have_teams),
        own("every_mapping_says_whence_it_is_and_has_a_test", mappings_are_told_apart),
        own("the_page_has_every_alert_as_it_is", page_has_alerts),
        own("every_alert_is_drilled_or_the_page_says_why_not", alerts_are_drilled),
    ]);
    trials
}

/// Checks a copy of the folder, in which `preset` is the active one.
fn config_is_valid(promtool: &Tool, copy: &Path, preset: &str) -> Result<(), String> {
    let thresholds = copy.join("thresholds");
    fs::copy(thresholds.join(format!("{preset}.yml")), thresholds.join("active.yml"))
        .map_err(|e| e.to_string())?;
    promtool.run(copy, &["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]).map(drop)
}

fn rules_are_valid(promtool: &Tool, file: &Path) -> Result<(), String> {
    let folder = file.parent().expect("a file is in a folder");
    promtool
        .run(folder, &["check", "rules", "--lint=all", "--lint-fatal", &file.display().to_string()])
        .map(drop)
}

fn thresholds_of(preset: &Path) -> Result<BTreeSet<String>, String> {
    Ok(rules::of_file(preset)?.into_iter().map(|rule| rule.name).collect())
}

fn threshold_name() -> Regex {
    Regex::new("agent:threshold:[a-z0-9_]+").expect("a valid expression")
}

fn presets(repository: &Path) -> Vec<PathBuf> {
    files(&repository.join("prometheus/thresholds"), "yml")
}

fn presets_agree(repository: &Path) -> Result<(), String> {
    let presets = presets(repository);
    let first = thresholds_of(&presets[0])?;
    for preset in &presets[1..] {
        let these = thresholds_of(preset)?;
        let different: Vec<_> = first.symmetric_difference(&these).collect();
        ensure(different.is_empty(), || {
            format!("only one of {} and {} has {different:?}", presets[0].display(), preset.display())
        })?;
    }
    Ok(())
}

fn thresholds_are_there(repository: &Path) -> Result<(), String> {
    let known = thresholds_of(&presets(repository)[0])?;
    let name = threshold_name();
    let mut read = BTreeSet::new();
    for file in files(&repository.join("prometheus/rules"), "yml") {
        let text = crate::read(&file)?;
        read.extend(name.find_iter(&text).map(|found| found.as_str().to_owned()));
    }
    let unknown: Vec<_> = read.difference(&known).collect();
    ensure(unknown.is_empty() && !read.is_empty(), || format!("{unknown:?} of {read:?} are in no preset"))
}

/// `ThresholdMissing` lists each limit by its name, because `absent()` cannot look for names.
fn missing_thresholds_are_told(repository: &Path) -> Result<(), String> {
    let alerts = rules::alerts(repository)?;
    let alert = alerts.iter().find(|alert| alert.name == "ThresholdMissing").ok_or("no ThresholdMissing")?;
    for limit in thresholds_of(&presets(repository)[0])? {
        let line = format!("label_replace(absent({limit}), \"threshold\", \"{limit}\", \"\", \"\")");
        ensure(alert.expr.lines().any(|known| known.trim() == line), || {
            format!("ThresholdMissing in rules/watchdog.yml lacks `or` {line}")
        })?;
    }
    Ok(())
}

fn alerts_say_enough(repository: &Path) -> Result<(), String> {
    let alerts = rules::alerts(repository)?;
    ensure(!alerts.is_empty(), || "no alert".into())?;
    let threshold = threshold_name();
    for alert in alerts {
        let name = &alert.name;
        let severity = alert.labels.get("severity").map(String::as_str).unwrap_or_default();
        ensure(["critical", "warning", "none"].contains(&severity), || {
            format!("{name} has severity `{severity}`, which no route knows")
        })?;
        for annotation in ["summary", "description", "runbook_url", "dashboard_url"] {
            ensure(alert.annotations.get(annotation).is_some_and(|text| !text.trim().is_empty()), || {
                format!("{name} has no {annotation}")
            })?;
        }
        ensure(alert.annotations["runbook_url"].ends_with(&format!("/{name}.md")), || {
            format!("{name} links to another alert's runbook: {}", alert.annotations["runbook_url"])
        })?;
        // An alert with a limit tells the value and the limit.
        let description = &alert.annotations["description"];
        // What keeps it quiet in low traffic is no limit.
        let thresholds = threshold.find_iter(&alert.expr).map(|found| found.as_str());
        // This one is about limits, and compares with none.
        let thresholds = thresholds.filter(|_| name != "ThresholdMissing");
        for limit in thresholds.filter(|name| !name.starts_with("agent:threshold:min_")) {
            ensure(description.contains("$value") && description.contains(limit), || {
                format!("{name} does not tell its value and {limit}")
            })?;
        }
    }
    Ok(())
}

fn alerts_have_tests_and_runbooks(repository: &Path) -> Result<(), String> {
    let alerts: BTreeSet<_> = rules::alerts(repository)?.into_iter().map(|alert| alert.name).collect();
    for alert in &alerts {
        let test = repository.join(format!("prometheus/tests/{alert}.yml"));
        let fires =
            |text: String| text.contains(&format!("alertname: {alert}\n")) && text.contains("exp_labels");
        ensure(crate::read(&test).is_ok_and(fires), || {
            format!("no test of {alert} firing in {}", test.display())
        })?;
    }
    let runbooks: BTreeSet<_> =
        files(&repository.join("docs/runbooks"), "md").iter().map(|f| stem(f)).collect();
    let missing: Vec<_> = alerts.difference(&runbooks).collect();
    let stale: Vec<_> = runbooks.difference(&alerts).filter(|name| *name != "README").collect();
    ensure(missing.is_empty() && stale.is_empty(), || {
        format!("alerts without a runbook: {missing:?}; runbooks without an alert: {stale:?}")
    })
}

fn alerts_have_dashboards(repository: &Path) -> Result<(), String> {
    let link = Regex::new("/d/([a-z0-9-]+)").expect("a valid expression");
    let dashboards = repository.join("grafana/dashboards");
    let mut uids = BTreeSet::new();
    for folder in fs::read_dir(&dashboards).map_err(|e| format!("{}: {e}", dashboards.display()))? {
        let folder = folder.map_err(|e| e.to_string())?.path();
        for file in files(&folder, "json") {
            let dashboard: serde_json::Value =
                serde_json::from_str(&crate::read(&file)?).map_err(|e| format!("{}: {e}", file.display()))?;
            uids.extend(dashboard["uid"].as_str().map(str::to_owned));
        }
    }
    for alert in rules::alerts(repository)? {
        let found = link.captures(&alert.annotations["dashboard_url"]).map(|found| found[1].to_owned());
        ensure(found.as_ref().is_some_and(|uid| uids.contains(uid)), || {
            format!("{} links to the dashboard {found:?}; there are {uids:?}", alert.name)
        })?;
    }
    Ok(())
}

/// Alertmanager sends warnings to the team that the alert names.
fn alerts_have_teams(repository: &Path) -> Result<(), String> {
    let config = rules::load(&repository.join("alertmanager/alertmanager.yml"))?;
    let receivers = rules::list(&config, "receivers");
    let receivers: BTreeSet<_> =
        receivers.iter().filter_map(|receiver| receiver.as_mapping_get("name")?.as_str()).collect();
    for alert in rules::alerts(repository)? {
        let team = alert.labels.get("team").ok_or(format!("{} has no team", alert.name))?;
        ensure(receivers.contains(format!("{team}-team").as_str()), || {
            format!("{}: no receiver {team}-team", alert.name)
        })?;
    }
    Ok(())
}

/// What a mapping records can be told from what an agent shows by `mapped_from`; a mapping has a test of its own, and its place in
/// the folder's README.
fn mappings_are_told_apart(repository: &Path) -> Result<(), String> {
    let folder = repository.join("prometheus");
    let readme = crate::read(&folder.join("README.md"))?;
    for file in files(&folder.join("mappings"), "yml") {
        let name = stem(&file);
        let selected = format!("{{mapped_from=\"{name}\"");
        for rule in rules::of_file(&file)? {
            // From a series of the same mapping the label comes along.
            let labelled = rule.labels.get("mapped_from") == Some(&name) || rule.expr.contains(&selected);
            ensure(labelled && !rule.is_alert, || {
                format!("{}: {} has no mapped_from", file.display(), rule.name)
            })?;
        }
        let test = crate::read(&folder.join(format!("tests/mapping-{name}.yml")))?;
        ensure(test.contains(&format!("../mappings/{name}.yml")) && test.contains("exp_alerts:\n"), || {
            format!("no alert fires in the test of the mapping {name}")
        })?;
        ensure(readme.contains(&format!("`mappings/{name}.yml`")), || format!("README.md lacks {name}"))?;
    }
    Ok(())
}

/// `docs/alerts.md` has a row for each alert and severity, with its team and how long it must last, and no other rows.
fn page_has_alerts(repository: &Path) -> Result<(), String> {
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    for alert in rules::alerts(repository)? {
        let label = |name: &str| alert.labels.get(name).map(String::as_str).unwrap_or_default();
        let (name, severity, team) = (&alert.name, label("severity"), label("team"));
        let row = format!("| [{name}](runbooks/{name}.md) | {severity} | {team} | ");
        let after = alert.after.unwrap_or("at once".into());
        match wanted.iter_mut().find(|(known, _)| *known == row) {
            Some((_, times)) => times.push(after),
            None => wanted.push((row, vec![after])),
        }
    }
    let page = crate::read(&repository.join("docs/alerts.md"))?;
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| [")).collect();
    for (start, times) in &wanted {
        let row = format!("{start}{} | ", times.join(", "));
        let found = rows.iter().filter(|line| line.starts_with(&row)).count();
        ensure(found == 1, || format!("docs/alerts.md has {found} rows `{row}…`"))?;
    }
    ensure(rows.len() == wanted.len(), || {
        format!("docs/alerts.md has {} rows for {} alerts", rows.len(), wanted.len())
    })
}

/// Each alert belongs to a scenario, or to those of which `docs/alerts.md` says why it does not.
fn alerts_are_drilled(repository: &Path) -> Result<(), String> {
    let alerts: BTreeSet<_> = rules::alerts(repository)?.into_iter().map(|alert| alert.name).collect();
    let phases = drill::all();
    let scenarios = phases.iter().flat_map(|phase| &phase.lanes).flatten();
    let drilled: BTreeSet<_> =
        scenarios.flat_map(|scenario| scenario.alerts).map(|expected| expected.alert.to_owned()).collect();
    let not: BTreeSet<_> = drill::NOT_DRILLED.iter().map(|(alert, _)| (*alert).to_owned()).collect();
    let both: Vec<_> = drilled.intersection(&not).collect();
    let covered: BTreeSet<_> = drilled.union(&not).cloned().collect();
    let different: Vec<_> = covered.symmetric_difference(&alerts).collect();
    ensure(both.is_empty() && different.is_empty(), || {
        format!("neither drilled nor excused, or no alert: {different:?}; both: {both:?}")
    })?;
    let page = crate::read(&repository.join("docs/alerts.md"))?;
    for (alert, why) in drill::NOT_DRILLED {
        let line = format!("- {alert}: {why}.\n");
        ensure(page.contains(&line), || format!("docs/alerts.md lacks the line {line}"))?;
    }
    Ok(())
}
