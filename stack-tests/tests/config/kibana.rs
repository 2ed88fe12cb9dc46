//! `kibana/`: saved objects that hang together, have the shape that Kibana's migrations begin with, and ask only for fields
//! that the index templates have. That Kibana takes them shows where it runs: kibana-setup fails otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use libtest_mimic::Trial;
use regex::Regex;
use serde_json::Value;

use crate::{ensure, read, trial};

/// The version of each type's shape, as exports of Kibana 8.19 and 9 name it: a later Kibana migrates from there. Without one
/// it would begin with the migrations of version 6, which these objects are not made for.
const SHAPES: [(&str, &str); 4] =
    [("index-pattern", "8.0.0"), ("search", "10.5.0"), ("lens", "8.9.0"), ("dashboard", "10.3.0")];
/// The attributes of a search in that version, all that Kibana's schema asks for and none that it does not know.
const SEARCH_ATTRIBUTES: [&str; 9] = [
    "columns",
    "description",
    "grid",
    "hideChart",
    "isTextBasedQuery",
    "kibanaSavedObjectMeta",
    "sort",
    "timeRestore",
    "title",
];

pub(crate) fn trials(repository: &Path) -> Vec<Trial> {
    let own = |name: &str, check: fn(&Objects) -> Result<(), String>| {
        let repository = repository.to_owned();
        trial(format!("kibana::{name}"), move || check(&Objects::read(&repository)?))
    };
    vec![
        own("every_object_has_an_id_of_its_own_and_a_shape_that_kibana_knows", shapes),
        own("every_reference_leads_to_an_object_and_is_used", references),
        own("every_data_view_finds_indices_of_the_templates", data_views),
        own("every_field_is_in_the_templates", fields),
        own("every_panel_of_the_dashboard_has_its_object_and_its_place", dashboard),
        own("every_chart_shows_columns_that_it_has", charts),
    ]
}

struct Objects {
    all: Vec<Value>,
    /// The fields that can be searched, and their types.
    fields: BTreeMap<String, String>,
    /// The patterns of the index templates.
    patterns: Vec<String>,
}

impl Objects {
    fn read(repository: &Path) -> Result<Self, String> {
        let json = |path: &str| -> Result<Value, String> {
            serde_json::from_str(&read(&repository.join(path))?).map_err(|e| format!("{path}: {e}"))
        };
        let file = read(&repository.join("kibana/saved-objects.ndjson"))?;
        let objects: Result<Vec<Value>, _> = file.lines().map(serde_json::from_str).collect();
        let mut fields = BTreeMap::new();
        let component = json("elasticsearch/components/agent-fields.json")?;
        mapped(&component["template"]["mappings"], "", &mut fields);
        let mut patterns = Vec::new();
        for template in ["agent-logs", "agent-audit"] {
            let template = json(&format!("elasticsearch/templates/{template}.json"))?;
            mapped(&template["template"]["mappings"], "", &mut fields);
            let of_template = template["index_patterns"].as_array().into_iter().flatten();
            patterns.extend(of_template.filter_map(Value::as_str).map(str::to_owned));
        }
        Ok(Self { all: objects.map_err(|e| format!("saved-objects.ndjson: {e}"))?, fields, patterns })
    }

    fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all.iter().filter(move |object| object["type"] == kind)
    }
}

/// The leaves of a mapping, with those of multi-fields.
fn mapped(mapping: &Value, above: &str, fields: &mut BTreeMap<String, String>) {
    for (name, field) in mapping["properties"].as_object().into_iter().flatten() {
        let path = format!("{above}{name}");
        if let Some(kind) = field["type"].as_str() {
            let kind = if kind == "alias" { field["path"].as_str().unwrap_or_default() } else { kind };
            fields.insert(path.clone(), kind.to_owned());
        }
        for (sub, field) in field["fields"].as_object().into_iter().flatten() {
            fields.insert(format!("{path}.{sub}"), field["type"].as_str().unwrap_or_default().to_owned());
        }
        mapped(field, &format!("{path}."), fields);
    }
}

fn name(object: &Value) -> String {
    format!("{}:{}", object["type"].as_str().unwrap_or("?"), object["id"].as_str().unwrap_or("?"))
}

/// JSON that stands in a string.
fn inner(text: &Value) -> Result<Value, String> {
    let text = text.as_str().ok_or_else(|| format!("{text} is no text"))?;
    serde_json::from_str(text).map_err(|e| format!("{e}: {text}"))
}

fn shapes(objects: &Objects) -> Result<(), String> {
    let names: BTreeSet<_> = objects.all.iter().map(name).collect();
    ensure(names.len() == objects.all.len() && names.len() > 10, || format!("only {names:?}"))?;
    for object in &objects.all {
        let shape = SHAPES.iter().find(|(kind, _)| object["type"] == *kind);
        ensure(shape.is_some_and(|(_, version)| object["typeMigrationVersion"] == *version), || {
            format!("{} has shape {}", name(object), object["typeMigrationVersion"])
        })?;
        ensure(object["coreMigrationVersion"] == "8.8.0", || format!("{}: core version", name(object)))?;
        ensure(object["id"].as_str().is_some_and(|id| id.starts_with("agent-")), || {
            format!("{} could be somebody else's", name(object))
        })?;
        let title = object["attributes"]["name"].as_str().or_else(|| object["attributes"]["title"].as_str());
        ensure(title.is_some_and(|title| !title.is_empty()), || format!("{} has no title", name(object)))?;
    }
    for search in objects.of_type("search") {
        let attributes = search["attributes"].as_object().ok_or("no attributes")?;
        let has: BTreeSet<_> = attributes.keys().map(String::as_str).collect();
        ensure(has == SEARCH_ATTRIBUTES.into(), || format!("{} has {has:?}", name(search)))?;
        ensure(!search["attributes"]["description"].as_str().unwrap_or_default().is_empty(), || {
            format!("{} does not say what it finds", name(search))
        })?;
    }
    Ok(())
}

fn references(objects: &Objects) -> Result<(), String> {
    let names: BTreeSet<_> = objects.all.iter().map(name).collect();
    for object in &objects.all {
        let references =
            object["references"].as_array().ok_or_else(|| format!("{}: no list", name(object)))?;
        for reference in references {
            ensure(names.contains(&name(reference)), || {
                format!("{} refers to {}", name(object), name(reference))
            })?;
        }
        let said: BTreeSet<_> =
            references.iter().filter_map(|r| r["name"].as_str().map(str::to_owned)).collect();
        let used = match object["type"].as_str() {
            Some("search") => {
                let source = inner(&object["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])?;
                [source["indexRefName"].as_str().unwrap_or_default().to_owned()].into()
            }
            Some("lens") => {
                layers(object).map(|(id, _)| format!("indexpattern-datasource-layer-{id}")).collect()
            }
            Some("dashboard") => panels(object)?.iter().map(panel_reference).collect(),
            _ => BTreeSet::new(),
        };
        ensure(said == used, || format!("{} refers to {said:?} and uses {used:?}", name(object)))?;
    }
    Ok(())
}

fn data_views(objects: &Objects) -> Result<(), String> {
    let mut seen = 0;
    for view in objects.of_type("index-pattern") {
        ensure(view["attributes"]["timeFieldName"] == "@timestamp", || format!("{}: no time", name(view)))?;
        let title = view["attributes"]["title"].as_str().unwrap_or_default();
        for pattern in title.split(',') {
            let found = pattern.trim_start_matches('-').trim_end_matches('*');
            let known = objects.patterns.iter().any(|known| found.starts_with(known.trim_end_matches('*')));
            ensure(known, || format!("{}: no template for {pattern}", name(view)))?;
            seen += 1;
        }
        // A format for a field that is not there would show nowhere.
        for field in inner(&view["attributes"]["fieldFormatMap"])?.as_object().into_iter().flatten() {
            ensure(objects.fields.contains_key(field.0), || format!("{}: no field {}", name(view), field.0))?;
        }
    }
    ensure(seen > 4, || "no patterns".into())
}

/// The fields that a KQL query asks for.
fn fields_of(kuery: &str) -> Vec<String> {
    let field = Regex::new(r"([A-Za-z_@][A-Za-z0-9_.@]*)\s*(?::|>=|<=|>|<)").expect("a constant pattern");
    let values = Regex::new(r#""[^"]*""#).expect("a constant pattern");
    let bare = values.replace_all(kuery, "\"\"");
    field.captures_iter(&bare).map(|found| found[1].to_owned()).collect()
}

fn fields(objects: &Objects) -> Result<(), String> {
    let mut asked: BTreeSet<(String, String)> = BTreeSet::new();
    let mut aggregated: BTreeSet<(String, String)> = BTreeSet::new();
    for search in objects.of_type("search") {
        let attributes = &search["attributes"];
        let source = inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])?;
        ensure(source["query"]["language"] == "kuery", || format!("{}: no KQL", name(search)))?;
        let kuery = source["query"]["query"].as_str().unwrap_or_default();
        asked.extend(fields_of(kuery).into_iter().map(|field| (name(search), field)));
        let columns = attributes["columns"].as_array().into_iter().flatten().filter_map(Value::as_str);
        asked.extend(columns.map(|field| (name(search), field.to_owned())));
        for sort in attributes["sort"].as_array().into_iter().flatten() {
            aggregated.insert((name(search), sort[0].as_str().unwrap_or_default().to_owned()));
        }
    }
    for chart in objects.of_type("lens") {
        let mut queries = vec![&chart["attributes"]["state"]["query"]];
        for (_, layer) in layers(chart) {
            for column in layer["columns"].as_object().into_iter().flatten().map(|(_, column)| column) {
                queries.push(&column["filter"]);
                let field = column["sourceField"].as_str().unwrap_or_default();
                if field != "___records___" {
                    aggregated.insert((name(chart), field.to_owned()));
                }
            }
        }
        for query in queries.into_iter().filter_map(|query| query["query"].as_str()) {
            asked.extend(fields_of(query).into_iter().map(|field| (name(chart), field)));
        }
    }
    ensure(asked.len() > 20 && aggregated.len() > 10, || format!("only {asked:?} and {aggregated:?}"))?;
    for (object, field) in asked.iter().chain(&aggregated) {
        ensure(objects.fields.contains_key(field), || {
            format!("{object} asks for {field}, which no index has")
        })?;
    }
    // A text has no values to sort and to group by.
    for (object, field) in &aggregated {
        ensure(objects.fields[field] != "text", || format!("{object} groups by {field}, which is a text"))?;
    }
    Ok(())
}

fn panels(dashboard: &Value) -> Result<Vec<Value>, String> {
    let panels = inner(&dashboard["attributes"]["panelsJSON"])?;
    panels.as_array().cloned().ok_or_else(|| "panelsJSON is no list".into())
}

/// The name under which a dashboard's reference for a panel stands.
fn panel_reference(panel: &Value) -> String {
    let text = |key: &str| panel[key].as_str().unwrap_or_default().to_owned();
    format!("{}:{}", text("panelIndex"), text("panelRefName"))
}

fn dashboard(objects: &Objects) -> Result<(), String> {
    let dashboard = objects.of_type("dashboard").next().ok_or("no dashboard")?;
    let references = dashboard["references"].as_array().cloned().unwrap_or_default();
    let mut cells = BTreeSet::new();
    let panels = panels(dashboard)?;
    ensure(panels.len() > 4, || format!("only {} panels", panels.len()))?;
    for panel in &panels {
        let at = panel_reference(panel);
        let reference = references.iter().find(|reference| reference["name"] == at.as_str());
        let reference = reference.ok_or_else(|| format!("panel {at} shows nothing"))?;
        ensure(reference["type"] == panel["type"], || format!("panel {at} is a {}", panel["type"]))?;
        ensure(panel["gridData"]["i"] == panel["panelIndex"], || format!("panel {at} has no place"))?;
        let number = |key: &str| panel["gridData"][key].as_u64().unwrap_or(u64::MAX);
        let (x, y, w, h) = (number("x"), number("y"), number("w"), number("h"));
        ensure(w > 0 && h > 0 && x.saturating_add(w) <= 48 && h < 100, || {
            format!("panel {at} does not fit")
        })?;
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            ensure(cells.insert(cell), || format!("panel {at} covers another at {cell:?}"))?;
        }
    }
    inner(&dashboard["attributes"]["optionsJSON"]).map(drop)
}

/// The layers of a chart, by their ids.
fn layers(chart: &Value) -> impl Iterator<Item = (&String, &Value)> {
    chart["attributes"]["state"]["datasourceStates"]["formBased"]["layers"].as_object().into_iter().flatten()
}

fn charts(objects: &Objects) -> Result<(), String> {
    for chart in objects.of_type("lens") {
        let visualization = &chart["attributes"]["state"]["visualization"];
        let shown: BTreeSet<String> = match chart["attributes"]["visualizationType"].as_str() {
            Some("lnsXY") => {
                let layer = &visualization["layers"][0];
                let accessors = layer["accessors"].as_array().into_iter().flatten();
                let axes = [&layer["xAccessor"], &layer["splitAccessor"]];
                accessors.chain(axes).filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some("lnsDatatable") => {
                let columns = visualization["columns"].as_array().into_iter().flatten();
                columns.filter_map(|column| column["columnId"].as_str()).map(str::to_owned).collect()
            }
            other => return Err(format!("{} is a {other:?}", name(chart))),
        };
        let (_, layer) = layers(chart).next().ok_or_else(|| format!("{} has no layer", name(chart)))?;
        let columns = layer["columns"].as_object().ok_or("no columns")?;
        let order = layer["columnOrder"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let order: BTreeSet<_> = order.map(str::to_owned).collect();
        let has: BTreeSet<_> = columns.keys().cloned().collect();
        ensure(shown == has && order == has, || {
            format!("{} has {has:?}, orders {order:?} and shows {shown:?}", name(chart))
        })?;
        for column in columns.values() {
            let by = column["params"]["orderBy"]["columnId"].as_str();
            ensure(by.is_none_or(|by| has.contains(by)), || format!("{} orders by {by:?}", name(chart)))?;
        }
    }
    Ok(())
}
