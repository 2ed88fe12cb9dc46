//! `docs/runbooks/`: whoever is woken at night must not meet a query with a mistake in it.

use std::{fs, path::Path};

use libtest_mimic::Trial;
use stack_tests::tools::Tool;

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
