//! Rule files, reduced to what the trials look at.

use std::{collections::BTreeMap, path::Path};

use saphyr::{LoadableYamlNode, YamlOwned};

use crate::{files, read};

/// A recording rule or an alert.
pub(crate) struct Rule {
    /// The series it records, or the alert's name.
    pub(crate) name: String,
    pub(crate) is_alert: bool,
    pub(crate) expr: String,
    /// How long it must last before it fires.
    pub(crate) after: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The rules in one file.
pub(crate) fn of_file(path: &Path) -> Result<Vec<Rule>, String> {
    let yaml = load(path)?;
    let rules = list(&yaml, "groups").iter().flat_map(|group| list(group, "rules"));
    Ok(rules
        .map(|rule| {
            let alert = text(rule, "alert");
            Rule {
                is_alert: alert.is_some(),
                name: alert.or_else(|| text(rule, "record")).unwrap_or_default(),
                expr: text(rule, "expr").unwrap_or_default(),
                after: text(rule, "for"),
                labels: map(rule, "labels"),
                annotations: map(rule, "annotations"),
            }
        })
        .collect())
}

/// The alerts of all rule files in `prometheus/`.
pub(crate) fn alerts(repository: &Path) -> Result<Vec<Rule>, String> {
    let mut alerts = Vec::new();
    for file in files(&repository.join("prometheus/rules"), "yml") {
        alerts.extend(of_file(&file)?.into_iter().filter(|rule| rule.is_alert));
    }
    Ok(alerts)
}

/// A file's first document.
pub(crate) fn load(path: &Path) -> Result<YamlOwned, String> {
    let documents = YamlOwned::load_from_str(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    documents.into_iter().next().ok_or(format!("{} is empty", path.display()))
}

/// The list under a key, empty where there is none.
pub(crate) fn list<'y>(yaml: &'y YamlOwned, key: &str) -> &'y [YamlOwned] {
    yaml.as_mapping_get(key).and_then(YamlOwned::as_sequence).map(Vec::as_slice).unwrap_or_default()
}

fn text(yaml: &YamlOwned, key: &str) -> Option<String> {
    yaml.as_mapping_get(key)?.as_str().map(str::to_owned)
}

fn map(yaml: &YamlOwned, key: &str) -> BTreeMap<String, String> {
    let mapping = yaml.as_mapping_get(key).and_then(YamlOwned::as_mapping);
    let pairs = mapping.into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned()))).collect()
}
