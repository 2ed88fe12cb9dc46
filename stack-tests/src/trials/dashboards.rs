//! No dead panel: every query of every dashboard gives data on this stack.

use std::{env, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Case, Need, ensure, expect, grafana::api, logs};
use crate::{
    dashboards::{
        Dashboard,
        ask::{Asking, sources},
        load,
        walk::{Manner, absent, all_well, sum, walk},
    },
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("dashboards::every_panel_has_data", &[], every_panel_has_data),
    Case::new(
        "dashboards::every_panel_has_data_through_grafana",
        &[GRAFANA],
        every_panel_has_data_through_grafana,
    ),
    Case::new("dashboards::an_export_works_under_other_uids", &[], export_works_under_other_uids),
    Case::new(
        "dashboards::an_export_works_in_a_grafana_with_other_uids",
        &[GRAFANA],
        export_works_in_another_grafana,
    ),
    Case::new("dashboards::grafana_has_each_of_them", &[GRAFANA], grafana_has_each_of_them),
];

const GRAFANA: Need = Need::Service("grafana");
const CALM: Manner = Manner { last: None, drilled: false };

fn all() -> Result<Vec<Dashboard>, String> {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana/dashboards"))
}

/// Walks until all is well: what is scraped or recorded once a minute may not be there yet.
fn walk_all(stack: &Stack, asking: &Asking<'_>, dashboards: &[Dashboard]) -> Result<(), String> {
    logs::have_lines(stack)?;
    let absent = absent(stack)?;
    until("every panel has data", 6 * SOON, || {
        let asked = walk(asking, dashboards, CALM, &absent);
        all_well(&asked).map_err(|wrong| format!("{}\n{wrong}", sum(&asked)))
    })
}

fn every_panel_has_data(stack: &Stack) -> Result<(), String> {
    walk_all(stack, &Asking::of(stack, sources(&str::to_owned), false), &all()?)
}

fn every_panel_has_data_through_grafana(stack: &Stack) -> Result<(), String> {
    walk_all(stack, &Asking::of(stack, sources(&str::to_owned), true), &all()?)
}

fn theirs(uid: &str) -> String {
    format!("their-{uid}")
}

/// What `make export` writes for somebody whose data sources have other uids.
fn exported() -> Result<Vec<Dashboard>, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let uids: Vec<_> = sources(&str::to_owned)
        .into_keys()
        .map(|uid| {
            // The list of alerts refers to its source by name.
            let name = if uid == "prometheus" { ":Their Prometheus" } else { "" };
            format!("{uid}={}{name}", theirs(&uid))
        })
        .collect();
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["run", "--quiet", "--locked", "-p", "export", "--", "--part=grafana", "--datasources"])
        .args([&uids.join(","), "--out"])
        .arg(folder.path())
        .output()
        .map_err(|e| format!("export: {e}"))?;
    ensure(output.status.success(), || {
        let said = [output.stdout, output.stderr].concat();
        format!("export: {}: {}", output.status, String::from_utf8_lossy(&said))
    })?;
    load(&folder.path().join("dashboards"))
}

fn export_works_under_other_uids(stack: &Stack) -> Result<(), String> {
    walk_all(stack, &Asking::of(stack, sources(&theirs), false), &exported()?)
}

/// Of the sources that are ours; Grafana's own keep theirs.
fn rename(uid: &str) -> String {
    if sources(&str::to_owned).contains_key(uid) || uid == "alertmanager" {
        theirs(uid)
    } else {
        uid.to_owned()
    }
}

fn grafana_has_each_of_them(stack: &Stack) -> Result<(), String> {
    for dashboard in all()? {
        let uid = dashboard.uid();
        let answer = api(stack, &format!("GET /api/dashboards/uid/{uid}"), None)?;
        expect("title", &answer["dashboard"]["title"], &dashboard.json["title"])?;
        ensure(answer["meta"]["provisioned"] == true, || format!("{uid} does not come from its file"))?;
    }
    Ok(())
}

/// Somebody's Grafana has the same services under other uids, and an export is imported there.
fn export_works_in_another_grafana(stack: &Stack) -> Result<(), String> {
    let ours = api(stack, "GET /api/datasources", None)?;
    let ours = ours.as_array().into_iter().flatten().map(|source| {
        // The list leaves out who asks.
        api(stack, &format!("GET /api/datasources/uid/{}", text(source, "uid")), None)
    });
    let ours = ours.collect::<Result<Vec<_>, _>>()?;
    let (mut made, mut imported) = (Vec::new(), Vec::new());
    let result = (|| {
        for source in ours.iter().filter(|source| rename(text(source, "uid")) != text(source, "uid")) {
            made.push(add_source(stack, source)?);
        }
        let mut dashboards = Vec::new();
        for mut dashboard in exported()? {
            dashboard.json["uid"] = theirs(dashboard.uid()).into();
            dashboard.json["title"] = format!("{} (imported)", text(&dashboard.json, "title")).into();
            let body = json!({"dashboard": dashboard.json, "overwrite": true});
            api(stack, "POST /api/dashboards/db", Some(&body))?;
            imported.push(dashboard.uid().to_owned());
            dashboards.push(dashboard);
        }
        walk_all(stack, &Asking::of(stack, sources(&theirs), true), &dashboards)
    })();
    for uid in imported {
        api(stack, &format!("DELETE /api/dashboards/uid/{uid}"), None)?;
    }
    for uid in made {
        api(stack, &format!("DELETE /api/datasources/uid/{uid}"), None)?;
    }
    result
}

/// A data source like one that is there, under another uid and name.
fn add_source(stack: &Stack, source: &Value) -> Result<String, String> {
    let mut copy = source.clone();
    let uid = theirs(text(source, "uid"));
    copy["name"] = format!("Their {}", text(source, "name")).into();
    copy["uid"] = uid.clone().into();
    copy["isDefault"] = false.into();
    for key in ["id", "readOnly", "version"] {
        copy.as_object_mut().ok_or("a data source is no object")?.remove(key);
    }
    if text(source, "type") == "elasticsearch" {
        let password = stack.elasticsearch_password(text(source, "basicAuthUser"))?;
        copy["secureJsonData"] = json!({"basicAuthPassword": password});
    }
    api(stack, "POST /api/datasources", Some(&copy))?;
    Ok(uid)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}
