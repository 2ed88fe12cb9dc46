//! YAML as JSON values, for what asks many small questions of a file.

use std::path::Path;

use saphyr::{LoadableYamlNode, ScalarOwned, YamlOwned};
use serde_json::{Map, Value};

/// The documents of a text, empty ones left out. Merge keys (`<<`) are merged, as Compose and kustomize do.
///
/// # Errors
/// What is no YAML, and where; or what has no place in JSON, such as a key that is no text.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents = YamlOwned::load_from_str(text).map_err(|e| e.to_string())?;
    let values: Result<Vec<_>, _> = documents.iter().map(value).collect();
    Ok(values?.into_iter().filter(|value| !value.is_null()).collect())
}

/// The only document of a file.
///
/// # Errors
/// One line that names the file.
pub fn file(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let documents = documents(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let [document] = <[Value; 1]>::try_from(documents)
        .map_err(|all| format!("{}: {} documents, not one", path.display(), all.len()))?;
    Ok(document)
}

fn value(yaml: &YamlOwned) -> Result<Value, String> {
    Ok(match yaml {
        YamlOwned::Value(scalar) => match scalar {
            ScalarOwned::Null => Value::Null,
            ScalarOwned::Boolean(value) => (*value).into(),
            ScalarOwned::Integer(value) => (*value).into(),
            ScalarOwned::FloatingPoint(value) => value.into_inner().into(),
            ScalarOwned::String(value) => value.as_str().into(),
        },
        YamlOwned::Sequence(items) => items.iter().map(value).collect::<Result<_, _>>()?,
        YamlOwned::Mapping(pairs) => {
            let (mut own, mut merged) = (Map::new(), Map::new());
            for (key, item) in pairs {
                let key = key.as_str().ok_or_else(|| format!("the key {key:?} is no text"))?;
                match (key, value(item)?) {
                    ("<<", Value::Object(more)) => merged.extend(more),
                    (key, item) => drop(own.insert(key.to_owned(), item)),
                }
            }
            merged.extend(own);
            Value::Object(merged)
        }
        YamlOwned::Tagged(_, inner) => value(inner)?,
        other => return Err(format!("{other:?} has no place here")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::documents;

    #[test]
    fn documents_become_values_with_their_merge_keys_merged() {
        let text = "a: &a {x: 1, y: yes}\nb: {<<: *a, y: 2}\n---\n---\n- 1.5\n- '1'\n- ~\n";
        let expected =
            vec![json!({ "a": { "x": 1, "y": "yes" }, "b": { "x": 1, "y": 2 } }), json!([1.5, "1", null])];
        assert_eq!(documents(text), Ok(expected));
        assert!(documents("a: [").is_err() && documents("[1]: 2").is_err());
    }
}
