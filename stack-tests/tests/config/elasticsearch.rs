//! `elasticsearch/`: that its files fit together, and the log's page to them. The stack's trials ask a real node.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use libtest_mimic::Trial;
use regex::Regex;
use saphyr::YamlOwned;
use serde_json::Value;

use crate::{ensure, files, read, rules, stem, trial};

pub(crate) fn trials(repository: &Path) -> Vec<Trial> {
    let own = |name: &str, check: fn(&Path) -> Result<(), String>| {
        let repository = repository.to_owned();
        trial(format!("elasticsearch::{name}"), move || check(&repository))
    };
    vec![
        own("every_field_of_the_log_has_a_mapping", every_field_has_a_mapping),
        own("every_alias_leads_to_a_field", every_alias_leads_to_a_field),
        own("every_index_has_a_template_with_a_policy", every_index_has_a_template),
        own("a_day_with_an_index_is_a_day_that_is_kept", days_fit),
        own("every_user_has_a_role_and_a_secret", every_user_has_a_role_and_a_secret),
        own("jaeger_looks_as_far_back_as_spans_are_kept", jaeger_looks_as_far_back),
        own("the_stand_in_has_its_plugin", the_stand_in_has_its_plugin),
        own("json_is_formatted", json_is_formatted),
    ]
}

fn json(path: &Path) -> Result<Value, String> {
    serde_json::from_str(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

/// The files of one folder under `elasticsearch/`, by name.
fn folder(repository: &Path, name: &str) -> Result<BTreeMap<String, Value>, String> {
    let files = files(&repository.join("elasticsearch").join(name), "json");
    ensure(!files.is_empty(), || format!("no JSON in elasticsearch/{name}"))?;
    files.iter().map(|path| Ok((stem(path), json(path)?))).collect()
}

fn fields(repository: &Path) -> Result<Value, String> {
    let component = &folder(repository, "components")?["agent-fields"];
    Ok(component["template"]["mappings"]["properties"].clone())
}

/// The names in the column of a page's tables that has this heading. A name is in back quotes.
fn names(page: &str, heading: &Regex) -> BTreeSet<String> {
    let quoted = Regex::new("`([a-z0-9_]+)`").expect("a valid expression");
    let (mut column, mut found) = (None, BTreeSet::new());
    for line in page.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            column = None;
        } else if column.is_none() {
            // A table's first line says which of its columns it is, if any.
            column = Some(cells.iter().position(|cell| heading.is_match(cell)));
        } else if let Some(Some(column)) = column {
            let cell = cells.get(column).copied().unwrap_or_default();
            found.extend(quoted.captures_iter(cell).map(|name| name[1].to_owned()));
        }
    }
    found
}

fn every_field_has_a_mapping(repository: &Path) -> Result<(), String> {
    let page = read(&repository.join("docs/logs.md"))?;
    let heading =
        Regex::new("^(common field|request field|fields|audit field)$").expect("a valid expression");
    let mut documented = names(&page, &heading);
    ensure(documented.len() > 50, || format!("docs/logs.md names only {documented:?}"))?;
    // The format's version, the same on every line, is not kept; the plain text `error` of some lines of the process is
    // where ECS has it, in error.message.
    ensure(documented.remove("v") && documented.remove("error"), || {
        "docs/logs.md has no `v` or `error`".into()
    })?;
    let fields = fields(repository)?;
    ensure(fields["error"]["properties"]["message"].is_object(), || "no error.message".into())?;
    let lacking: Vec<_> = documented.iter().filter(|name| fields[name]["type"].is_null()).collect();
    ensure(lacking.is_empty(), || format!("agent-fields.json lacks {lacking:?} of docs/logs.md"))
}

fn every_alias_leads_to_a_field(repository: &Path) -> Result<(), String> {
    let fields = fields(repository)?;
    for (name, field) in fields.as_object().into_iter().flatten() {
        let Some(path) = field["path"].as_str() else { continue };
        let pointer = format!("/{}/type", path.replace('.', "/properties/"));
        let kind = fields.pointer(&pointer).and_then(Value::as_str);
        ensure(kind.is_some_and(|kind| kind != "alias"), || {
            format!("{name} leads to {path}, which is no field")
        })?;
    }
    Ok(())
}

/// The names of indices that the kit writes, one of each kind.
const INDICES: [&str; 10] = [
    "agent-logs-2026.01.02",
    "agent-logs-unparsed-2026.01",
    "agent-logs-dead-2026.01",
    "agent-logs-outside-2026.01",
    "agent-audit-2026.01.02",
    "agent-audit-unparsed-2026.01",
    "agent-audit-dead-2026.01",
    "agent-audit-outside-2026.01",
    "agent-kit-jaeger-span-2026-01-02",
    "agent-kit-jaeger-service-2026-01-02",
];

fn matches(pattern: &str, index: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == index, |start| index.starts_with(start))
}

fn patterns(names: &Value) -> impl Iterator<Item = &str> {
    names.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn every_index_has_a_template(repository: &Path) -> Result<(), String> {
    let (policies, components) = (folder(repository, "policies")?, folder(repository, "components")?);
    let templates = folder(repository, "templates")?;
    let mut used = BTreeSet::new();
    for (name, template) in &templates {
        for component in patterns(&template["composed_of"]) {
            ensure(components.contains_key(component), || format!("{name}: no component {component}"))?;
        }
        let policy = template["template"]["settings"]["index"]["lifecycle"]["name"].as_str();
        let policy = policy.ok_or(format!("{name} has no policy: its indices would be kept for ever"))?;
        ensure(policies.contains_key(policy), || format!("{name}: no policy {policy}"))?;
        used.insert(policy);
    }
    let idle: Vec<_> = policies.keys().filter(|policy| !used.contains(policy.as_str())).collect();
    ensure(idle.is_empty(), || format!("policies of no index: {idle:?}"))?;
    for index in INDICES {
        let of =
            |template: &&Value| patterns(&template["index_patterns"]).any(|pattern| matches(pattern, index));
        let priorities: Vec<_> = templates.values().filter(of).map(|t| t["priority"].as_u64()).collect();
        let first = priorities.iter().filter(|priority| Some(*priority) == priorities.iter().max()).count();
        ensure(first == 1, || format!("not one template for {index}"))?;
    }
    Ok(())
}

/// Days of retention of a policy.
fn days_of(repository: &Path, policy: &str) -> Result<u64, String> {
    let policies = folder(repository, "policies")?;
    let age = policies[policy]["policy"]["phases"]["delete"]["min_age"].as_str().unwrap_or_default();
    let days = age.strip_suffix('d').and_then(|days| days.parse().ok());
    days.ok_or(format!("{policy}: not a number of days: {age}"))
}

/// A day that Logstash opens an index for is one that Elasticsearch keeps, and all that can be open at once is far from the most shards
/// that a node takes.
fn days_fit(repository: &Path) -> Result<(), String> {
    let pipeline = read(&repository.join("logstash/pipeline/agent-logs.conf"))?;
    let mut indices = 0;
    for (stream, variable) in [("agent-logs", "LOGSTASH_LOG_DAYS"), ("agent-audit", "LOGSTASH_AUDIT_DAYS")] {
        let days = days_of(repository, stream)?;
        ensure(pipeline.contains(&format!("${{{variable}:{days}}}")), || {
            format!("{stream} is kept {days} days, which is not the default of {variable} in agent-logs.conf")
        })?;
        let monthly = days_of(repository, &format!("{stream}-monthly"))?;
        // An index of a month is made at its first day or later, and has lines up to its last.
        ensure(monthly >= days + 31, || {
            format!("{stream}-monthly ends {monthly} days after its index is made")
        })?;
        indices += days + 2 + 3 * (monthly / 28 + 2);
    }
    indices += 2 * (days_of(repository, "agent-traces")? + 2);
    ensure(indices <= 600, || format!("{indices} indices of a shard each, of the 1000 that a node takes"))
}

fn every_user_has_a_role_and_a_secret(repository: &Path) -> Result<(), String> {
    let roles = folder(repository, "roles")?;
    let secrets = read(&repository.join("secrets/README.md"))?;
    let handed_out = stack_tests::secrets::read_by(repository, "elasticsearch-setup")?;
    let users = stack_tests::elasticsearch::users(&repository.join("elasticsearch"))?;
    for (user, (role, secret)) in &users {
        ensure(role == "built-in" || roles.contains_key(role), || format!("{user}: no role {role}"))?;
        ensure(secrets.contains(&format!("| `{secret}` |")), || format!("secrets/README.md lacks {secret}"))?;
        ensure(handed_out.contains(secret), || format!("the setup does not get {secret}"))?;
    }
    for (role, rights) in &roles {
        for names in rights["indices"].as_array().into_iter().flatten().map(|one| &one["names"]) {
            for pattern in patterns(names).filter(|pattern| *pattern != "*") {
                ensure(INDICES.iter().any(|index| matches(pattern, index)), || {
                    format!("{role} has rights on {pattern}, which is no index of ours")
                })?;
            }
        }
    }
    Ok(())
}

fn jaeger_looks_as_far_back(repository: &Path) -> Result<(), String> {
    let config = read(&repository.join("jaeger/elasticsearch.yaml"))?;
    let number = |text: &str, expression: &str| -> Option<u64> {
        Regex::new(expression).expect("a valid expression").captures(text)?[1].parse().ok()
    };
    let hours = number(&config, r"max_span_age: (\d+)h").ok_or("no max_span_age in hours")?;
    let policy = &folder(repository, "policies")?["agent-traces"];
    let age = policy["policy"]["phases"]["delete"]["min_age"].as_str().unwrap_or_default();
    let days = number(age, r"^(\d+)d$").ok_or(format!("not a number of days: {age}"))?;
    ensure(hours == days * 24, || format!("spans are kept {days} days, Jaeger looks {hours} hours back"))?;
    ensure(config.contains("index_prefix: agent-kit\n"), || {
        "Jaeger's prefix is not that of its template".into()
    })
}

/// The stand-in's plugin is compiled for one version of Elasticsearch. It may be another than the pinned one.
fn the_stand_in_has_its_plugin(repository: &Path) -> Result<(), String> {
    let dockerfile = read(&repository.join("images/elasticsearch/Dockerfile"))?;
    let version = Regex::new(r"ARG ELASTICSEARCH_VERSION=([0-9.]+)\n").expect("a valid expression");
    let version = &version.captures(&dockerfile).ok_or("the stand-in has no version")?[1];
    let plugin = "images/elasticsearch/plugin/plugin-descriptor.properties";
    let line = format!("elasticsearch.version={version}\n");
    ensure(read(&repository.join(plugin))?.contains(&line), || format!("{plugin} is for another version"))
}

/// How wide a line may be before an object or a list is spread over several.
const WIDTH: usize = 110;

fn json_is_formatted(repository: &Path) -> Result<(), String> {
    for part in ["components", "policies", "roles", "templates"] {
        for path in files(&repository.join("elasticsearch").join(part), "json") {
            // JSON is YAML too, and this reader keeps the order of an object's members.
            let wanted = format!("{}\n", formatted(&rules::load(&path)?, 0, 0));
            ensure(read(&path)? == wanted, || format!("{} should be:\n{wanted}", path.display()))?;
        }
    }
    Ok(())
}

/// What fits goes on one line; a file's outermost object never does.
fn formatted(value: &YamlOwned, indent: usize, before: usize) -> String {
    let line = on_one_line(value);
    if indent > 0 && indent + before + line.chars().count() < WIDTH {
        return line;
    }
    let (open, close, parts): (_, _, Vec<String>) = if let Some(map) = value.as_mapping() {
        let member = |(key, value): (&YamlOwned, &YamlOwned)| {
            let key = format!("{}: ", on_one_line(key));
            let value = formatted(value, indent + 2, key.chars().count());
            key + &value
        };
        ('{', '}', map.iter().map(member).collect())
    } else if let Some(list) = value.as_sequence() {
        ('[', ']', list.iter().map(|value| formatted(value, indent + 2, 0)).collect())
    } else {
        return line;
    };
    let (outer, inner) = (" ".repeat(indent), " ".repeat(indent + 2));
    let body: Vec<_> = parts.iter().map(|part| format!("{inner}{part}")).collect();
    format!("{open}\n{}\n{outer}{close}", body.join(",\n"))
}

fn on_one_line(value: &YamlOwned) -> String {
    if let Some(map) = value.as_mapping() {
        let parts: Vec<_> =
            map.iter().map(|(key, value)| format!("{}: {}", on_one_line(key), on_one_line(value))).collect();
        if parts.is_empty() { "{}".into() } else { format!("{{ {} }}", parts.join(", ")) }
    } else if let Some(list) = value.as_sequence() {
        format!("[{}]", list.iter().map(on_one_line).collect::<Vec<_>>().join(", "))
    } else if let Some(text) = value.as_str() {
        Value::from(text).to_string()
    } else if let Some(number) = value.as_integer() {
        number.to_string()
    } else {
        value.as_bool().map_or_else(|| format!("{value:?}"), |truth| truth.to_string())
    }
}
