//! With everything renamed nothing of the kit's names is left, and the programs take it as they take the original.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use export::{document, edit::apply, names::Names, promql, vocabulary::Vocabulary};
use libtest_mimic::Trial;
use promql_parser::{
    label::Labels,
    parser::{Expr, LabelModifier, VectorMatchCardinality, VectorSelector, parse},
    util::{ExprVisitor, walk_expr},
};
use regex::Regex;
use stack_tests::dashboards;

use crate::{PARTS, ensure, everything, export, files, kit, trial, with};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = PARTS
        .into_iter()
        .map(|(part, program)| with(program, format!("renamed::{part}"), move || is_sound(part)))
        .collect();
    trials.push(trial("renamed::a_parser_sees_the_same_expressions", parser_agrees));
    trials.push(trial("renamed::the_example_maps_what_there_is", example));
    trials
}

static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new("[A-Za-z_:][A-Za-z0-9_:]*").expect("a pattern"));
/// What of a dashboard asks Elasticsearch: names of fields.
static FIELDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#""query": "[^"]*(?:tenant_id:|message:)|"field": |"displayedFields"|_exists_"#)
        .expect("a pattern")
});

fn is_sound(part: &str) -> Result<(), String> {
    let (words, mapping, _) = everything()?;
    let file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let text = toml::to_string(&mapping).map_err(|e| e.to_string())?;
    fs::write(file.path(), &text).map_err(|e| e.to_string())?;
    let (folder, said) = export(part, &["--map", &file.path().display().to_string()])?;
    ensure(!said.contains("WRONG"), || said.clone())?;
    let mut written = files(folder.path())?;
    let kept = written.remove(Path::new("mapping.toml")).ok_or("the mapping is not kept")?;
    ensure(kept == text, || format!("the mapping that is kept is another one: {kept}"))?;
    for (path, text) in &written {
        nothing_left(part, path, text, &words)?;
    }
    Ok(())
}

fn nothing_left(part: &str, path: &Path, text: &str, words: &Vocabulary) -> Result<(), String> {
    let said = |name: &str| format!("{} still has {name}", path.display());
    // Whatever the language, and whatever stands round it: no metric is left.
    let metrics: BTreeSet<_> = words
        .metrics
        .iter()
        .flat_map(|metric| [vec![metric.clone()], words.series(metric)].concat())
        .collect();
    for name in NAME.find_iter(text) {
        ensure(!metrics.contains(name.as_str()), || said(name.as_str()))?;
    }
    // A label that is no everyday word is nothing else either, but a field of a log line.
    let labels = words.labels.iter().filter(|label| label.contains('_'));
    let labels: BTreeSet<_> = labels.filter(|label| *label != "trace_id").collect();
    let has_fields =
        path.starts_with("runbooks") || path.starts_with("pipeline") || path.starts_with("elasticsearch");
    if !has_fields && path != Path::new("README.md") {
        let json = text.lines().filter(|line| part != "grafana" || !FIELDS.is_match(line));
        for name in json.flat_map(|line| NAME.find_iter(line)) {
            let is_column = part == "grafana" && name.as_str() == "tenant_id";
            ensure(is_column || !labels.contains(&name.as_str().to_owned()), || said(name.as_str()))?;
        }
    }
    if part == "grafana" && path.extension().is_some_and(|extension| extension == "json") {
        for source in &words.sources {
            for left in [format!("\"uid\": \"{source}\""), format!("%22{source}%22%2C%22queries")] {
                ensure(!text.contains(&left), || said(&left))?;
            }
        }
        // Columns of tables that ask Elasticsearch keep their names; all others have lost them.
        let json: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        for panel in json["panels"].as_array().into_iter().flatten() {
            let asks_elasticsearch = panel["datasource"]["type"] == "elasticsearch";
            let left = panel.to_string().contains("tenant_id");
            ensure(asks_elasticsearch || panel["type"] == "row" || !left, || {
                said(&format!("tenant_id in {}", panel["title"]))
            })?;
        }
    }
    Ok(())
}

/// What a parser of the language sees in an expression.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Seen {
    fn of(expr: &str) -> Result<Self, String> {
        let mut seen = Self::default();
        walk_expr(&mut seen, &parse(expr).map_err(|e| format!("{expr}: {e}"))?)?;
        Ok(seen)
    }

    fn renamed(&self, names: &Names) -> Self {
        let metric = |name: &String| names.metric(name).unwrap_or(name).to_owned();
        let label = |name: &String| names.label(name).unwrap_or(name).to_owned();
        Self {
            metrics: self.metrics.iter().map(metric).collect(),
            labels: self.labels.iter().map(label).collect(),
        }
    }

    fn list(&mut self, labels: &Labels) {
        self.labels.extend(labels.labels.iter().cloned());
    }

    fn modifier(&mut self, modifier: Option<&LabelModifier>) {
        if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = modifier {
            self.list(labels);
        }
    }

    fn selector(&mut self, selector: &VectorSelector) {
        self.metrics.extend(selector.name.clone());
        self.labels.extend(selector.matchers.matchers.iter().map(|matcher| matcher.name.clone()));
    }
}

impl ExprVisitor for Seen {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::Aggregate(aggregation) => self.modifier(aggregation.modifier.as_ref()),
            Expr::Binary(binary) => {
                if let Some(modifier) = &binary.modifier {
                    self.modifier(modifier.matching.as_ref());
                    if let VectorMatchCardinality::ManyToOne(labels)
                    | VectorMatchCardinality::OneToMany(labels) = &modifier.card
                    {
                        self.list(labels);
                    }
                }
            }
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Call(call) if call.func.name == "label_replace" => {
                for at in [1, 3] {
                    if let Expr::StringLiteral(label) = &*call.args.args[at] {
                        self.labels.extend(Some(label.val.clone()).filter(|label| !label.is_empty()));
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// All expressions of the kit. Grafana's variables are filled in: a parser does not know them.
fn expressions() -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for folder in ["rules", "thresholds"] {
        for text in files(&kit().join("prometheus").join(folder))?.values() {
            let scalars = document::scalars(text)?;
            let exprs = scalars
                .iter()
                .filter(|scalar| !scalar.is_key && scalar.path.last().is_some_and(|key| key == "expr"));
            // A block's text begins with its mark, and its lines with the indentation.
            found.extend(exprs.map(|scalar| scalar.text().trim_start_matches(['|', '>', '-']).to_owned()));
        }
    }
    for page in files(&kit().join("docs/runbooks"))?.values() {
        found.extend(
            page.split("```promql\n").skip(1).filter_map(|rest| Some(rest.split("```").next()?.to_owned())),
        );
    }
    for dashboard in dashboards::load(&kit().join("grafana/dashboards"))? {
        for query in dashboard.queries() {
            let expr = query.json["expr"].as_str().unwrap_or_default();
            let expr =
                expr.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("${scope}", "agent");
            found.extend(Some(expr).filter(|expr| !expr.is_empty()));
        }
    }
    Ok(found)
}

/// Our tokens are held against a parser that others keep: for every expression, before and after.
fn parser_agrees() -> Result<(), String> {
    let (_, _, names) = everything()?;
    let expressions = expressions()?;
    ensure(expressions.len() > 200, || format!("only {} expressions", expressions.len()))?;
    for expr in expressions {
        let wanted = Seen::of(&expr)?.renamed(&names);
        let got = Seen::of(&apply(&expr, promql::edits(&expr, &names)))?;
        ensure(got == wanted, || format!("{expr}:\n{got:?}, wanted\n{wanted:?}"))?;
    }
    Ok(())
}

/// The example of the documentation is one that can be taken.
fn example() -> Result<(), String> {
    let map = kit().join("export/mapping.example.toml").display().to_string();
    let (folder, said) = export("grafana", &["--map", &map])?;
    ensure(said.contains("checked      dashboards"), || said.clone())?;
    let overview =
        fs::read_to_string(folder.path().join("dashboards/agent/tenants.json")).map_err(|e| e.to_string())?;
    ensure(overview.contains("label_values(llm_requests_total, customer)"), || {
        "the example maps nothing".into()
    })
}
