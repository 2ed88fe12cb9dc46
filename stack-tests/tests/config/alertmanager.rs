//! `alertmanager/`: its configuration, where each alert goes, and what people then read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use libtest_mimic::Trial;
use saphyr::YamlOwned;
use serde_json::{Value, json};
use stack_tests::{
    clients::{client, send},
    programs::{Process, ask, free_address},
    tools::Tool,
    wait,
};

use crate::{Checker, ensure, files, read, rules, scaled, stem, trial};

pub(crate) fn trials(repository: &Path, amtool: &Checker) -> Vec<Trial> {
    let folder = repository.join("alertmanager");
    let config = read(&folder.join("alertmanager.yml")).expect("the configuration");
    let marks = marks(&config);
    let mut trials = Vec::new();
    for factor in [1, 20] {
        let one = marks.iter().map(|mark| vec![mark.clone()]);
        for on in one.chain([Vec::new(), marks.clone()]) {
            let (folder, speed) = (folder.clone(), if factor == 1 { "" } else { "_fast" });
            let name = [vec![format!("alertmanager::config{speed}")], on.clone()].concat().join("::");
            trials.push(amtool.trial(name, move |amtool| {
                amtool
                    .run(copy(&folder, factor, &on)?.path(), &["check-config", "alertmanager.yml"])
                    .map(drop)
            }));
        }
    }
    for expected in files(&folder.join("tests"), "txt") {
        let on: Vec<_> = stem(&expected).strip_prefix("routes-").map(str::to_owned).into_iter().collect();
        let routes = read(&expected).expect("the routes that are expected");
        for route in routes.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let (receivers, labels) = route.split_once(' ').unwrap_or((route, ""));
            let name = [stem(&expected), labels.trim().replace(' ', ",")].join("::");
            let (folder, on) = (folder.clone(), on.clone());
            let verify = format!("--verify.receivers={receivers}");
            let labels: Vec<String> = labels.split_whitespace().map(str::to_owned).collect();
            trials.push(amtool.trial(format!("alertmanager::{name}"), move |amtool| {
                let mut args = vec!["config", "routes", "test", "--config.file=alertmanager.yml", &verify];
                args.extend(labels.iter().map(String::as_str));
                amtool.run(copy(&folder, 1, &on)?.path(), &args).map(drop)
            }));
        }
    }
    for data in files(&folder.join("tests/messages"), "json") {
        let (folder, marks) = (folder.clone(), marks.clone());
        let name = format!("alertmanager::message::{}", stem(&data));
        trials
            .push(amtool.trial(name, move |amtool| messages_are_as_expected(amtool, &folder, &marks, &data)));
    }
    let causes = causes(&read(&repository.join("docs/alerts.md")).expect("the page"));
    let alertmanager = Checker::of("alertmanager");
    for (cause, fires, sent) in causes {
        let folder = folder.clone();
        trials.push(alertmanager.trial(
            format!("alertmanager::cause::{}", cause.replace(' ', "_")),
            move |tool| {
                let got = sent_of(tool, &folder, &fires)?;
                ensure(got == sent, || format!("of {fires:?} {got:?} are sent, not {sent:?}"))
            },
        ));
    }
    let repository = repository.to_owned();
    trials.push(trial("alertmanager::every_alert_has_a_route".into(), move || {
        let routes = read(&folder.join("tests/routes.txt"))?;
        for alert in rules::alerts(&repository)? {
            let label = |name: &str| alert.labels.get(name).map(String::as_str).unwrap_or_default();
            let labels =
                format!("alertname={} severity={} team={}", alert.name, label("severity"), label("team"));
            ensure(routes.contains(&labels), || format!("no route in tests/routes.txt has {labels}"))?;
        }
        for mark in &marks {
            let expected = folder.join(format!("tests/routes-{mark}.txt"));
            ensure(expected.is_file(), || format!("no {} for the lines marked #{mark}", expected.display()))?;
        }
        Ok(())
    }));
    trials
}

/// The rows of the page's table of causes: the cause, the alerts that fire, and those that are sent.
fn causes(page: &str) -> Vec<(String, BTreeSet<String>, BTreeSet<String>)> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| cause ")).skip(2);
    let names = |cell: &str| cell.split(',').map(|name| name.trim().to_owned()).collect();
    rows.map_while(|row| row.strip_prefix("| ")?.strip_suffix(" |"))
        .filter_map(|row| {
            let [cause, fires, sent] = row.split(" | ").collect::<Vec<_>>().try_into().ok()?;
            Some((cause.to_owned(), names(fires), names(sent)))
        })
        .collect()
}

/// The alerts of these that a real Alertmanager with the kit's configuration does not inhibit. Their labels are those of
/// `tests/routes.txt`, of each severity. They need not wait: Alertmanager answers at once, and sends later.
fn sent_of(alertmanager: &Tool, folder: &Path, names: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    let routes = read(&folder.join("tests/routes.txt"))?;
    let mut alerts = Vec::new();
    for line in routes.lines().filter(|line| !line.starts_with('#')) {
        let labels = line.split_whitespace().filter_map(|word| word.split_once('='));
        let labels: BTreeMap<_, _> = labels.collect();
        if labels.get("alertname").is_some_and(|name| names.contains(*name)) {
            alerts.push(json!({"labels": labels}));
        }
    }
    let state = tempfile::tempdir().map_err(|e| e.to_string())?;
    let address = free_address()?;
    let child = Command::new(alertmanager.path())
        .arg("--config.file=alertmanager.yml")
        .arg(format!("--storage.path={}", state.path().display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{}: {e}", alertmanager.path().display()))?;
    let _process = Process(child);
    let url = format!("http://{address}/api/v2/alerts");
    wait::until("Alertmanager takes alerts", Duration::from_mins(1), || {
        let answer = send(client().post(&url).json(&alerts))?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text)) }
    })?;
    // What is inhibited is known once all alerts are there and have been looked at.
    wait::until("each alert has a state", Duration::from_mins(1), || {
        let got = ask(&url, &[])?;
        let got = got.as_array().ok_or("no list")?;
        let is_known = |alert: &Value| alert["status"]["state"] != "unprocessed";
        if got.len() != alerts.len() || !got.iter().all(is_known) {
            return Err(format!("{} of {} are known", got.len(), alerts.len()));
        }
        // Alerts of severity `none` only inhibit others.
        let is_sent =
            |alert: &&Value| alert["status"]["state"] == "active" && alert["labels"]["severity"] != "none";
        let active = got.iter().filter(is_sent);
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned();
        Ok(active.map(name).collect())
    })
}

/// The marks that lines of the configuration bear until somebody switches them on: `#name `, with nothing before it.
fn marks(config: &str) -> Vec<String> {
    let mark = |line: &str| Some(line.strip_prefix('#')?.split_once(' ')?.0.to_owned());
    let found: BTreeSet<_> = config.lines().filter_map(mark).filter(|mark| !mark.is_empty()).collect();
    found.into_iter().collect()
}

/// A copy of the folder with durations divided by `factor` and the lines with these marks switched on, as the page says:
/// by taking the marks off.
fn copy(folder: &Path, factor: u32, on: &[String]) -> Result<tempfile::TempDir, String> {
    let source = tempfile::tempdir().map_err(|e| e.to_string())?;
    scale_durations::folder(folder, source.path(), 1).map_err(|e| e.to_string())?;
    let file = source.path().join("alertmanager.yml");
    let marks: Vec<_> = on.iter().map(|mark| format!("#{mark} ")).collect();
    let take_off =
        |line: &str| marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).to_owned();
    let lines: Vec<_> = read(&file)?.lines().map(take_off).collect();
    fs::write(&file, lines.join("\n") + "\n").map_err(|e| e.to_string())?;
    scaled(source.path(), factor)
}

/// Renders every template that the configuration's receivers hold, and compares.
fn messages_are_as_expected(
    amtool: &Tool,
    folder: &Path,
    marks: &[String],
    data: &Path,
) -> Result<(), String> {
    let copy = copy(folder, 1, marks)?;
    let config = rules::load(&copy.path().join("alertmanager.yml"))?;
    let mut parts = Vec::new();
    for receiver in rules::list(&config, "receivers") {
        templates(receiver, &mut Vec::new(), &mut parts);
    }
    // What several receivers share is looked at once.
    let mut seen = BTreeSet::new();
    parts.retain(|part| seen.insert(part.clone()));
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
        // What labels and annotations say is text, whatever it looks like.
        for markup in ["<b>", "<script"] {
            ensure(!got.contains(markup), || format!("{}: {markup} in {got}", place.join(".")))?;
        }
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
        // Under `<<` is what another receiver has too.
        for (key, value) in mapping.iter().filter(|(key, _)| key.as_str() != Some("<<")) {
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
