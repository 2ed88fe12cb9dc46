//! The schemas that rendered objects are held against: those of Kubernetes' API and of the Prometheus Operator, reduced to
//! the kinds in use and to what says something about a value.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const DEFINITIONS: &str = "#/definitions/";

/// Schemas by `apiVersion` and kind, with what they refer to.
///
/// Strict: a field that a schema does not know is an error, where the API server would drop it without a word.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    /// Where each came from, for whoever reads the file.
    pub sources: Vec<String>,
    /// `apps/v1 Deployment` and its schema.
    pub kinds: BTreeMap<String, Value>,
    definitions: BTreeMap<String, Value>,
}

impl Schemas {
    /// No kind yet, from these sources.
    pub fn from_sources(sources: Vec<String>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Takes kinds out of Kubernetes' `api/openapi-spec/swagger.json`.
    ///
    /// # Errors
    /// A kind that is not in it.
    pub fn add_openapi(&mut self, openapi: &Value, kinds: &[&str]) -> Result<(), String> {
        let all =
            openapi["definitions"].as_object().ok_or("no definitions: this is no OpenAPI 2 document")?;
        for wanted in kinds {
            let found = all.iter().find(|(_, schema)| group_version_kind(schema).as_deref() == Some(wanted));
            let (name, _) = found.ok_or_else(|| format!("{wanted} is not in it"))?;
            self.kinds.insert((*wanted).to_owned(), json!({ "$ref": format!("{DEFINITIONS}{name}") }));
            self.add_definition(all, name)?;
        }
        Ok(())
    }

    fn add_definition(&mut self, all: &Map<String, Value>, name: &str) -> Result<(), String> {
        if self.definitions.contains_key(name) {
            return Ok(());
        }
        let schema = all.get(name).ok_or_else(|| format!("{name} is not in it"))?;
        let mut schema = strict(schema);
        // OpenAPI 2 cannot say "either".
        if name.ends_with(".IntOrString") || name.ends_with(".Quantity") {
            schema = json!({ "type": ["string", "number"] });
        }
        let mut names = Vec::new();
        references(&schema, &mut names);
        self.definitions.insert(name.to_owned(), schema);
        names.iter().try_for_each(|name| self.add_definition(all, name))
    }

    /// Takes the versions that are served out of a `CustomResourceDefinition`; `metadata` is that of Kubernetes.
    ///
    /// # Errors
    /// What is no such definition.
    pub fn add_crd(&mut self, crd: &Value) -> Result<(), String> {
        let spec = &crd["spec"];
        let (group, kind) = (spec["group"].as_str(), spec["names"]["kind"].as_str());
        let (Some(group), Some(kind), Some(versions)) = (group, kind, spec["versions"].as_array()) else {
            return Err("this is no CustomResourceDefinition".to_owned());
        };
        for version in versions.iter().filter(|version| version["served"] == true) {
            let name = version["name"].as_str().unwrap_or_default();
            let mut schema = strict(&version["schema"]["openAPIV3Schema"]);
            schema["properties"]["metadata"] =
                json!({ "$ref": format!("{DEFINITIONS}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") });
            self.kinds.insert(format!("{group}/{name} {kind}"), schema);
        }
        Ok(())
    }

    /// JSON that [`Schemas::from_json`] reads, a line for each schema, so that a newer version can be compared.
    pub fn to_text(&self) -> String {
        let lines = |schemas: &BTreeMap<String, Value>| {
            let lines: Vec<_> =
                schemas.iter().map(|(name, schema)| format!("    {}: {schema}", json!(name))).collect();
            lines.join(",\n")
        };
        format!(
            "{{\n  \"sources\": {},\n  \"kinds\": {{\n{}\n  }},\n  \"definitions\": {{\n{}\n  }}\n}}\n",
            json!(self.sources),
            lines(&self.kinds),
            lines(&self.definitions),
        )
    }

    /// Reads what [`Schemas::to_text`] has written.
    ///
    /// # Errors
    /// What is missing.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        let map = |key: &str| {
            let object = json[key].as_object().ok_or_else(|| format!("no {key}"))?;
            Ok::<_, String>(object.iter().map(|(name, schema)| (name.clone(), schema.clone())).collect())
        };
        let sources = json["sources"].as_array().ok_or("no sources")?;
        let sources = sources.iter().filter_map(|source| source.as_str().map(str::to_owned)).collect();
        Ok(Self { sources, kinds: map("kinds")?, definitions: map("definitions")? })
    }

    /// The whole schema of one kind, for a validator; nothing for a kind that is not known.
    pub fn of(&self, kind: &str) -> Option<Value> {
        let mut schema = self.kinds.get(kind)?.clone();
        if schema.get("$ref").is_some() {
            schema = json!({ "allOf": [schema] });
        }
        schema["definitions"] = json!(self.definitions);
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        Some(schema)
    }
}

/// `apps/v1 Deployment`.
fn group_version_kind(schema: &Value) -> Option<String> {
    let [identity] = schema["x-kubernetes-group-version-kind"].as_array()?.as_slice() else { return None };
    let text = |key: &str| identity[key].as_str();
    let (group, version, kind) = (text("group")?, text("version")?, text("kind")?);
    Some(if group.is_empty() { format!("{version} {kind}") } else { format!("{group}/{version} {kind}") })
}

/// Without words for people, and closed wherever the schema does not say that it is open.
fn strict(schema: &Value) -> Value {
    let Some(object) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in object {
        match (key.as_str(), value) {
            ("description" | "format" | "default" | "example", _) => {}
            ("properties", Value::Object(properties)) => {
                let closed = properties.iter().map(|(name, schema)| (name.clone(), strict(schema)));
                out.insert(key.clone(), closed.collect());
            }
            ("items" | "additionalProperties" | "not", Value::Object(_)) => {
                out.insert(key.clone(), strict(value));
            }
            ("anyOf" | "allOf" | "oneOf", Value::Array(schemas)) => {
                out.insert(key.clone(), schemas.iter().map(strict_part).collect());
            }
            // Go's way to say that case does not matter is no expression of JSON schema.
            ("pattern", Value::String(pattern)) if pattern.contains("(?i)") => {}
            (name, _) if name.starts_with("x-") => {}
            _ => drop(out.insert(key.clone(), value.clone())),
        }
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if out.contains_key("properties") && !open {
        out.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    if schema["x-kubernetes-int-or-string"] == true {
        out.insert("type".into(), json!(["integer", "string"]));
    }
    if schema["nullable"] == true
        && let Some(kind) = out.get("type").and_then(Value::as_str)
    {
        out.insert("type".into(), json!([kind, "null"]));
    }
    Value::Object(out)
}

/// What stands beside other schemas of the same object knows only some of its fields.
fn strict_part(schema: &Value) -> Value {
    let mut part = strict(schema);
    if let Some(object) = part.as_object_mut()
        && object.get("additionalProperties") == Some(&Value::Bool(false))
    {
        object.remove("additionalProperties");
    }
    part
}

fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(name) = object.get("$ref").and_then(Value::as_str) {
                names.extend(name.strip_prefix(DEFINITIONS).map(str::to_owned));
            }
            object.values().for_each(|value| references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}
