//! The dashboards as files: what they ask, and whether they are made as they should be.

pub mod ask;
pub mod lint;
pub mod many;
pub mod metrics;
pub mod variables;
pub mod walk;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// A dashboard's file.
#[derive(Clone)]
pub struct Dashboard {
    /// Where it is.
    pub file: PathBuf,
    /// What is in it.
    pub json: Value,
}

/// What people look at a query's data with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A panel.
    Panel,
    /// A variable: its values are a list above the panels.
    Variable,
    /// Marks across the panels.
    Annotation,
}

/// One query of a dashboard, as it is in the file.
#[derive(Clone)]
pub struct Query {
    /// The dashboard's uid.
    pub dashboard: String,
    /// What asks.
    pub asker: Asker,
    /// The title of the panel, or the name of the variable or annotation.
    pub title: String,
    /// Which of the panel's queries.
    pub reference: String,
    /// The panel's type.
    pub kind: String,
    /// The uid of the data source.
    pub source: String,
    /// The query.
    pub json: Value,
    /// How many points the panel wants at the most, if it says so.
    pub points: Option<u64>,
    /// There may be no data while nothing is wrong: the description says so with `Empty while …`.
    pub rightly_empty: bool,
}

/// The dashboards under a folder: each folder in it is a folder in Grafana.
///
/// # Errors
/// Names the file that cannot be read, or says that there is none.
pub fn load(folder: &Path) -> Result<Vec<Dashboard>, String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for inner in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        files.extend(
            entries(&inner)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")),
        );
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("no dashboard in {}", folder.display()));
    }
    files.into_iter().map(|file| Dashboard::read(&file)).collect()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let read = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(read.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

impl Dashboard {
    fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let json = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Self { file: file.to_owned(), json })
    }

    /// What links lead to; empty where it has none.
    pub fn uid(&self) -> &str {
        text(&self.json, "uid")
    }

    /// Its panels, those in rows that are folded too.
    pub fn panels(&self) -> Vec<&Value> {
        let outer = list(&self.json, "panels");
        outer.iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels"))).collect()
    }

    /// Its variables.
    pub fn variables(&self) -> &[Value] {
        list(&self.json["templating"], "list")
    }

    /// All that it asks of data sources: panels, variables, annotations.
    pub fn queries(&self) -> Vec<Query> {
        let variables = self
            .variables()
            .iter()
            .filter(|v| v["type"] == "query")
            .map(|variable| self.query(Asker::Variable, text(variable, "name"), "", variable, variable));
        let annotations = list(&self.json["annotations"], "list").iter();
        let annotations = annotations.filter(|a| a["builtIn"] != 1).map(|annotation| {
            self.query(Asker::Annotation, text(annotation, "name"), "", annotation, annotation)
        });
        let panels = self.panels().into_iter().flat_map(|panel| {
            // The list of alerts has no query of its own: its options say what it shows.
            let alone = (panel["type"] == "alertlist").then_some(panel);
            let targets = list(panel, "targets").iter().chain(alone);
            targets.map(|target| {
                self.query(Asker::Panel, text(panel, "title"), text(panel, "type"), panel, target)
            })
        });
        panels.chain(variables).chain(annotations).collect()
    }

    fn query(&self, asker: Asker, title: &str, kind: &str, from: &Value, json: &Value) -> Query {
        // Nobody writes descriptions of annotations: that of firing alerts is empty while none fires.
        let of_alerts = asker == Asker::Annotation && text(json, "expr").contains("ALERTS");
        Query {
            dashboard: self.uid().to_owned(),
            asker,
            title: title.to_owned(),
            reference: text(json, "refId").to_owned(),
            kind: kind.to_owned(),
            source: json["datasource"]["uid"]
                .as_str()
                .or(from["datasource"]["uid"].as_str())
                .unwrap_or("")
                .into(),
            json: json.clone(),
            points: from["maxDataPoints"].as_u64(),
            rightly_empty: of_alerts || text(from, "description").contains("Empty while "),
        }
    }

    /// The same dashboard for a Grafana whose data sources have other uids: what an adopter does with a text editor.
    #[must_use]
    pub fn with_uids(&self, rename: &dyn Fn(&str) -> String) -> Self {
        let mut json = self.json.clone();
        rename_uids(&mut json, rename);
        Self { file: self.file.clone(), json }
    }
}

fn rename_uids(value: &mut Value, rename: &dyn Fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                match inner["uid"].as_str() {
                    Some(uid) if name == "datasource" => inner["uid"] = json!(rename(uid)),
                    _ => rename_uids(inner, rename),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_uids(item, rename)),
        // Links into Explore name the source in their address.
        Value::String(text) if text.starts_with("/explore?") => {
            for uid in lint::SOURCES {
                for (before, after) in [("%22datasource%22%3A%22", "%22"), ("%22uid%22%3A%22", "%22")] {
                    let (old, new) =
                        (format!("{before}{uid}{after}"), format!("{before}{}{after}", rename(uid)));
                    *text = text.replace(&old, &new);
                }
            }
        }
        _ => {}
    }
}

/// The text under a key, empty where there is none.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The list under a key, empty where there is none.
pub(crate) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dashboard(json: Value) -> Dashboard {
        Dashboard { file: "test.json".into(), json }
    }

    #[test]
    fn queries_are_those_of_panels_rows_variables_and_annotations() {
        let prometheus = json!({"uid": "prometheus"});
        let found = dashboard(json!({
            "uid": "d",
            "panels": [
                {"title": "One", "type": "stat", "datasource": prometheus, "targets": [{"refId": "A"}, {"refId": "B"}]},
                {"title": "Row", "type": "row", "panels": [
                    {"title": "Two", "type": "logs", "description": "Empty while x.", "targets": [{"refId": "A", "datasource": {"uid": "elasticsearch"}}]}]},
                {"title": "Alerts", "type": "alertlist", "datasource": prometheus, "targets": []}],
            "templating": {"list": [{"name": "tenant", "type": "query", "datasource": prometheus}, {"name": "c", "type": "custom"}]},
            "annotations": {"list": [{"builtIn": 1}, {"name": "Firing", "expr": "ALERTS", "datasource": prometheus}]}
        }))
        .queries();
        let said: Vec<_> = found
            .iter()
            .map(|q| format!("{}{} {} {}", q.title, q.reference, q.source, q.rightly_empty))
            .collect();
        assert_eq!(
            said,
            [
                "OneA prometheus false",
                "OneB prometheus false",
                "TwoA elasticsearch true",
                "Alerts prometheus false",
                "tenant prometheus false",
                "Firing prometheus true"
            ]
        );
    }

    #[test]
    fn other_uids_are_put_into_queries_and_links() {
        let url = "/explore?panes=%7B%22datasource%22%3A%22jaeger%22%2C%22uid%22%3A%22jaeger%22%7D";
        let before = dashboard(
            json!({"uid": "jaeger", "panels": [{"datasource": {"uid": "prometheus"}, "links": [{"url": url}]}]}),
        );
        let after = before.with_uids(&|uid| format!("their-{uid}")).json;
        assert_eq!(after["uid"], "jaeger");
        assert_eq!(after["panels"][0]["datasource"]["uid"], "their-prometheus");
        assert_eq!(after["panels"][0]["links"][0]["url"], url.replace("%22jaeger", "%22their-jaeger"));
    }
}
