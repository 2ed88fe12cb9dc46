//! What the index templates say of a document: whether Elasticsearch would take it, and whether it is what they mean.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// Elasticsearch's default `depth_limit` of a `flattened` field.
const FLATTENED_DEPTH: usize = 20;

/// The index templates of a folder.
#[derive(Debug)]
pub struct Templates(Vec<Template>);

#[derive(Debug)]
struct Template {
    patterns: Vec<String>,
    priority: u64,
    /// Type by dotted path; objects are not in it.
    fields: BTreeMap<String, String>,
}

/// How closely a document is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As Elasticsearch does, which makes a number of text and ignores what it does not know.
    Lenient,
    /// Each field is mapped, and its value has the very type.
    Strict,
}

impl Templates {
    /// Reads every file `*.json` below `folder` that is an index template.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        json_files(folder, &mut files)?;
        let mut parsed = BTreeMap::new();
        for file in files {
            let name = file.display();
            let text = fs::read_to_string(&file).map_err(|e| format!("{name}: {e}"))?;
            let template: Value = serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"))?;
            parsed.insert(
                file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                (file, template),
            );
        }
        let mut templates = Vec::new();
        for (file, template) in parsed.values() {
            let Some(patterns) = template["index_patterns"].as_array() else { continue };
            let mut fields = BTreeMap::new();
            // A component is the file of its name; what comes later wins.
            let components =
                template["composed_of"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for component in components {
                let missing = || format!("{}: there is no component {component}", file.display());
                add_fields(&parsed.get(component).ok_or_else(missing)?.1, &mut fields);
            }
            add_fields(template, &mut fields);
            templates.push(Template {
                patterns: patterns.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                priority: template["priority"].as_u64().unwrap_or(0),
                fields,
            });
        }
        if templates.is_empty() {
            return Err(format!("{}: there is no index template", folder.display()));
        }
        Ok(Self(templates))
    }

    /// Whether Elasticsearch would index the document.
    ///
    /// # Errors
    /// The first field it would refuse, and why.
    pub fn accept(&self, index: &str, document: &Value) -> Result<(), String> {
        self.check(index, document, Manner::Lenient)
    }

    /// Whether each field of the document is mapped and has the very type of its mapping.
    ///
    /// # Errors
    /// The first that is not, and why.
    pub fn conform(&self, index: &str, document: &Value) -> Result<(), String> {
        self.check(index, document, Manner::Strict)
    }

    /// The type of a field in an index.
    pub fn type_of(&self, index: &str, field: &str) -> Result<Option<&str>, String> {
        Ok(self.of(index)?.fields.get(field).map(String::as_str))
    }

    fn of(&self, index: &str) -> Result<&Template, String> {
        let fitting = self.0.iter().filter(|template| template.patterns.iter().any(|p| matches(p, index)));
        fitting
            .max_by_key(|template| template.priority)
            .ok_or(format!("no template is for the index {index}"))
    }

    fn check(&self, index: &str, document: &Value, manner: Manner) -> Result<(), String> {
        let fields = &self.of(index)?.fields;
        let object = document.as_object().ok_or("the document is not an object")?;
        if !object.contains_key("@timestamp") && manner == Manner::Strict {
            return Err("there is no @timestamp".into());
        }
        object_fits("", object, fields, manner)
    }
}

fn json_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            json_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

fn add_fields(template: &Value, fields: &mut BTreeMap<String, String>) {
    if let Some(properties) = template["template"]["mappings"]["properties"].as_object() {
        flatten("", properties, fields);
    }
}

fn flatten(prefix: &str, properties: &Map<String, Value>, fields: &mut BTreeMap<String, String>) {
    for (name, field) in properties {
        let path = format!("{prefix}{name}");
        match (field["properties"].as_object(), field["type"].as_str()) {
            (Some(inner), _) => flatten(&format!("{path}."), inner, fields),
            (None, kind) => {
                fields.insert(path, kind.unwrap_or("object").to_owned());
            }
        }
    }
}

/// An index pattern, in which `*` stands for anything.
fn matches(pattern: &str, index: &str) -> bool {
    let mut rest = index;
    let mut parts = pattern.split('*');
    let Some(first) = parts.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = first;
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn object_fits(
    prefix: &str,
    object: &Map<String, Value>,
    fields: &BTreeMap<String, String>,
    manner: Manner,
) -> Result<(), String> {
    for (name, value) in object {
        if name.is_empty() {
            return Err("a field name cannot be an empty string".into());
        }
        let path = format!("{prefix}{name}");
        if let Some(kind) = fields.get(&path) {
            fits(kind, value, manner)
                .map_err(|e| format!("failed to parse field [{path}] of type [{kind}]: {e}"))?;
            continue;
        }
        let inside = format!("{path}.");
        let is_parent = fields.keys().any(|field| field.starts_with(&inside));
        match value {
            Value::Object(inner) if is_parent => object_fits(&inside, inner, fields, manner)?,
            Value::Null => {}
            _ if is_parent => return Err(format!("object mapping for [{path}] found a concrete value")),
            _ if manner == Manner::Strict => return Err(format!("[{path}] is not mapped")),
            _ => {}
        }
    }
    Ok(())
}

fn fits(kind: &str, value: &Value, manner: Manner) -> Result<(), String> {
    let wrong = || Err(format!("{value:.100}"));
    let strict = manner == Manner::Strict;
    match (kind, value) {
        (_, Value::Null)
        | ("keyword" | "text" | "wildcard" | "match_only_text", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("double" | "float" | "half_float", Value::Number(_))
        | ("object", Value::Object(_)) => Ok(()),
        ("flattened", Value::Object(object)) => flattened(object, 1),
        ("flattened", _) => wrong(),
        (_, Value::Array(values)) => values.iter().try_for_each(|value| fits(kind, value, manner)),
        ("alias", _) => Err("cannot write to a field alias".into()),
        ("keyword" | "text" | "wildcard" | "match_only_text", Value::Number(_) | Value::Bool(_))
            if !strict =>
        {
            Ok(())
        }
        ("boolean", Value::String(text)) if !strict && matches!(text.as_str(), "true" | "false" | "") => {
            Ok(())
        }
        ("long" | "integer" | "short", Value::Number(number)) if strict => {
            if number.is_i64() {
                Ok(())
            } else {
                wrong()
            }
        }
        ("long" | "integer" | "short", Value::Number(number)) => integer(kind, number.as_f64()),
        ("long" | "integer" | "short", Value::String(text)) if !strict => integer(kind, text.parse().ok()),
        ("double" | "float" | "half_float", Value::String(text)) if !strict => {
            if text.parse().is_ok_and(f64::is_finite) { Ok(()) } else { wrong() }
        }
        ("date" | "date_nanos", Value::String(text)) => {
            if is_date(text) {
                Ok(())
            } else {
                wrong()
            }
        }
        ("date", Value::Number(number)) if !strict && number.is_i64() => Ok(()),
        _ => wrong(),
    }
}

fn integer(kind: &str, value: Option<f64>) -> Result<(), String> {
    let limit = match kind {
        "long" => i64::MAX as f64,
        "integer" => f64::from(i32::MAX),
        _ => f64::from(i16::MAX),
    };
    match value {
        Some(value) if value.abs() <= limit => Ok(()),
        Some(value) => Err(format!("{value} is out of range")),
        None => Err("not a number".into()),
    }
}

/// Neither too deep nor with a name that the index cannot hold.
fn flattened(object: &Map<String, Value>, depth: usize) -> Result<(), String> {
    if depth > FLATTENED_DEPTH {
        return Err(format!("deeper than depth_limit {FLATTENED_DEPTH}"));
    }
    for (name, value) in object {
        if name.contains('\0') {
            return Err("a key must not contain the reserved separator \\0".into());
        }
        flattened_value(value, depth)?;
    }
    Ok(())
}

fn flattened_value(value: &Value, depth: usize) -> Result<(), String> {
    match value {
        Value::Object(inner) => flattened(inner, depth + 1),
        Value::Array(values) => values.iter().try_for_each(|value| flattened_value(value, depth)),
        _ => Ok(()),
    }
}

/// As Logstash writes a time: `2026-01-31T23:59:59.123456789Z`.
fn is_date(text: &str) -> bool {
    let Some(time) = text.strip_suffix('Z') else { return false };
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let shape: String = whole.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00" && !fraction.is_empty() && fraction.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn templates() -> Templates {
        let folder = tempfile::tempdir().unwrap();
        let component = json!({ "template": { "mappings": { "properties": {
            "@timestamp": { "type": "date" }, "tokens": { "type": "keyword" }, "cost": { "type": "double" },
            "cached": { "type": "boolean" }, "name": { "type": "keyword" }, "extra": { "type": "flattened" },
            "log": { "properties": { "level": { "type": "keyword" } } } } } } });
        fs::write(folder.path().join("fields.json"), component.to_string()).unwrap();
        let template = json!({ "index_patterns": ["logs-*"], "composed_of": ["fields"],
            "template": { "mappings": { "properties": { "tokens": { "type": "long" } } } } });
        fs::write(folder.path().join("logs.json"), template.to_string()).unwrap();
        Templates::read(folder.path()).unwrap()
    }

    #[test]
    fn takes_what_elasticsearch_takes_and_refuses_what_it_refuses() {
        let templates = templates();
        let lenient =
            |field: &str, value: Value| templates.accept("logs-1", &json!({ field: value })).is_ok();
        for (field, value) in [
            ("tokens", json!("12")),
            ("tokens", json!(1.9)),
            ("tokens", json!([1, 2])),
            ("cached", json!("true")),
            ("name", json!(5)),
            ("extra", json!({ "a": { "b": [1, { "c": null }] } })),
            ("unheard_of", json!({ "a": 1 })),
            ("log", json!({ "level": "INFO", "other": 1 })),
        ] {
            assert!(lenient(field, value.clone()), "{field}: {value}");
        }
        let deep = (0..30).fold(json!(1), |inner, _| json!({ "n": inner }));
        for (field, value) in [
            ("tokens", json!("twelve")),
            ("tokens", json!(1e30)),
            ("cost", json!({ "usd": 1 })),
            ("cached", json!("maybe")),
            ("name", json!({ "n": 1 })),
            ("extra", json!("text")),
            ("extra", deep),
            ("log", json!("text")),
            ("", json!(1)),
        ] {
            assert!(!lenient(field, value.clone()), "{field}: {value}");
        }
        assert!(templates.accept("other-1", &json!({})).is_err());
    }

    #[test]
    fn strictly_a_field_is_mapped_and_has_its_type() {
        let templates = templates();
        let strict = |more: Value| {
            let mut document = json!({ "@timestamp": "2026-01-31T23:59:59.123Z" });
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            templates.conform("logs-1", &document)
        };
        assert_eq!(strict(json!({ "tokens": 12, "log": { "level": "INFO" } })), Ok(()));
        assert!(strict(json!({ "tokens": "12" })).is_err());
        assert!(strict(json!({ "tokens": 1.5 })).is_err());
        assert!(strict(json!({ "log": { "other": 1 } })).unwrap_err().contains("log.other"));
        assert!(strict(json!({ "@timestamp": "yesterday" })).is_err());
    }

    #[test]
    fn a_pattern_is_for_the_indices_it_names() {
        assert!(matches("logs-*", "logs-2026.01.31"));
        assert!(!matches("logs-*", "audit-logs-1"));
        assert!(matches("a*-b*", "aa-x-bc"));
        assert!(!matches("logs", "logs-1"));
    }
}
