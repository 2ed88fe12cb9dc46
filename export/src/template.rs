//! Names in Go's templates: the annotations of alerts, Alertmanager's messages.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use crate::{
    edit::{Edit, View},
    names::Names,
    promql, prose,
};

/// A label of an alert, or of several.
static LABEL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:\$labels|\.(?:Common|Group)?Labels)\.([A-Za-z_][A-Za-z0-9_]*)"));
/// Strings in which a label is named: `index $labels "status"`, `.Remove (stringSlice "alertname" "severity")`.
static LISTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"(?:\bindex\s+(?:\$labels|\S*\.(?:Common|Group)?Labels)|\bstringSlice)((?:\s+"[^"]*")+)"#)
});
static STRING: LazyLock<Regex> = LazyLock::new(|| pattern(r#""(?:[^"\\]|\\.)*"|`[^`]*`"#));
static QUERY: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bquery\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// The changes that give a template other names.
pub fn edits(text: &str, names: &Names) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut at = 0;
    for action in actions(text) {
        edits.extend(moved(prose::edits(&text[at..action.start], names), at));
        edits.extend(moved(of_action(&text[action.clone()], names), action.start));
        at = action.end;
    }
    edits.extend(moved(prose::edits(&text[at..], names), at));
    edits
}

fn moved(edits: Vec<Edit>, offset: usize) -> impl Iterator<Item = Edit> {
    edits.into_iter().map(move |edit| edit.moved(offset))
}

/// The queries that a template asks of Prometheus while an alert is told of.
pub fn queries(text: &str) -> Vec<String> {
    let asking = actions(text).into_iter().map(|action| &text[action]).filter(|action| asks(action));
    let strings = asking
        .flat_map(|action| STRING.find_iter(action).map(|string| View::of_quoted(string.as_str()).text));
    strings.collect()
}

/// Whether a template is one.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Each `{{…}}`, brackets included.
fn actions(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("{{").map(|start| at + start) {
        let end = end_of(text, start + 2);
        found.push(start..end);
        at = end;
    }
    found
}

/// Where an action ends: a `}}` within a string does not end it.
fn end_of(text: &str, from: usize) -> usize {
    let mut at = from;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("}}") {
            return at + 2;
        }
        at += match STRING.find_at(rest, 0).filter(|string| string.start() == 0) {
            Some(string) => string.end(),
            None => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    text.len()
}

fn asks(action: &str) -> bool {
    QUERY.is_match(&STRING.replace_all(action, "\"\""))
}

fn of_action(action: &str, names: &Names) -> Vec<Edit> {
    if action.trim_start_matches("{{-").trim_start_matches("{{").trim_start().starts_with("/*") {
        return prose::edits(action, names);
    }
    let strings: Vec<_> = STRING.find_iter(action).map(|string| string.range()).collect();
    let in_string = |at: usize| strings.iter().any(|string| string.contains(&at));
    let mut edits = Vec::new();
    for label in LABEL.captures_iter(action).filter_map(|found| found.get(1)) {
        if let Some(new) = names.label(label.as_str()).filter(|_| !in_string(label.start())) {
            edits.push(Edit::new(label.range(), new));
        }
    }
    let listed: Vec<_> =
        LISTED.captures_iter(action).filter_map(|found| Some(found.get(1)?.range())).collect();
    for string in strings {
        let source = &action[string.clone()];
        if listed.iter().any(|list| list.contains(&string.start)) {
            if let Some(new) = names.label(&source[1..source.len() - 1]) {
                edits.push(Edit::new(string.start + 1..string.end - 1, new));
            }
        } else if asks(action) {
            let view = View::of_quoted(source);
            let changed = view.edits(promql::edits(&view.text, names));
            edits.extend(moved(changed, string.start));
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::edit::apply;

    fn names() -> Names {
        let map = |from: &str, to: &str| BTreeMap::from([(from.to_owned(), to.to_owned())]);
        Names {
            metrics: map("agent_budget_usd", "budget"),
            labels: [("status", "outcome"), ("tenant_id", "customer"), ("severity", "priority")]
                .map(|(from, to)| (from.to_owned(), to.to_owned()))
                .into(),
            ..Names::default()
        }
    }

    #[test]
    fn labels_queries_and_words_are_told_apart() {
        for (template, wanted) in [
            ("The status of {{ $labels.status }}", "The status of {{ $labels.outcome }}"),
            (
                "{{ .CommonLabels.severity }}{{ .Labels.severity_x }}",
                "{{ .CommonLabels.priority }}{{ .Labels.severity_x }}",
            ),
            (
                r#"{{ index $labels "status" }} {{ index .Alerts 0 }}"#,
                r#"{{ index $labels "outcome" }} {{ index .Alerts 0 }}"#,
            ),
            (
                r#"{{ (.CommonLabels.Remove (stringSlice "alertname" "severity")).SortedPairs }}"#,
                r#"{{ (.CommonLabels.Remove (stringSlice "alertname" "priority")).SortedPairs }}"#,
            ),
            (
                r#"{{ with printf "max(agent_budget_usd{tenant_id=%q})" $labels.tenant_id | query }}{{ . }}{{ end }}"#,
                r#"{{ with printf "max(budget{customer=%q})" $labels.customer | query }}{{ . }}{{ end }}"#,
            ),
            (r#"{{ query "agent_budget_usd{tenant_id=\"a\"}" }}"#, r#"{{ query "budget{customer=\"a\"}" }}"#),
            // Not a query, and not a label.
            (
                r#"{{ printf "agent_budget_usd tenant_id }} %s" .Status }}"#,
                r#"{{ printf "agent_budget_usd tenant_id }} %s" .Status }}"#,
            ),
            (
                r#"{{ eq .Status "status" }} {{ .Annotations.status }} $labels.status"#,
                r#"{{ eq .Status "status" }} {{ .Annotations.status }} $labels.status"#,
            ),
            (r#"{{ if eq .Labels.severity "severity" }}"#, r#"{{ if eq .Labels.priority "severity" }}"#),
            ("{{/* agent_budget_usd by status */}}", "{{/* budget by status */}}"),
            ("agent_budget_usd is too low", "budget is too low"),
        ] {
            assert_eq!(apply(template, edits(template, &names())), wanted);
        }
    }

    #[test]
    fn queries_are_those_strings_that_are_asked() {
        let text =
            r#"{{ with query "a:b" }}{{ . | printf "%.2f" }}{{ end }}{{ printf "c{d=%q}" .e | query }}"#;
        assert_eq!(queries(text), ["a:b", "c{d=%q}"]);
    }
}
