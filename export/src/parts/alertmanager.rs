//! Routes, receivers and templates, and the routes' test.

use std::{path::Path, sync::LazyLock};

use regex::Regex;

use super::{File, Request, file, within};
use crate::{
    document::{self, Scalar},
    edit::Edit,
    names::Names,
    promql, template,
};

/// A line that an adopter switches on by taking off its mark.
static MARK: LazyLock<Regex> = LazyLock::new(|| Regex::new("^#[a-z]+ ").expect("a constant pattern"));

pub(super) fn files(request: &Request<'_>) -> Result<Vec<File>, String> {
    let names = request.names;
    let path = Path::new("alertmanager/alertmanager.yml");
    let mut files =
        vec![file("alertmanager.yml", config(&request.read(path)?, names).map_err(within(path))?)];
    for path in request.list("alertmanager/templates", "tmpl")? {
        let text = request.read(&path)?;
        let text = crate::edit::apply(&text, template::edits(&text, names));
        files.push(file(path.strip_prefix("alertmanager").unwrap_or(&path), text));
    }
    files.push(file("tests/routes.txt", routes(&request.read("alertmanager/tests/routes.txt")?, names)));
    Ok(files)
}

/// The configuration, those lines too that are not switched on.
fn config(text: &str, names: &Names) -> Result<String, String> {
    let marks: Vec<_> = text.lines().map(|line| MARK.find(line).map_or("", |mark| mark.as_str())).collect();
    let lines = text.lines().zip(&marks).map(|(line, mark)| &line[mark.len()..]);
    let on = lines.collect::<Vec<_>>().join("\n") + "\n";
    let changed = document::edited(&on, names, |scalar| of_config(scalar, names))?;
    let marked = changed.lines().zip(&marks).map(|(line, mark)| format!("{mark}{line}\n"));
    Ok(marked.collect())
}

fn of_config(scalar: &Scalar<'_>, names: &Names) -> Vec<Edit> {
    match scalar.at()[..] {
        [.., "group_by" | "equal", "-"] => scalar.renamed(|label| names.label(label).map(str::to_owned)),
        [.., "matchers" | "source_matchers" | "target_matchers", "-"] => scalar.edits(|matcher| {
            let selector = format!("{{{matcher}}}");
            let edits = promql::edits(&selector, names).into_iter();
            edits.map(|edit| Edit::new(edit.start - 1..edit.end - 1, edit.new)).collect()
        }),
        _ if !scalar.is_key && template::is_template(scalar.source) => {
            scalar.edits(|text| template::edits(text, names))
        }
        _ => Vec::new(),
    }
}

/// `receivers label=value …` on each line.
fn routes(text: &str, names: &Names) -> String {
    let label = |pair: &str| match pair.split_once('=') {
        Some((label, value)) => format!("{}={value}", names.label(label).unwrap_or(label)),
        None => pair.to_owned(),
    };
    let line = |line: &str| {
        if line.starts_with('#') {
            return format!("{line}\n");
        }
        line.split(' ').map(label).collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_change_wherever_alertmanager_names_them() {
        let pairs = [("tenant_id", "customer"), ("severity", "priority"), ("status", "outcome")];
        let names = Names {
            labels: pairs.map(|(from, to)| (from.to_owned(), to.to_owned())).into(),
            ..Names::default()
        };
        let before = "# severity=\"x\"\nroute:\n  group_by: [alertname, tenant_id]\n  routes:\n\
            #page     - matchers: [severity=\"critical\"] # severity\n\
            \x20   - matchers: ['severity=~\"tenant_id|b\"', \"team!=\\\"severity\\\"\"]\n\
            inhibit_rules:\n  - source_matchers: [severity = critical]\n    equal: [job, tenant_id]\n\
            receivers:\n#page   - name: severity\n#page     x: '{{ if eq .Status \"status\" }}{{ .CommonLabels.severity }}{{ end }}'\n";
        let wanted = before
            .replace("# severity=", "# priority=")
            .replace("[alertname, tenant_id]", "[alertname, customer]")
            .replace("[severity=", "[priority=")
            .replace("'severity=~", "'priority=~")
            .replace("[severity = ", "[priority = ")
            .replace("[job, tenant_id]", "[job, customer]")
            .replace("Labels.severity", "Labels.priority");
        assert_eq!(config(before, &names).expect("YAML"), wanted);
        assert_eq!(config(before, &Names::default()).expect("YAML"), before);
        let before = "# severity=x\na,b alertname=X severity=critical tenant_id=severity\n";
        let wanted = "# severity=x\na,b alertname=X priority=critical customer=severity\n";
        assert_eq!(routes(before, &names), wanted);
    }
}
