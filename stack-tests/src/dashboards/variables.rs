//! Variables in queries, filled in as Grafana's pages do before they ask.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use super::text;

/// `$name`, `${name}`, `${name:format}`.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$\{([A-Za-z_]\w*)(?::(\w+))?\}|\$([A-Za-z_]\w*)").expect("a constant pattern")
});

/// What is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Everything, by the text that the variable has for it.
    All(String),
    /// These of many.
    Many(Vec<String>),
    /// One, of a variable that takes no more.
    One(String),
}

/// What is chosen of each variable of a dashboard.
pub type Choice = BTreeMap<String, Chosen>;

/// What is chosen of a variable with these values: all, or the first where one is wanted, as when a dashboard is opened;
/// `narrow` chooses two where many can be chosen: other brackets, the same data.
///
/// # Errors
/// That there is nothing to choose from.
pub fn chosen(variable: &Value, values: &[String], narrow: bool) -> Result<Chosen, String> {
    let first = || values.first().ok_or(format!("variable {} has no values", text(variable, "name")));
    match variable["allValue"].as_str() {
        Some(all) if variable["includeAll"] == true && !narrow => Ok(Chosen::All(all.to_owned())),
        Some(_) => first().map(|_| Chosen::Many(values.iter().take(2).cloned().collect())),
        None => Ok(Chosen::One(first()?.clone())),
    }
}

/// A text with the dashboard's own variables filled in, in the language of the data source. `$__…` is left to whoever asks.
///
/// # Errors
/// Names what nothing is known of.
pub fn fill(template: &str, choice: &Choice, lucene: bool) -> Result<String, String> {
    let mut unknown = None;
    let filled = VARIABLE.replace_all(template, |found: &Captures<'_>| {
        let name = found.get(1).or(found.get(3)).map_or("", |name| name.as_str());
        if let Some(chosen) = choice.get(name) {
            return written(chosen, found.get(2).map(|format| format.as_str()), lucene);
        }
        if !name.starts_with("__") {
            unknown = Some(name.to_owned());
        }
        found[0].to_owned()
    });
    match unknown {
        Some(name) => Err(format!("no variable {name} for {template}")),
        None => Ok(filled.into_owned()),
    }
}

fn written(chosen: &Chosen, format: Option<&str>, lucene: bool) -> String {
    match chosen {
        // A text for all is taken as it is, whatever the format.
        Chosen::All(text) => text.clone(),
        Chosen::One(value) => value.clone(),
        Chosen::Many(values) if format == Some("pipe") => values.join("|"),
        Chosen::Many(values) if lucene => {
            let quoted: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
            format!("({})", quoted.join(" OR "))
        }
        Chosen::Many(values) => {
            let escaped: Vec<_> =
                values.iter().map(|value| regex::escape(value).replace('\\', "\\\\")).collect();
            format!("({})", escaped.join("|"))
        }
    }
}

/// All texts in a query, filled in.
///
/// # Errors
/// Names what nothing is known of.
pub fn fill_all(query: &Value, choice: &Choice, lucene: bool) -> Result<Value, String> {
    Ok(match query {
        Value::String(text) => fill(text, choice, lucene)?.into(),
        Value::Array(items) => {
            items.iter().map(|item| fill_all(item, choice, lucene)).collect::<Result<_, _>>()?
        }
        Value::Object(fields) => {
            let filled =
                fields.iter().map(|(name, value)| Ok((name.clone(), fill_all(value, choice, lucene)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_gets_its_own_brackets() {
        let many = Chosen::Many(vec!["acme".into(), "b-c".into()]);
        let choice = |chosen: &Chosen| Choice::from([("tenant".to_owned(), chosen.clone())]);
        let filled =
            |text: &str, chosen: &Chosen, lucene| fill(text, &choice(chosen), lucene).expect("known");
        assert_eq!(filled(r#"a{t=~"$tenant"}[$__range]"#, &many, false), r#"a{t=~"(acme|b\\-c)"}[$__range]"#);
        assert_eq!(filled("t:/${tenant:pipe}/", &many, true), "t:/acme|b-c/");
        assert_eq!(filled("t:$tenant", &many, true), r#"t:("acme" OR "b-c")"#);
        assert_eq!(filled("t:/${tenant:pipe}/", &Chosen::All(".*".into()), true), "t:/.*/");
        assert_eq!(filled("${tenant}", &Chosen::One("acme".into()), false), "acme");
    }

    #[test]
    fn an_unknown_variable_is_an_error() {
        assert_eq!(fill("a{b=\"$c\"}", &Choice::new(), false), Err("no variable c for a{b=\"$c\"}".into()));
    }
}
