//! Whether the API server would know each field, and Prometheus each rule.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;
use stack_tests::{
    kubernetes::schemas::Schemas,
    tools::{self, Tool},
    yaml,
};

use crate::read;

/// `kubectl apply` keeps a copy of what it applies in an annotation, and annotations may take so many bytes.
const MOST_FOR_APPLY: usize = 256 << 10;

/// Elastic's operator is not free enough for its schemas to be copied: `make setup` fetches them where tests run unattended.
const ELASTIC: &str = "k8s.elastic.co/";

/// The schemas of the kinds in use, with where they are from in the file itself.
fn schemas(repository: &Path) -> Result<Schemas, String> {
    let path = repository.join("stack-tests/tests/config/kubernetes/schemas.json");
    let json = serde_json::from_str(&read(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    Schemas::from_json(&json).map_err(|e| format!("{}: {e}", path.display()))
}

/// What kind of object it is, as the schemas name it.
pub(super) fn kind(object: &Value) -> String {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    format!("{} {}", text("apiVersion"), text("kind"))
}

/// `Deployment example-agent`.
pub(super) fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// What of the objects their schemas refuse, a line each. Those of Elastic's operator are left out.
pub(super) fn problems(repository: &Path, objects: &[Value]) -> Result<Vec<String>, String> {
    let kept = objects.iter().filter(|object| !kind(object).contains(ELASTIC));
    refused(&schemas(repository)?, kept)
}

/// Where `make setup` has put the definitions of Elastic's operator, if it has.
pub(super) fn elastic_definitions() -> Vec<PathBuf> {
    let folder = tools::cache().map(|cache| cache.join("eck")).filter(|folder| folder.is_dir());
    folder.map(|folder| crate::files(&folder, "yaml")).unwrap_or_default()
}

/// The same of those of Elastic's operator, by its own definitions.
pub(super) fn elastic_problems(
    repository: &Path,
    definitions: &[PathBuf],
    objects: &[Value],
) -> Result<Vec<String>, String> {
    let mut schemas = schemas(repository)?;
    for path in definitions {
        schemas.add_crd(&yaml::file(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let elastic: Vec<_> = objects.iter().filter(|object| kind(object).contains(ELASTIC)).collect();
    let mut problems = refused(&schemas, elastic.iter().copied())?;
    if elastic.len() < 3 {
        problems.push(format!("only {} resources of Elastic's", elastic.len()));
    }
    Ok(problems)
}

fn refused<'o>(schemas: &Schemas, objects: impl Iterator<Item = &'o Value>) -> Result<Vec<String>, String> {
    let mut validators = BTreeMap::new();
    let mut problems = Vec::new();
    let mut objects = objects.peekable();
    if objects.peek().is_none() {
        problems.push("nothing is rendered".to_owned());
    }
    for object in objects {
        let kind = kind(object);
        if !validators.contains_key(&kind) {
            let Some(schema) = schemas.of(&kind) else {
                problems.push(format!("{}: there is no schema of {kind}", name(object)));
                continue;
            };
            let validator = jsonschema::validator_for(&schema).map_err(|e| format!("{kind}: {e}"))?;
            validators.insert(kind.clone(), validator);
        }
        let refused = validators[&kind].iter_errors(object);
        problems.extend(refused.map(|error| {
            let what: String = error.to_string().chars().take(300).collect();
            format!("{}: {}: {what}", name(object), error.instance_path())
        }));
        let bytes = object.to_string().len();
        if bytes > MOST_FOR_APPLY {
            problems.push(format!("{}: {bytes} bytes: only --server-side takes it", name(object)));
        }
    }
    Ok(problems)
}

/// The groups of each `PrometheusRule` as a rule file of their own.
pub(super) fn rules_are_valid(promtool: &Tool, objects: &[Value]) -> Result<(), String> {
    let rules: Vec<_> = objects.iter().filter(|object| object["kind"] == "PrometheusRule").collect();
    if rules.len() < 2 {
        return Err("the rules are not rendered".to_owned());
    }
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    for rule in rules {
        // JSON is YAML too.
        let file = folder.path().join("rules.yml");
        std::fs::write(&file, rule["spec"].to_string()).map_err(|e| e.to_string())?;
        promtool
            .run(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", "rules.yml"])
            .map_err(|e| format!("{}: {e}", name(rule)))?;
    }
    Ok(())
}
