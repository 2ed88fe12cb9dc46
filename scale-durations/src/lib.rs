//! Copies of `prometheus/` and `alertmanager/` that do the same in a fraction of the time, so that an alert's whole
//! life can be waited for: in a test, or by somebody who looks round.
//!
//! Only durations change; comments, layout and what people read stay as they are. Rules are found by their place in
//! the YAML, durations in expressions by PromQL's own tokens.

mod duration;
mod promql;
pub mod tokens;

use std::{fs, io, ops::Range, path::Path, path::PathBuf};

use saphyr::{LoadableYamlNode, MarkedYaml};
use thiserror::Error;

/// Scraping and notifying more often than once a second costs more than it shows.
const SECOND: u64 = 1000;

/// Why a folder could not be copied.
#[derive(Debug, Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A file is not YAML.
    #[error("{0}: not YAML: {1}")]
    Yaml(PathBuf, String),
    /// The copy would be part of what is copied.
    #[error("{0} is inside the folder to be copied: choose another one")]
    Inside(PathBuf),
}

/// Writes a copy of the folder `from` to `to`, with all durations divided by `factor`. Folders named `tests` are left
/// out: they say when an alert must fire in full time.
///
/// Files are overwritten in place and keep their identity: a container may have one mounted. What else is in `to` stays.
pub fn folder(from: &Path, to: &Path, factor: u32) -> Result<(), Error> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(at(path));
    if absolute(to)?.starts_with(absolute(from)?) {
        return Err(Error::Inside(to.to_owned()));
    }
    copy(from, to, factor)
}

fn copy(from: &Path, to: &Path, factor: u32) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let source = entry.map_err(at(from))?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        if source.is_dir() {
            if !source.ends_with("tests") {
                copy(&source, &target, factor)?;
            }
        } else if source.extension().is_some_and(|ext| ext == "yml" || ext == "yaml") {
            let text = fs::read_to_string(&source).map_err(at(&source))?;
            let scaled = yaml(&text, factor).map_err(|e| Error::Yaml(source, e))?;
            fs::write(&target, scaled).map_err(at(&target))?;
        } else {
            let bytes = fs::read(&source).map_err(at(&source))?;
            fs::write(&target, bytes).map_err(at(&target))?;
        }
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    |error| Error::Io(path.to_owned(), error)
}

/// The text of a Prometheus configuration, a rule file or an Alertmanager configuration with its durations divided by
/// `factor`. Other YAML comes back unchanged.
///
/// # Errors
/// What is wrong with the YAML, and where.
pub fn yaml(text: &str, factor: u32) -> Result<String, String> {
    let documents = MarkedYaml::load_from_str(text).map_err(|e| e.to_string())?;
    // The parser counts characters, slices count bytes.
    let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut edits = Vec::new();
    for document in &documents {
        collect(document, &mut Vec::new(), &mut |node, kind| {
            let Some(value) = node.data.as_str() else { return };
            let range = offsets[node.span.start.index()]..offsets[node.span.end.index()];
            edits.push((range.clone(), kind.scaled(&text[range], value, factor)));
        });
    }
    Ok(apply(text, edits))
}

/// What stands at a place in the YAML.
#[derive(Clone, Copy)]
enum Kind {
    /// A duration that is never divided below this many milliseconds.
    Duration(u64),
    /// An expression.
    PromQl,
}

impl Kind {
    /// What is at a path of keys, `-` being an element of a list.
    fn of(path: &[&str]) -> Option<Self> {
        match path {
            ["groups", "-", "interval"]
            | ["global", "scrape_interval" | "scrape_timeout" | "evaluation_interval" | "resolve_timeout"]
            | ["scrape_configs", "-", "scrape_interval" | "scrape_timeout"]
            | ["route", .., "group_wait" | "group_interval" | "repeat_interval"] => {
                Some(Self::Duration(SECOND))
            }
            ["groups", "-", "rules", "-", "for" | "keep_firing_for"] => Some(Self::Duration(0)),
            ["groups", "-", "rules", "-", "expr"] => Some(Self::PromQl),
            _ => None,
        }
    }

    /// `source` is the scalar as written, `value` what it means. Quoted ones are written anew, in the same quotes,
    /// because an expression's own strings are escaped in them.
    fn scaled(self, source: &str, value: &str, factor: u32) -> String {
        let divide = |text: &str| match self {
            Self::Duration(floor) => {
                duration::divided(text, factor, floor).unwrap_or_else(|| text.to_owned())
            }
            Self::PromQl => promql::divided(text, factor),
        };
        // Before a closing bracket the parser counts the space to the scalar.
        let (source, space) = source.split_at(source.trim_end().len());
        let scaled = match source.chars().next() {
            Some('\'') => format!("'{}'", divide(value).replace('\'', "''")),
            Some('"') => serde_json::Value::from(divide(value)).to_string(),
            _ => divide(source),
        };
        scaled + space
    }
}

/// Calls `found` for every scalar that has a [`Kind`].
fn collect<'y>(node: &'y MarkedYaml, path: &mut Vec<&'y str>, found: &mut impl FnMut(&MarkedYaml, Kind)) {
    if let Some(kind) = Kind::of(path) {
        found(node, kind);
    } else if let Some(mapping) = node.data.as_mapping() {
        for (key, value) in mapping {
            path.push(key.data.as_str().unwrap_or_default());
            collect(value, path, found);
            path.pop();
        }
    } else if let Some(sequence) = node.data.as_sequence() {
        path.push("-");
        for element in sequence {
            collect(element, path, found);
        }
        path.pop();
    }
}

fn apply(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    // What an alias repeats is found again where its anchor is.
    edits.dedup();
    let mut out = text.to_owned();
    for (range, new) in edits.into_iter().rev() {
        out.replace_range(range, &new);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_change_in_their_durations_only() {
        let rules = r#"# – 5m –
groups:
  - name: 5m
    interval: 1m # 1m
    rules:
      - record: agent:errors:rate5m
        expr: rate(errors_total{window="5m"}[5m])
      - alert: Slow
        expr: |
          # over 5m
          p95_5m > 2
            and on () up offset 1h == 1
        for: 10m
        keep_firing_for: 5m
        labels: { for: 5m, expr: "x[5m]" }
        annotations:
          description: Ten, for  10m {{ $value }}.
      - { record: q, expr: 'a{b=''5m''}[1h]' }
      - { record: q, expr: "a{b=\"5m\"}[1h]" }
      - { alert: q, for: 10m }
"#;
        let wanted = rules
            .replace("interval: 1m #", "interval: 3s #")
            .replace("}[5m])", "}[15s])")
            .replace("offset 1h", "offset 3m")
            .replace(" for: 10m", " for: 30s")
            .replace("keep_firing_for: 5m", "keep_firing_for: 15s")
            .replace("[1h]", "[3m]");
        assert_eq!(yaml(rules, 20).unwrap(), wanted);
    }

    #[test]
    fn a_configuration_keeps_within_what_the_programs_take() {
        let prometheus = "global: {scrape_interval: 5s, scrape_timeout: 4s, evaluation_interval: 1m}\nscrape_configs:\n  - job_name: 1m\n    scrape_interval: 1m\n";
        let wanted = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 3s}\nscrape_configs:\n  - job_name: 1m\n    scrape_interval: 3s\n";
        assert_eq!(yaml(prometheus, 20).unwrap(), wanted);
        let alertmanager = "global:\n  resolve_timeout: 5m\nroute:\n  group_wait: 10s\n  routes:\n    - group_interval: 1m\n      repeat_interval: 4h\n";
        let wanted = "global:\n  resolve_timeout: 15s\nroute:\n  group_wait: 1s\n  routes:\n    - group_interval: 3s\n      repeat_interval: 12m\n";
        assert_eq!(yaml(alertmanager, 20).unwrap(), wanted);
    }

    #[test]
    fn a_factor_of_one_changes_nothing() {
        let text = "groups:\n  - rules:\n      - expr: >-\n          a[1h30m]\n        for: 90s\n";
        assert_eq!(yaml(text, 1).unwrap(), text);
    }

    #[test]
    fn what_is_no_yaml_is_said_so() {
        assert!(yaml("a: [", 20).is_err());
    }

    #[test]
    fn a_folder_is_not_copied_into_itself() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("fast");
        assert!(matches!(super::folder(folder.path(), &inside, 20), Err(Error::Inside(_))));
        assert!(!inside.exists());
    }

    #[test]
    fn a_folder_is_copied_without_its_tests_and_through_its_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["rules/tests", "templates"] {
            fs::create_dir_all(from.path().join(name)).unwrap();
        }
        fs::write(from.path().join("rules/a.yml"), "groups:\n- interval: 20m\n").unwrap();
        fs::write(from.path().join("rules/tests/a.yml"), "").unwrap();
        fs::write(from.path().join("templates/a.tmpl"), "20m").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("a.yml", from.path().join("rules/active.yml")).unwrap();
        folder(from.path(), to.path(), 20).unwrap();
        let read = |name: &str| fs::read_to_string(to.path().join(name)).unwrap();
        assert_eq!(read("rules/a.yml"), "groups:\n- interval: 1m\n");
        #[cfg(unix)]
        assert_eq!(read("rules/active.yml"), "groups:\n- interval: 1m\n");
        assert_eq!(read("templates/a.tmpl"), "20m");
        assert!(!to.path().join("rules/tests").exists());
    }
}
