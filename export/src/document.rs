//! YAML and JSON as text: each key and each value with the way that leads to it, so that single ones can be changed.

use std::ops::Range;

use saphyr::{LoadableYamlNode, MarkedYaml};

use crate::{
    edit::{Edit, View, apply},
    names::Names,
    prose,
};

/// A key or a value.
pub struct Scalar<'t> {
    /// The keys that lead to it, `-` for an element of a list; of a key, those above it.
    pub path: Vec<String>,
    /// Which element of each list on that way, from 0.
    pub indices: Vec<usize>,
    /// It is a key.
    pub is_key: bool,
    /// As it is written, quotes included.
    pub source: &'t str,
    range: Range<usize>,
}

impl Scalar<'_> {
    /// The keys that lead to it, to be matched with a pattern.
    pub fn at(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// What it says, quotes and escapes taken off.
    pub fn text(&self) -> String {
        View::of_quoted(self.source).text
    }

    /// Changes of what it says as changes of the document.
    pub fn edits(&self, edits: impl FnOnce(&str) -> Vec<Edit>) -> Vec<Edit> {
        let view = View::of_quoted(self.source);
        let changed = view.edits(edits(&view.text)).into_iter();
        changed.map(|edit| edit.moved(self.range.start)).collect()
    }

    /// The whole of it gives way to another text, if there is one.
    pub fn renamed(&self, new: impl FnOnce(&str) -> Option<String>) -> Vec<Edit> {
        self.edits(|text| new(text).map(|new| Edit::new(0..text.len(), new)).into_iter().collect())
    }
}

/// Every key and value of a document that is a text.
///
/// # Errors
/// What is wrong with the YAML or JSON, and where.
pub fn scalars(text: &str) -> Result<Vec<Scalar<'_>>, String> {
    let documents = MarkedYaml::load_from_str(text).map_err(|e| e.to_string())?;
    // The parser counts characters, slices count bytes.
    let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut found = Vec::new();
    for document in &documents {
        collect(document, &mut Way::default(), &mut |node, way, is_key| {
            let range = offsets[node.span.start.index()]..offsets[node.span.end.index()];
            // Before a closing bracket the parser counts the space to the scalar.
            let source = text[range.clone()].trim_end();
            let range = range.start..range.start + source.len();
            let Way { path, indices } = way.clone();
            found.push(Scalar { path, indices, is_key, source, range });
        });
    }
    Ok(found)
}

/// What leads to a place.
#[derive(Clone, Default)]
struct Way {
    path: Vec<String>,
    indices: Vec<usize>,
}

fn collect(node: &MarkedYaml, way: &mut Way, found: &mut impl FnMut(&MarkedYaml, &Way, bool)) {
    if let Some(mapping) = node.data.as_mapping() {
        for (key, value) in mapping {
            found(key, way, true);
            way.path.push(key.data.as_str().unwrap_or_default().to_owned());
            collect(value, way, found);
            way.path.pop();
        }
    } else if let Some(sequence) = node.data.as_sequence() {
        way.path.push("-".to_owned());
        for (index, element) in sequence.iter().enumerate() {
            way.indices.push(index);
            collect(element, way, found);
            way.indices.pop();
        }
        way.path.pop();
    } else {
        found(node, way, false);
    }
}

/// A document with changes: `edits` says those of each key and value; comments get the adopter's names too.
///
/// # Errors
/// What is wrong with the YAML or JSON, and where.
pub fn edited(text: &str, names: &Names, edits: impl Fn(&Scalar<'_>) -> Vec<Edit>) -> Result<String, String> {
    let scalars = scalars(text)?;
    let mut changes: Vec<_> = scalars.iter().flat_map(edits).collect();
    let mut ranges: Vec<_> = scalars.iter().map(|scalar| scalar.range.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    ranges.push(text.len()..text.len());
    let mut at = 0;
    for range in ranges {
        if let Some(between) = text.get(at..range.start) {
            changes.extend(comments(between, names).into_iter().map(|edit| edit.moved(at)));
        }
        at = at.max(range.end);
    }
    Ok(apply(text, changes))
}

/// Between keys and values a `#` begins a comment.
fn comments(between: &str, names: &Names) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut at = 0;
    for line in between.split_inclusive('\n') {
        if let Some(mark) = line.find('#') {
            edits.extend(prose::edits(&line[mark..], names).into_iter().map(|edit| edit.moved(at + mark)));
        }
        at += line.len();
    }
    edits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names() -> Names {
        Names { metrics: BTreeMap::from([("old_name".to_owned(), "new".to_owned())]), ..Names::default() }
    }

    #[test]
    fn only_what_is_named_changes() {
        let text = "# old_name – é\na: old_name # old_name\nb: {c: [ old_name ], \"old_name\": 'x old_name' }\nd: &anchor\n  - |\n    old_name\n    # old_name\ne: *anchor\n";
        let all = edited(text, &names(), |scalar| scalar.edits(|text| prose::edits(text, &names())));
        assert_eq!(all.expect("YAML"), text.replace("old_name", "new"));
        let one = edited(text, &Names::default(), |scalar| {
            if scalar.at() == ["b", "old_name"] {
                scalar.edits(|text| prose::edits(text, &names()))
            } else {
                Vec::new()
            }
        });
        assert_eq!(one.expect("YAML"), text.replace("x old_name", "x new"));
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        let text = r#"{"a": {"old_name": "b\"c"}}"#;
        let found = edited(text, &names(), |scalar| {
            let is_it = scalar.is_key && scalar.at() == ["a"];
            if is_it { scalar.renamed(|text| names().metric(text).map(str::to_owned)) } else { Vec::new() }
        });
        assert_eq!(found.expect("JSON"), r#"{"a": {"new": "b\"c"}}"#);
    }

    #[test]
    fn what_is_no_yaml_is_said_so() {
        assert!(edited("a: [", &names(), |_| Vec::new()).is_err());
    }
}
