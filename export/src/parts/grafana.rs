//! Dashboards, what provisions them, and data sources for a Grafana that has none.

use std::{path::Path, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::{File, Request, file, within};
use crate::{
    document::{self, Scalar},
    edit::{Edit, View},
    names::Names,
    promql, prose,
    vocabulary::is_span_query,
};

/// Where the provider looks for dashboards: where README.md says they are to be mounted.
pub(crate) const MOUNTED: &str = "/etc/grafana/agent-observability-kit/dashboards";

/// `{{label}}` in a legend.
static LEGEND: LazyLock<Regex> = LazyLock::new(|| pattern(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}"));
/// A label of the series that a link is clicked on.
static FIELD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\$\{__(?:field\.labels|data\.fields)\.([A-Za-z_]\w*)"));
/// A data source, or the service of traces, in the address of Explore.
static EXPLORE: LazyLock<Regex> = LazyLock::new(|| pattern(r#""(datasource|uid|service)":"([^"]*)""#));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

pub(super) fn files(request: &Request<'_>) -> Result<Vec<File>, String> {
    let names = request.names;
    let mut files = Vec::new();
    for folder in ["agent", "stack"] {
        for path in request.list(&format!("grafana/dashboards/{folder}"), "json")? {
            let text = dashboard(&request.read(&path)?, names).map_err(within(&path))?;
            files.push(file(path.strip_prefix("grafana").unwrap_or(&path), text));
        }
    }
    let path = Path::new("grafana/provisioning/dashboards/provider.yaml");
    let provider =
        document::edited(&request.read(path)?, names, |scalar| of_provider(scalar, request.folder));
    files.push(file("provisioning/dashboards/agent-observability-kit.yaml", provider.map_err(within(path))?));
    let path = Path::new("grafana/provisioning/datasources/datasources.yaml");
    let sources = document::edited(&request.read(path)?, names, |scalar| of_sources(scalar, names));
    files.push(file("datasources/datasources.yaml", sources.map_err(within(path))?));
    Ok(files)
}

/// A dashboard with other names.
pub(crate) fn dashboard(text: &str, names: &Names) -> Result<String, String> {
    let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    document::edited(text, &Names::default(), |scalar| {
        let asks_prometheus =
            panel(&json, scalar).is_none_or(|panel| panel["datasource"]["uid"] == "prometheus");
        of_dashboard(scalar, names, asks_prometheus)
    })
}

/// The panel that something is in: a row that is folded holds panels of its own.
fn panel<'j>(json: &'j Value, scalar: &Scalar<'_>) -> Option<&'j Value> {
    let mut keys = scalar.path.iter().map(String::as_str);
    let mut panel = None;
    let mut within = json;
    for index in &scalar.indices {
        if keys.next() != Some("panels") || keys.next() != Some("-") {
            break;
        }
        within = &within["panels"][*index];
        panel = Some(within);
    }
    panel
}

fn of_dashboard(scalar: &Scalar<'_>, names: &Names, asks_prometheus: bool) -> Vec<Edit> {
    let label = |label: &str| names.label(label).map(str::to_owned);
    let path = scalar.at();
    if scalar.is_key {
        // What a table calls its columns by.
        return match path[..] {
            [
                ..,
                "transformations",
                "-",
                "options",
                "renameByName" | "indexByName" | "excludeByName" | "includeByName",
            ] if asks_prometheus => scalar.renamed(label),
            _ => Vec::new(),
        };
    }
    match path[..] {
        [.., "datasource", "uid"] => scalar.renamed(|uid| Some(names.sources.get(uid)?.uid.clone())),
        // The list of alerts refers to its source by name.
        [.., "options", "datasource"] => scalar.renamed(|name| source_name(name, names)),
        [.., "targets", "-", "expr"]
        | ["annotations", "list", "-", "expr"]
        | ["templating", "list", "-", "definition"]
        | ["templating", "list", "-", "query", "query"]
        | [.., "options", "alertInstanceLabelFilter"] => scalar.edits(|expr| promql::edits(expr, names)),
        [.., "targets", "-", "legendFormat"] | ["annotations", "list", "-", "titleFormat" | "textFormat"] => {
            scalar.edits(|legend| captured(&LEGEND, legend, label))
        }
        ["annotations", "list", "-", "tagKeys"] => scalar.renamed(|keys| {
            let keys: Vec<_> = keys.split(',').map(|key| names.label(key).unwrap_or(key)).collect();
            Some(keys.join(","))
        }),
        [.., "transformations", "-", "options", "byField"] if asks_prometheus => scalar.renamed(label),
        [.., "targets", "-", "service"] => scalar.renamed(|service| names.services.get(service).cloned()),
        [.., "url"] if scalar.source.contains("/explore?") => scalar.edits(|url| explore(url, names)),
        [.., "url"] if asks_prometheus => scalar.edits(|url| captured(&FIELD, url, label)),
        [.., "description" | "title"] => scalar.edits(|text| prose::edits(text, names)),
        _ => Vec::new(),
    }
}

/// The changes of what a pattern's first group finds.
fn captured(pattern: &Regex, text: &str, new: impl Fn(&str) -> Option<String>) -> Vec<Edit> {
    let groups = pattern.captures_iter(text).filter_map(|found| found.get(1));
    groups.filter_map(|group| Some(Edit::new(group.range(), new(group.as_str())?))).collect()
}

fn source_name(name: &str, names: &Names) -> Option<String> {
    (name == "Prometheus").then(|| names.sources.get("prometheus")?.name.clone()).flatten()
}

fn explore(url: &str, names: &Names) -> Vec<Edit> {
    let view = View::of_url(url);
    let changes = EXPLORE.captures_iter(&view.text).filter_map(|found| {
        let (kind, value) = (found.get(1)?.as_str(), found.get(2)?);
        let new = match kind {
            "service" => names.services.get(value.as_str()).cloned(),
            _ => names.sources.get(value.as_str()).map(|source| source.uid.clone()),
        };
        Some(Edit::new(value.range(), new?))
    });
    view.edits(changes.collect())
}

fn of_provider(scalar: &Scalar<'_>, folder: Option<&str>) -> Vec<Edit> {
    match (&scalar.at()[..], folder) {
        (["providers", "-", "options", "path"], _) => scalar.renamed(|_| Some(MOUNTED.to_owned())),
        (["providers", "-", "options", "foldersFromFilesStructure"], Some(_)) => {
            scalar.renamed(|_| Some("false".to_owned()))
        }
        (["providers", "-", "orgId"], Some(folder)) => {
            scalar.edits(|id| vec![Edit::new(id.len()..id.len(), format!("\n    folder: '{folder}'"))])
        }
        _ => Vec::new(),
    }
}

fn of_sources(scalar: &Scalar<'_>, names: &Names) -> Vec<Edit> {
    if scalar.is_key {
        return Vec::new();
    }
    match scalar.at()[..] {
        ["datasources", "-", "uid"] | [.., "datasourceUid"] => {
            scalar.renamed(|uid| Some(names.sources.get(uid)?.uid.clone()))
        }
        ["datasources", "-", "name"] => scalar.renamed(|name| source_name(name, names)),
        [.., "exemplarTraceIdDestinations", "-", "name"] => {
            scalar.renamed(|label| names.label(label).map(str::to_owned))
        }
        [.., "exemplarTraceIdDestinations", "-", "url"] => scalar.edits(|url| explore(url, names)),
        ref path if is_span_query(path) => scalar.edits(|query| promql::edits(query, names)),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "grafana_tests.rs"]
mod tests;
