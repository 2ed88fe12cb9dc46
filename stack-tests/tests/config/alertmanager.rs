//! `alertmanager/`: its configuration, where each alert goes, and what people then read.

use std::path::Path;

use libtest_mimic::Trial;
use saphyr::YamlOwned;
use stack_tests::tools::Tool;

use crate::{Checker, ensure, files, read, rules, scaled, stem, trial};

pub(crate) fn trials(repository: &Path, amtool: &Checker) -> Vec<Trial> {
    let folder = repository.join("alertmanager");
    let mut trials = Vec::new();
    for (name, factor) in [("config", 1), ("config_fast", 20)] {
        let folder = folder.clone();
        trials.push(amtool.trial(format!("alertmanager::{name}"), move |amtool| {
            amtool.run(scaled(&folder, factor)?.path(), &["check-config", "alertmanager.yml"]).map(drop)
        }));
    }
    let routes = read(&folder.join("tests/routes.txt")).expect("the routes that are expected");
    for route in routes.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (receivers, labels) = route.split_once(' ').unwrap_or((route, ""));
        let name = format!("alertmanager::route::{}", labels.trim().replace(' ', ","));
        let folder = folder.clone();
        let verify = format!("--verify.receivers={receivers}");
        let labels: Vec<String> = labels.split_whitespace().map(str::to_owned).collect();
        trials.push(amtool.trial(name, move |amtool| {
            let mut args = vec!["config", "routes", "test", "--config.file=alertmanager.yml", &verify];
            args.extend(labels.iter().map(String::as_str));
            amtool.run(&folder, &args).map(drop)
        }));
    }
    for data in files(&folder.join("tests/messages"), "json") {
        let folder = folder.clone();
        let name = format!("alertmanager::message::{}", stem(&data));
        trials.push(amtool.trial(name, move |amtool| messages_are_as_expected(amtool, &folder, &data)));
    }
    let repository = repository.to_owned();
    trials.push(trial("alertmanager::every_alert_has_a_route".into(), move || {
        for alert in rules::alerts(&repository)? {
            let labels = format!("alertname={} severity={}", alert.name, alert.labels["severity"]);
            ensure(routes.contains(&labels), || format!("no route in tests/routes.txt has {labels}"))?;
        }
        Ok(())
    }));
    trials
}

/// Renders every template that the configuration's receivers hold, and compares.
fn messages_are_as_expected(amtool: &Tool, folder: &Path, data: &Path) -> Result<(), String> {
    let config = rules::load(&folder.join("alertmanager.yml"))?;
    let mut parts = Vec::new();
    for receiver in rules::list(&config, "receivers") {
        templates(receiver, &mut Vec::new(), &mut parts);
    }
    let (html, texts): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(place, _)| is_html(place));
    ensure(!html.is_empty() && !texts.is_empty(), || "no templates in the receivers".into())?;

    let template: Vec<_> =
        texts.iter().map(|(place, text)| format!("== {}\n{text}\n", place.join("."))).collect();
    let template = template.concat();
    let got = render(amtool, folder, data, "text", &template)?;
    let expected = read(&data.with_extension("txt"))?;
    ensure(got.trim_end() == expected.trim_end(), || format!("-- expected\n{expected}-- got\n{got}"))?;
    ensure(!got.contains("<no value>"), || format!("a hole: {got}"))?;

    for (place, template) in html {
        let got = render(amtool, folder, data, "html", &template)?;
        let whole = got.contains("</html>") && !got.contains("&lt;no value&gt;") && !got.contains("ZgotmplZ");
        ensure(whole, || format!("{}: {got}", place.join(".")))?;
    }
    Ok(())
}

fn render(amtool: &Tool, folder: &Path, data: &Path, kind: &str, template: &str) -> Result<String, String> {
    let (kind, data) = (format!("--template.type={kind}"), format!("--template.data={}", data.display()));
    let text = format!("--template.text={template}");
    amtool.run(folder, &["template", "render", "--template.glob=templates/*.tmpl", &kind, &data, &text])
}

/// The keys on the way to a value, an element of a list by its index.
type Place = Vec<String>;

fn is_html(place: &Place) -> bool {
    place.last().is_some_and(|key| key == "html")
}

/// The texts below a node that have something to be filled in, with their places.
fn templates(node: &YamlOwned, place: &mut Place, found: &mut Vec<(Place, String)>) {
    let mut below = |key: String, value| {
        place.push(key);
        templates(value, place, found);
        place.pop();
    };
    if let Some(mapping) = node.as_mapping() {
        for (key, value) in mapping {
            below(key.as_str().unwrap_or_default().to_owned(), value);
        }
    } else if let Some(sequence) = node.as_sequence() {
        for (index, element) in sequence.iter().enumerate() {
            below(index.to_string(), element);
        }
    } else if let Some(text) = node.as_str().filter(|text| text.contains("{{")) {
        found.push((place.clone(), text.to_owned()));
    }
}
