//! `docs/runbooks/`: what can be checked of the pages without a stack. The trials `runbooks::` run their queries and commands.

use std::{fs, path::Path};

use libtest_mimic::Trial;
use regex::Regex;
use stack_tests::{
    runbooks::{Compose, Page, is_assignment, parts},
    tools::Tool,
};

use crate::{Checker, ensure, files, read, rules, stem, trial};

/// What every runbook has, in this order.
const HEADINGS: [&str; 4] = ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"];

pub(crate) fn trials(repository: &Path, promtool: &Checker) -> Vec<Trial> {
    let mut trials = Vec::new();
    for runbook in files(&repository.join("docs/runbooks"), "md") {
        if stem(&runbook) == "README" {
            continue;
        }
        let (page, name) = (runbook.clone(), stem(&runbook));
        trials.push(trial(format!("runbooks::sections::{name}"), move || has_its_sections(&page)));
        trials.push(promtool.trial(format!("runbooks::queries::{name}"), move |promtool| {
            queries_are_valid(promtool, &read(&runbook)?)
        }));
    }
    for (name, check) in CHECKS {
        let repository = repository.to_owned();
        trials.push(trial(format!("runbooks::{name}"), move || check(&repository)));
    }
    let repository = repository.to_owned();
    trials.push(trial("runbooks::each_names_the_dashboard_of_its_alert".into(), move || {
        for alert in rules::alerts(&repository)? {
            let page = read(&repository.join(format!("docs/runbooks/{}.md", alert.name)))?;
            let uid = alert.annotations["dashboard_url"].split("/d/").nth(1).unwrap_or_default();
            let uid = uid.split('{').next().unwrap_or_default();
            ensure(page.contains(&format!("http://localhost:3000/d/{uid}\n")), || {
                format!("the button of {} leads to {uid}, its runbook does not", alert.name)
            })?;
        }
        Ok(())
    }));
    trials
}

type Check = fn(&Path) -> Result<(), String>;

const CHECKS: [(&str, Check); 4] = [
    ("every_link_leads_to_a_page_that_prometheus_serves", links_lead_to_what_is_served),
    ("every_command_names_services_and_verbs_that_exist", commands_name_what_exists),
    ("every_message_searched_for_is_logged", messages_are_logged),
    ("every_file_of_logstash_is_in_its_configuration", files_of_logstash_exist),
];

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// Collects what is wrong with each page, so that all of it is seen at once.
fn each_page(
    repository: &Path,
    check: impl Fn(&Page, &mut Vec<String>) -> Result<(), String>,
) -> Result<(), String> {
    let pages = Page::all(repository)?;
    ensure(pages.len() > 40, || format!("only {} pages", pages.len()))?;
    let mut wrong = Vec::new();
    for page in &pages {
        let mut of_page = Vec::new();
        check(page, &mut of_page)?;
        wrong.extend(of_page.into_iter().map(|what| format!("{}: {what}", page.name)));
    }
    ensure(wrong.is_empty(), || wrong.join("\n"))
}

/// Prometheus serves the folder of the runbooks alone (`--web.user-assets`): a link that leaves the folder finds nothing.
fn links_lead_to_what_is_served(repository: &Path) -> Result<(), String> {
    let compose = read(&repository.join("docker-compose.yml"))?;
    for line in ["--web.user-assets=/usr/share/runbooks", "./docs/runbooks:/usr/share/runbooks:ro"] {
        ensure(compose.contains(line), || format!("docker-compose.yml has no {line}"))?;
    }
    each_page(repository, |page, wrong| {
        for link in page.links() {
            if ["http://", "https://"].iter().any(|scheme| link.starts_with(scheme)) {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = page.path.with_file_name(if file.is_empty() {
                format!("{}.md", page.name)
            } else {
                file.into()
            });
            if file.contains('/') || !target.is_file() {
                wrong.push(format!("{link} is not in docs/runbooks"));
            } else if !anchor.is_empty() && !anchors(&read(&target)?).contains(&anchor.to_owned()) {
                wrong.push(format!("{file} has no heading #{anchor}"));
            }
        }
        Ok(())
    })
}

/// The anchors of a page's headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-")).collect()
}

fn commands_name_what_exists(repository: &Path) -> Result<(), String> {
    let compose = read(&repository.join("docker-compose.yml"))?;
    let (_, services) = compose.split_once("\nservices:\n").ok_or("docker-compose.yml has no services")?;
    let services: Vec<_> =
        regex("(?m)^  ([a-z-]+):$").captures_iter(services).map(|found| found[1].to_owned()).collect();
    let makefile = read(&repository.join("Makefile"))?;
    each_page(repository, |page, wrong| {
        for command in page.commands()? {
            for part in parts(&command) {
                let unknown = |name: &&String| !services.contains(*name) && *name != "SERVICE";
                let named = Compose::parse(&part);
                wrong.extend(
                    named
                        .iter()
                        .flat_map(|compose| &compose.services)
                        .filter(unknown)
                        .map(|name| format!("no service {name}: {command}")),
                );
                let words: Vec<_> =
                    part.iter().map(String::as_str).skip_while(|word| is_assignment(word)).collect();
                match words[..] {
                    ["make", target, ..] if !makefile.contains(&format!("\n{target}: ")) => {
                        wrong.push(format!("the Makefile has no {target}: {command}"));
                    }
                    // They are in the containers of the services.
                    ["promtool" | "amtool", ..] => wrong.push(format!("not on the host: {command}")),
                    _ => {}
                }
            }
        }
        Ok(())
    })
}

/// The text of log lines, in jq's programs and in searches of Kibana.
fn messages_are_logged(repository: &Path) -> Result<(), String> {
    let mut sources = String::new();
    source(&repository.join("example-agent/src"), &mut sources)?;
    let searched = regex(r#"(?:endswith\(|startswith\(|message : )"([^"]+)""#);
    each_page(repository, |page, wrong| {
        let messages = searched.captures_iter(&page.text).map(|found| found[1].to_owned());
        let messages = messages.filter(|message| !message.contains(':'));
        wrong.extend(messages.filter(|message| !sources.contains(message.as_str())));
        Ok(())
    })
}

/// Appends all Rust code below a folder.
fn source(folder: &Path, text: &mut String) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            source(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&read(&path)?);
        }
    }
    Ok(())
}

/// The position files and the queues that commands remove or move.
fn files_of_logstash_exist(repository: &Path) -> Result<(), String> {
    let mut configuration = String::new();
    for file in [
        "config/logstash.yml",
        "config/pipelines.yml",
        "pipeline/agent-logs.conf",
        "pipeline/dead-letters.conf",
    ] {
        configuration.push_str(&read(&repository.join("logstash").join(file))?);
    }
    let named = regex(r"\bdata/(?:queue/|dead_letter_queue/)?([a-z_]+(?:-[a-z]+)*)");
    each_page(repository, |page, wrong| {
        for command in page.commands()?.iter().filter(|command| command.contains("logstash")) {
            let files = named.captures_iter(command).map(|found| found[1].to_owned());
            // The name that the command itself gives.
            let files = files.filter(|file| file != "queue-aside");
            wrong.extend(files.filter(|file| !configuration.contains(file.as_str())));
        }
        Ok(())
    })
}

fn has_its_sections(runbook: &Path) -> Result<(), String> {
    let text = read(runbook)?;
    ensure(text.starts_with(&format!("# {}\n", stem(runbook))), || {
        "the title is not the alert's name".into()
    })?;
    let headings: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
    ensure(headings == HEADINGS, || format!("sections {headings:?}, expected {HEADINGS:?}"))
}

/// Makes a rule of every query: that is what promtool reads expressions in.
fn queries_are_valid(promtool: &Tool, runbook: &str) -> Result<(), String> {
    let queries: Vec<_> =
        runbook.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure(!queries.is_empty(), || "no ```promql block".into())?;
    for query in queries {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let expr = serde_json::Value::from(query);
        let rule = format!("groups: [{{name: runbook, rules: [{{record: query, expr: {expr}}}]}}]\n");
        fs::write(folder.path().join("query.yml"), rule).map_err(|e| e.to_string())?;
        promtool.run(folder.path(), &["check", "rules", "query.yml"]).map_err(|e| format!("{query}{e}"))?;
    }
    Ok(())
}
