//! Reads a pipeline as Logstash does. The grammar is our own, in the terms of a well-kept parser generator: what there is
//! ready-made is Logstash itself, and a Python package.

use std::collections::BTreeMap;

use pest::{Parser as _, iterators::Pair};

/// The parser that pest makes of `config.pest`.
mod generated {
    #![allow(missing_docs, clippy::pedantic)]
    #[derive(pest_derive::Parser)]
    #[grammar = "tests/logstash/config.pest"]
    pub(super) struct Config;
}
use generated::{Config, Rule};

/// A plugin in a pipeline, with its settings as they are written.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// `input`, `filter` or `output`.
    pub(crate) section: String,
    /// For example `file`.
    pub(crate) name: String,
    /// Strings without their quotes.
    pub(crate) settings: BTreeMap<String, String>,
}

/// The plugins of a pipeline, in order, those in branches too.
///
/// # Errors
/// Where the text is not the language.
pub(crate) fn plugins(text: &str) -> Result<Vec<Plugin>, String> {
    let config = Config::parse(Rule::config, text).map_err(|e| e.to_string())?;
    let mut plugins = Vec::new();
    for section in config.flat_map(Pair::into_inner).filter(|pair| pair.as_rule() == Rule::section) {
        let mut parts = section.into_inner();
        let kind = parts.next().map(|kind| kind.as_str().to_owned()).unwrap_or_default();
        for statement in parts {
            collect(&kind, statement, &mut plugins);
        }
    }
    Ok(plugins)
}

fn collect(section: &str, pair: Pair<'_, Rule>, plugins: &mut Vec<Plugin>) {
    if pair.as_rule() != Rule::plugin {
        for inner in pair.into_inner() {
            collect(section, inner, plugins);
        }
        return;
    }
    let mut parts = pair.into_inner();
    let name = parts.next().map(|name| name.as_str().to_owned()).unwrap_or_default();
    let mut settings = BTreeMap::new();
    for setting in parts {
        let mut sides = setting.into_inner();
        if let (Some(key), Some(value)) = (sides.next(), sides.next()) {
            settings.insert(unquoted(key.as_str()), unquoted(value.as_str().trim()));
        }
    }
    plugins.push(Plugin { section: section.to_owned(), name, settings });
}

fn unquoted(text: &str) -> String {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text).to_owned()
}

/// Refuses what Logstash refuses: a check of the checker.
///
/// # Errors
/// What was taken, or not.
pub(crate) fn tells_right_from_wrong() -> Result<(), String> {
    for right in [
        "input { stdin {} }",
        "# comment\nfilter { if [a] == \"b\" and !([c][d] in [1, 2]) { drop { id => x } } else if [m] =~ /\\A\\s*\\z/ { mutate { } } else { } }",
        "output { file { path => ['a', \"b\"] codec => line { format => \"%{m}\" } opts => { \"k\" => 1 \"l\" => 2 } } }",
    ] {
        plugins(right).map_err(|e| format!("{right}: {e}"))?;
    }
    for wrong in [
        "",
        "inputs { stdin {} }",
        "input { stdin { }",
        "input { stdin { id = \"x\" } }",
        "input { stdin { id => \"x } }",
        "filter { if [a] { drop {} } else drop {} }",
        "filter { if [a] = 1 { drop {} } }",
        "input { stdin {} } }",
    ] {
        if plugins(wrong).is_ok() {
            return Err(format!("taken for a pipeline: {wrong}"));
        }
    }
    Ok(())
}
