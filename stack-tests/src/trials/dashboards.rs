//! No dead panel: every query of every dashboard gives data on this stack.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{client, send},
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("dashboards::every_panel_has_data", &[], every_panel_has_data),
    Case::new("dashboards::grafana_has_each_of_them", &[Need::Service("grafana")], grafana_has_each_of_them),
];

/// The dashboards' files, each with its content.
fn dashboards() -> Result<Vec<(PathBuf, Value)>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana/dashboards");
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, String> {
        let read = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(read.filter_map(|entry| Some(entry.ok()?.path())).collect())
    };
    let folders = entries(&folder)?.into_iter().filter(|path| path.is_dir());
    let mut found = Vec::new();
    for file in folders.map(|folder| entries(&folder)).collect::<Result<Vec<_>, _>>()?.concat() {
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let content = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        found.push((file, content));
    }
    ensure(!found.is_empty(), || format!("no dashboard in {}", folder.display()))?;
    Ok(found)
}

/// Grafana fills these in before it asks: all tenants, four scrapes, the last half hour.
fn filled_in(expr: &str) -> String {
    expr.replace("$tenant", ".+").replace("$__rate_interval", "1m").replace("$__range", "30m")
}

fn every_panel_has_data(stack: &Stack) -> Result<(), String> {
    for (file, dashboard) in dashboards()? {
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let what = format!("{}: {} {}", file.display(), panel["title"], target["refId"]);
                let expr = target["expr"].as_str().ok_or(format!("{what} has no expression"))?;
                until(&what, SOON, || {
                    let series = stack.promql(&filled_in(expr))?;
                    ensure(!series.is_empty(), || format!("no data for {expr}"))
                })?;
            }
        }
    }
    Ok(())
}

fn grafana_has_each_of_them(stack: &Stack) -> Result<(), String> {
    for (file, dashboard) in dashboards()? {
        let uid = dashboard["uid"].as_str().ok_or(format!("{} has no uid", file.display()))?;
        let request = client().get(format!("{}/api/dashboards/uid/{uid}", stack.grafana));
        let answer = send(request.basic_auth("admin", Some(&stack.grafana_password)))?;
        expect(&format!("dashboard {uid}: {}", answer.text), answer.status, 200)?;
        expect("title", &answer.json()?["dashboard"]["title"], &dashboard["title"])?;
    }
    Ok(())
}
