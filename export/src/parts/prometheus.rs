//! Rules with their tests, thresholds, runbooks, and what is to be scraped.

use std::{collections::BTreeMap, path::Path, sync::LazyLock};

use regex::Regex;

use super::{File, Request, file, within};
use crate::{
    document::{self, Scalar},
    edit::Edit,
    mapping::Urls,
    names::Names,
    promql, prose, runbook, template,
    vocabulary::read,
};

/// The page of an alert, at the end of whatever makes its address.
static PAGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"/(\w+\.md)$").expect("a constant pattern"));
static DASHBOARD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("/d/[a-z0-9-]+").expect("a constant pattern"));

pub(super) fn files(request: &Request<'_>) -> Result<Vec<File>, String> {
    let Request { names, urls, .. } = *request;
    let mut files = Vec::new();
    let mut dashboards = BTreeMap::new();
    for folder in ["prometheus/rules", "prometheus/thresholds"] {
        for path in request.list(folder, "yml")? {
            let text = request.read(&path)?;
            dashboards.extend(dashboards_of(&text)?);
            let text = document::edited(&text, names, |scalar| of_rules(scalar, names, urls));
            files.push(file(below(&path), text.map_err(within(&path))?));
        }
    }
    let active = format!("thresholds/{}.yml", request.thresholds);
    let active = files.iter().find(|file| file.path == Path::new(&active)).map(|file| file.text.clone());
    let active = active.ok_or(format!("there are no thresholds {}", request.thresholds))?;
    files.push(file("thresholds/active.yml", active));

    // Alerts carry the job they found, whatever it is called; only the names that rules ask for have to fit.
    let tested = names.with_jobs(|job| request.words.asked_jobs.contains(job));
    // They make the kit's names of others': whoever has names of their own needs none of them.
    let keeps_names = names.metrics.is_empty() && names.labels.is_empty();
    if keeps_names {
        for path in request.list("prometheus/mappings", "yml")? {
            files.push(file(below(&path), request.read(&path)?));
        }
    }
    for path in request.list("prometheus/tests", "yml")? {
        let text = request.read(&path)?;
        if !keeps_names && text.contains("../mappings/") {
            continue;
        }
        let alert = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let dashboard = dashboards.get(alert).map(String::as_str);
        let text = document::edited(&text, &tested, |scalar| of_tests(scalar, &tested, urls, dashboard));
        files.push(file(below(&path), text.map_err(within(&path))?));
    }
    for path in request.list("docs/runbooks", "md")? {
        let name = path.file_name().unwrap_or_default();
        files.push(file(
            Path::new("runbooks").join(name),
            runbook::edited(&request.read(&path)?, names, urls),
        ));
    }
    let path = Path::new("prometheus/prometheus.yml");
    let config = document::edited(&request.read(path)?, names, |scalar| of_config(scalar, names));
    let config = config.map_err(within(path))?;
    files.push(file("scrape.yml", scrape_configs(&config).ok_or("prometheus.yml scrapes nothing")?));
    files.push(file("prometheus.yml", config));
    // The others' addresses are the kit's own: here they would only be down.
    let agent = names.job("example-agent").unwrap_or("example-agent");
    files.push(request.copy("prometheus/targets/example-agent.yml", &format!("targets/{agent}.yml"))?);
    Ok(files)
}

fn below(path: &Path) -> &Path {
    path.strip_prefix("prometheus").unwrap_or(path)
}

/// Which dashboard each alert leads to.
fn dashboards_of(rules: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let mut alert = String::new();
    for scalar in document::scalars(rules)?.iter().filter(|scalar| !scalar.is_key) {
        match scalar.at()[..] {
            ["groups", "-", "rules", "-", "alert"] => alert = scalar.text(),
            ["groups", "-", "rules", "-", "annotations", "dashboard_url"] => {
                found.extend(
                    DASHBOARD.find(&scalar.text()).map(|link| (alert.clone(), link.as_str().to_owned())),
                );
            }
            _ => {}
        }
    }
    Ok(found)
}

fn of_rules(scalar: &Scalar<'_>, names: &Names, urls: &Urls) -> Vec<Edit> {
    match scalar.at()[..] {
        ["groups", "-", "rules", "-", "expr"] => scalar.edits(|expr| promql::edits(expr, names)),
        ["groups", "-", "rules", "-", "labels"] if scalar.is_key => {
            scalar.renamed(|label| names.label(label).map(str::to_owned))
        }
        ["groups", "-", "rules", "-", "annotations", annotation] => {
            let link = link(annotation, &scalar.text(), urls, None);
            if link.is_some() {
                scalar.renamed(|_| link)
            } else {
                scalar.edits(|text| template::edits(text, names))
            }
        }
        ["groups", "-", "rules", "-", "labels", _] => scalar.edits(|text| template::edits(text, names)),
        _ => Vec::new(),
    }
}

fn of_tests(scalar: &Scalar<'_>, names: &Names, urls: &Urls, dashboard: Option<&str>) -> Vec<Edit> {
    match scalar.at()[..] {
        ["tests", "-", "input_series", "-", "series"]
        | ["tests", "-", "promql_expr_test", "-", "expr"]
        | ["tests", "-", "promql_expr_test", "-", "exp_samples", "-", "labels"] => {
            scalar.edits(|expr| promql::edits(expr, names))
        }
        [.., "exp_labels"] if scalar.is_key => scalar.renamed(|label| names.label(label).map(str::to_owned)),
        [.., "exp_labels", "job"] => scalar.renamed(|job| names.job(job).map(str::to_owned)),
        [.., "exp_annotations", annotation] if !scalar.is_key => {
            let link = link(annotation, &scalar.text(), urls, dashboard);
            if link.is_some() {
                scalar.renamed(|_| link)
            } else {
                scalar.edits(|text| {
                    prose::edits(text, names).into_iter().chain(prose::job_edits(text, names)).collect()
                })
            }
        }
        _ => Vec::new(),
    }
}

/// The address that an annotation gives way to, if it is a link and the adopter has said where those lead.
fn link(annotation: &str, text: &str, urls: &Urls, dashboard: Option<&str>) -> Option<String> {
    match annotation {
        "runbook_url" => {
            let base = urls.runbooks.as_ref()?;
            Some(format!("{base}/{}", &PAGE.captures(text)?[1]))
        }
        "dashboard_url" => {
            let base = urls.grafana.as_ref()?;
            let path = DASHBOARD.find(text).map(|link| link.as_str()).or(dashboard)?;
            Some(format!("{base}{path}"))
        }
        _ => None,
    }
}

fn of_config(scalar: &Scalar<'_>, names: &Names) -> Vec<Edit> {
    match scalar.at()[..] {
        ["scrape_configs", "-", "job_name"] if !scalar.is_key => {
            scalar.renamed(|job| names.job(job).map(str::to_owned))
        }
        ["scrape_configs", "-", "file_sd_configs", "-", "files", "-"] => scalar.renamed(|path| {
            let job = path.strip_prefix("targets/")?.strip_suffix(".yml")?;
            Some(format!("targets/{}.yml", names.job(job)?))
        }),
        _ => Vec::new(),
    }
}

/// What is scraped, as a file of its own for `scrape_config_files`, with the comment above it.
fn scrape_configs(config: &str) -> Option<String> {
    let lines: Vec<_> = config.lines().collect();
    let start = lines.iter().position(|line| line.starts_with("scrape_configs:"))?;
    let above = lines[..start].iter().rev().take_while(|line| line.starts_with('#')).count();
    let is_next = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let end = lines[start + 1..].iter().position(is_next).map_or(lines.len(), |next| start + 1 + next);
    Some(lines[start - above..end].join("\n") + "\n")
}

/// The thresholds that there are, by the names of their files.
///
/// # Errors
/// That the folder cannot be read.
pub(crate) fn presets(kit: &Path) -> Result<Vec<String>, String> {
    let files = crate::vocabulary::files(&kit.join("prometheus/thresholds"), "yml")?;
    Ok(files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect())
}

/// The alerts and recording rules of an exported rule file, with their expressions and what they ask while they tell.
pub(crate) fn asked(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = read(path)?;
    let mut asked = Vec::new();
    let mut rule = String::new();
    for scalar in document::scalars(&text).map_err(within(path))?.iter().filter(|scalar| !scalar.is_key) {
        match scalar.at()[..] {
            ["groups", "-", "rules", "-", "alert" | "record"] => rule = scalar.text(),
            ["groups", "-", "rules", "-", "expr"] => asked.push((rule.clone(), scalar.text())),
            ["groups", "-", "rules", "-", "annotations", _] => {
                asked
                    .extend(template::queries(&scalar.text()).into_iter().map(|query| (rule.clone(), query)));
            }
            _ => {}
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scraped_is_cut_out_whole() {
        let config = "global:\n  a: 1\n\n# Why.\nscrape_configs:\n  # One.\n  - job_name: a\n\n  - job_name: b\nstorage: {}\n";
        let wanted = "# Why.\nscrape_configs:\n  # One.\n  - job_name: a\n\n  - job_name: b\n";
        assert_eq!(scrape_configs(config).as_deref(), Some(wanted));
        assert_eq!(scrape_configs("global: {}\n"), None);
    }

    #[test]
    fn links_lead_where_the_adopter_says() {
        let urls = Urls {
            grafana: Some("https://g".into()),
            runbooks: Some("https://r/x".into()),
            ..Urls::default()
        };
        let runbook =
            r#"{{ or $externalLabels.runbook_base_url (printf "%s/user" $externalURL) }}/HighErrorRate.md"#;
        assert_eq!(
            link("runbook_url", runbook, &urls, None).as_deref(),
            Some("https://r/x/HighErrorRate.md")
        );
        let dashboard = "{{ with $externalLabels.grafana_url }}{{ . }}/d/agent-cost{{ end }}";
        assert_eq!(link("dashboard_url", dashboard, &urls, None).as_deref(), Some("https://g/d/agent-cost"));
        assert_eq!(
            link("dashboard_url", "", &urls, Some("/d/agent-x")).as_deref(),
            Some("https://g/d/agent-x")
        );
        assert_eq!(link("summary", "/d/agent-x", &urls, None), None);
        assert_eq!(link("runbook_url", runbook, &Urls::default(), None), None);
    }
}
