//! Whether a dashboard is made as it should be: what a reader would stumble over, and what would be wrong without a word.

use std::{collections::BTreeSet, path::Path, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::{Dashboard, list, metrics::Known, metrics::named, text};

/// The uids of `grafana/provisioning/datasources`: all that an adopter has to map.
pub const SOURCES: [&str; 5] =
    ["prometheus", "elasticsearch", "elasticsearch-audit", "jaeger", "alertmanager"];
/// Of the newest Grafana that reads classic JSON from files.
const SCHEMA: u64 = 42;
const COLUMNS: u64 = 24;
/// What fits on 1920 by 1080 without scrolling, beside Grafana's own bars.
const FIRST_SCREEN: u64 = 24;
/// Kinds of panels that show no number of one unit.
const WITHOUT_UNIT: [&str; 4] = ["row", "text", "logs", "alertlist"];
const NAMES: [&str; 6] = ["Elasticsearch", "Jaeger", "Logstash", "Prometheus", "Alertmanager", "Grafana"];

static TITLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Z][A-Za-z0-9 ,'-]*(: \$[a-z]+)?$"));
static WINDOW: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:rate|irate|increase|delta)\s*\([^\[\]]*\[([^\]]*)\]"));
static LABEL: LazyLock<Regex> = LazyLock::new(|| pattern(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}"));
/// A tenant that is written out, in PromQL, in Lucene's language and in a link.
static TENANT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"tenant_id(?:\s*(?:=~?|!~|!=)\s*"([^"]*)"|:\s*/?"?([^\s)]*))|var-(?:tenant|one)=([^&]*)"#)
});
static LINK: LazyLock<Regex> = LazyLock::new(|| pattern(r"^/d/([a-z0-9-]+)(.*)$"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// What linters are told of the rest of the kit.
pub struct Surroundings {
    /// The metrics that there are.
    pub metrics: Known,
    /// The uids of all dashboards.
    pub dashboards: BTreeSet<String>,
    /// The uids of data sources.
    pub sources: BTreeSet<String>,
    /// The names of data sources: the list of alerts wants one.
    pub source_names: BTreeSet<String>,
}

impl Surroundings {
    /// Those of the kit.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn of(repository: &Path, dashboards: &[Dashboard]) -> Result<Self, String> {
        Ok(Self {
            metrics: Known::of(repository)?,
            dashboards: dashboards.iter().map(|dashboard| dashboard.uid().to_owned()).collect(),
            sources: SOURCES.map(str::to_owned).into(),
            source_names: ["Prometheus".to_owned()].into(),
        })
    }
}

/// All that is wrong with a dashboard, a line each.
pub fn lint(dashboard: &Dashboard, around: &Surroundings) -> Vec<String> {
    let mut problems = frame(dashboard);
    problems.extend(sources(&dashboard.json, around));
    problems.extend(grid(dashboard));
    for variable in dashboard.variables() {
        problems.extend(self::variable(variable));
    }
    for panel in dashboard.panels() {
        let title = text(panel, "title");
        let found =
            [words(panel), unit(panel), targets(panel), threshold(panel), links(panel, around)].concat();
        problems.extend(found.into_iter().map(|problem| format!("panel {title:?}: {problem}")));
    }
    for query in dashboard.queries() {
        problems.extend(
            expression(text(&query.json, "expr"), around)
                .into_iter()
                .map(|problem| format!("{:?} {}: {problem}", query.title, query.reference)),
        );
    }
    problems.extend(links(&dashboard.json, around));
    problems.extend(tenants(&dashboard.json));
    problems
}

/// The dashboard itself.
fn frame(dashboard: &Dashboard) -> Vec<String> {
    let (json, mut problems) = (&dashboard.json, Vec::new());
    let mut want = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let uid = dashboard.uid();
    let plain = !uid.is_empty() && uid.len() <= 40 && uid.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    want(plain, format!("uid {uid:?} is not of lower-case letters and hyphens, 40 at the most"));
    want(
        !text(json, "title").is_empty() && !text(json, "description").is_empty(),
        "no title or no description".into(),
    );
    want(
        json["schemaVersion"] == SCHEMA,
        format!("schemaVersion is {}, not {SCHEMA}", json["schemaVersion"]),
    );
    want(json["id"].is_null(), "it has the id of some Grafana's database".into());
    want(
        list(json, "tags").iter().any(|tag| tag == "agent-kit"),
        "no tag agent-kit: others' links do not list it".into(),
    );
    want(text(&json["time"], "from").starts_with("now-"), "the time range is not up to now".into());
    let dropdown = list(json, "links").iter().find(|link| link["type"] == "dashboards");
    let keeps = dropdown.is_some_and(|link| link["keepTime"] == true && link["includeVars"] == true);
    want(keeps, "no links to the other dashboards that keep tenant and time".into());
    problems
}

/// Every data source that is named, wherever.
fn sources(value: &Value, around: &Surroundings) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let named = |(name, inner): (&String, &Value)| {
                if name != "datasource" || inner.is_null() {
                    return sources(inner, around);
                }
                let known = inner["uid"]
                    .as_str()
                    .is_some_and(|uid| uid == "-- Grafana --" || around.sources.contains(uid))
                    || inner.as_str().is_some_and(|name| around.source_names.contains(name));
                if known {
                    Vec::new()
                } else {
                    vec![format!("data source {inner} is none of the fixed ones")]
                }
            };
            fields.iter().flat_map(named).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| sources(item, around)).collect(),
        _ => Vec::new(),
    }
}

fn grid(dashboard: &Dashboard) -> Vec<String> {
    let mut problems = Vec::new();
    let panels = dashboard.panels();
    let place = |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or(0));
    let mut ids = BTreeSet::new();
    for (at, panel) in panels.iter().enumerate() {
        let (title, [x, y, w, h]) = (text(panel, "title"), place(panel));
        if w == 0 || h == 0 || x + w > COLUMNS {
            problems.push(format!("panel {title:?} is not within the {COLUMNS} columns"));
        }
        if !ids.insert(panel["id"].as_u64()) {
            problems.push(format!("panel {title:?} has another one's id"));
        }
        for other in &panels[at + 1..] {
            let [ox, oy, ow, oh] = place(other);
            if x < ox + ow && ox < x + w && y < oy + oh && oy < y + h {
                problems.push(format!("panels {title:?} and {:?} overlap", text(other, "title")));
            }
        }
        if dashboard.uid() == "agent-overview" && y + h > FIRST_SCREEN {
            problems.push(format!("panel {title:?} is below the first screen"));
        }
    }
    problems
}

fn variable(variable: &Value) -> Vec<String> {
    let (name, mut problems) = (text(variable, "name"), Vec::new());
    let mut want = |holds: bool, problem: &str| {
        if !holds {
            problems.push(format!("variable {name}: {problem}"));
        }
    };
    want(
        !text(variable, "label").is_empty() && !text(variable, "description").is_empty(),
        "no label or no description",
    );
    want(
        variable["type"] != "query" || variable["refresh"] == 2,
        "not asked again when the time range changes",
    );
    // Tenants by name: a thousand of them make an address that no server takes.
    want(
        variable["includeAll"] != true || !text(variable, "allValue").is_empty(),
        "all are listed by name: no allValue",
    );
    problems
}

/// Title and description.
fn words(panel: &Value) -> Vec<String> {
    let (title, description) = (text(panel, "title"), text(panel, "description"));
    let mut problems = Vec::new();
    if !TITLE.is_match(title) || title.len() > 45 {
        problems.push("the title is no plain phrase of 45 characters at the most".into());
    }
    let capital = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    let odd = title
        .split([' ', ','])
        .skip(1)
        .filter(capital)
        .find(|word| !NAMES.contains(word) && word.chars().skip(1).any(|c| c.is_ascii_lowercase()));
    if let Some(word) = odd {
        problems.push(format!("{word} has a capital letter in the middle of the title"));
    }
    if panel["type"] != "row" && !(description.len() > 8 && description.ends_with('.')) {
        problems.push("no description that is a sentence".into());
    }
    problems
}

fn unit(panel: &Value) -> Vec<String> {
    let needless = WITHOUT_UNIT.contains(&text(panel, "type"));
    if needless || !text(&panel["fieldConfig"]["defaults"], "unit").is_empty() {
        return Vec::new();
    }
    vec!["no unit".into()]
}

/// What its queries have in common with none of the others.
fn targets(panel: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut references = BTreeSet::new();
    for target in list(panel, "targets") {
        let (reference, expr, legend) =
            (text(target, "refId"), text(target, "expr"), text(target, "legendFormat"));
        if reference.is_empty() || !references.insert(reference) {
            problems.push(format!("query {reference:?} has no name of its own"));
        }
        if target["datasource"]["uid"].is_null() {
            problems.push(format!("query {reference} names no data source"));
        }
        if expr.is_empty() {
            continue;
        }
        if legend.is_empty() || legend == "__auto" {
            problems.push(format!("query {reference} has no legend"));
        }
        for label in LABEL.captures_iter(legend) {
            if !Regex::new(&format!(r"\b{}\b", &label[1])).is_ok_and(|word| word.is_match(expr)) {
                problems.push(format!(
                    "query {reference}: the expression does not keep the legend's {}",
                    &label[1]
                ));
            }
        }
    }
    if references.is_empty() && !["row", "text", "alertlist"].contains(&text(panel, "type")) {
        problems.push("it asks nothing".into());
    }
    problems
}

/// A colour from a series: with one piece missing it has the base colour for ever, and nobody is told.
fn threshold(panel: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let query = list(panel, "targets").iter().find(|target| target["refId"] == "threshold");
    let transformation = list(panel, "transformations").iter().find(|t| t["id"] == "configFromData");
    match (query, transformation) {
        (None, None) => {}
        (Some(query), Some(_)) => {
            if query["instant"] != true || query["legendFormat"] != "threshold" {
                problems.push(
                    "the threshold's query is not instant, or has another legend than `threshold`".into(),
                );
            }
            let steps = list(&panel["fieldConfig"]["defaults"]["thresholds"], "steps");
            if steps.len() != 1 || !steps[0]["value"].is_null() {
                problems.push(
                    "beside the threshold from a series there must be the base step, and no other".into(),
                );
            }
        }
        _ => {
            problems
                .push("a query `threshold` and the transformation configFromData need one another".into());
        }
    }
    problems
}

fn expression(expr: &str, around: &Surroundings) -> Vec<String> {
    let mut problems = Vec::new();
    // A name that a variable completes has to be there with each end of it.
    let names = ["agent", "tenant"].into_iter().flat_map(|scope| named(&expr.replace("${scope}", scope)));
    for name in names.collect::<BTreeSet<_>>().into_iter().filter(|name| !around.metrics.has(name)) {
        problems.push(format!("there is no metric {name}"));
    }
    for window in WINDOW.captures_iter(expr) {
        if !["$__rate_interval", "$__range"].contains(&&window[1]) {
            problems.push(format!(
                "a window of {} fits one zoom and scrape interval only: $__rate_interval",
                &window[1]
            ));
        }
    }
    problems
}

/// Links of a panel, its fields, or the dashboard.
fn links(value: &Value, around: &Surroundings) -> Vec<String> {
    let mut problems = Vec::new();
    let mut urls = Vec::new();
    collect_urls(value, value["panels"].is_array(), &mut urls);
    for url in urls {
        if let Some(found) = LINK.captures(url) {
            if !around.dashboards.contains(&found[1]) {
                problems.push(format!("it links to the dashboard {}, which there is not", &found[1]));
            }
            if !found[2].contains("${__url_time_range}") {
                problems.push(format!("the link to {} does not keep the time range", &found[1]));
            }
        } else if url.contains("://") {
            problems.push(format!("{url} leads to somebody's host"));
        } else if !url.starts_with("/explore?") {
            problems.push(format!("{url} leads nowhere"));
        }
    }
    problems
}

fn collect_urls<'v>(value: &'v Value, shallow: bool, urls: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields.iter().filter(|(name, _)| !(shallow && *name == "panels")) {
                match inner.as_str() {
                    Some(url) if name == "url" && !url.is_empty() => urls.push(url),
                    _ => collect_urls(inner, false, urls),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_urls(item, false, urls)),
        _ => {}
    }
}

/// Tenants written out, wherever: a dashboard is for everybody's tenants.
fn tenants(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => {
            let names = TENANT.captures_iter(text).filter_map(|found| found.iter().skip(1).flatten().next());
            let fixed =
                names.map(|name| name.as_str()).filter(|name| !name.is_empty() && !name.contains('$'));
            fixed.map(|name| format!("the tenant {name:?} is written out in {text:?}")).collect()
        }
        Value::Array(items) => items.iter().flat_map(tenants).collect(),
        Value::Object(fields) => fields.values().flat_map(tenants).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
