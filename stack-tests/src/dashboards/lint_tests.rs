//! Each lint fails on what it is for, and on nothing else.

use std::path::Path;

use serde_json::json;

use super::*;

fn sound() -> Value {
    let prometheus = json!({"type": "prometheus", "uid": "prometheus"});
    json!({
        "uid": "agent-overview", "title": "Overview", "description": "All of it.", "tags": ["agent-kit"], "schemaVersion": 42,
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "keepTime": true, "includeVars": true, "url": ""}],
        "templating": {"list": [{"name": "tenant", "type": "query", "label": "Tenant", "description": "Whose.", "refresh": 2,
            "includeAll": true, "allValue": ".*", "datasource": prometheus, "query": {"query": "label_values(agent_requests_total, tenant_id)"}}]},
        "annotations": {"list": [{"name": "Firing", "datasource": prometheus, "expr": "ALERTS"}]},
        "panels": [
            {"id": 1, "type": "timeseries", "title": "Requests by tenant", "description": "Of each tenant.", "datasource": prometheus,
                "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8}, "fieldConfig": {"defaults": {"unit": "reqps",
                "links": [{"title": "Cost", "url": "/d/agent-cost?${__url_time_range}&${tenant:queryparam}"}]}},
                "targets": [{"refId": "A", "datasource": prometheus, "legendFormat": "{{tenant_id}}",
                    "expr": "sum by (tenant_id) (rate(agent_requests_total{tenant_id=~\"$tenant\"}[$__rate_interval]))"}]},
            {"id": 2, "type": "stat", "title": "P95", "description": "Of all tenants.", "datasource": prometheus,
                "gridPos": {"x": 12, "y": 0, "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": "s", "thresholds": {"steps": [{"color": "green", "value": null}]}}},
                "transformations": [{"id": "configFromData"}],
                "targets": [
                    {"refId": "A", "datasource": prometheus, "legendFormat": "now", "expr": "agent:request_duration_seconds:p95_5m"},
                    {"refId": "threshold", "datasource": prometheus, "legendFormat": "threshold", "instant": true, "expr": "agent:threshold:p95_seconds"}]}]
    })
}

fn problems(json: Value) -> Vec<String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let around = Surroundings {
        metrics: Known::of(&repository).expect("this repository"),
        dashboards: ["agent-overview", "agent-cost"].map(str::to_owned).into(),
        sources: SOURCES.map(str::to_owned).into(),
        source_names: ["Prometheus".to_owned()].into(),
    };
    lint(&Dashboard { file: "test.json".into(), json }, &around)
}

#[test]
fn nothing_is_wrong_with_a_sound_dashboard() {
    assert_eq!(problems(sound()), Vec::<String>::new());
}

#[test]
fn each_lint_can_fail() {
    let (one, two) = ("/panels/0", "/panels/1");
    let query = "/panels/0/targets/0";
    let cases = [
        ("/uid", json!("Agent Overview"), "lower-case"),
        ("/description", json!(""), "no title or no description"),
        ("/schemaVersion", json!(39), "schemaVersion"),
        ("/id", json!(7), "database"),
        ("/tags", json!([]), "no tag"),
        ("/time/from", json!("2026-01-01"), "up to now"),
        ("/links/0/keepTime", json!(false), "keep tenant and time"),
        ("/annotations/list/0/datasource/uid", json!("P1809F7CD0C75ACF3"), "none of the fixed"),
        (&format!("{query}/datasource/uid"), json!("${DS_PROMETHEUS}"), "none of the fixed"),
        ("/templating/list/0/allValue", json!(""), "no allValue"),
        ("/templating/list/0/refresh", json!(0), "not asked again"),
        ("/templating/list/0/description", json!(""), "no label or no description"),
        (&format!("{one}/gridPos/w"), json!(25), "columns"),
        (&format!("{one}/gridPos/w"), json!(13), "overlap"),
        (&format!("{one}/gridPos/y"), json!(20), "below the first screen"),
        (&format!("{one}/id"), json!(2), "another one's id"),
        (&format!("{one}/title"), json!("requests"), "no plain phrase"),
        (&format!("{one}/title"), json!("Requests By Tenant"), "capital letter"),
        (&format!("{one}/description"), json!("TODO"), "sentence"),
        (&format!("{one}/fieldConfig/defaults/unit"), json!(""), "no unit"),
        (&format!("{one}/targets"), json!([]), "asks nothing"),
        (&format!("{query}/refId"), json!(""), "no name of its own"),
        (&format!("{query}/datasource"), json!(null), "names no data source"),
        (&format!("{query}/legendFormat"), json!("__auto"), "no legend"),
        (&format!("{query}/legendFormat"), json!("{{model}}"), "does not keep the legend's model"),
        (
            &format!("{query}/expr"),
            json!("sum by (tenant_id) (agent_requests{tenant_id=~\"$tenant\"})"),
            "no metric agent_requests",
        ),
        (
            &format!("{query}/expr"),
            json!("sum by (tenant_id) (rate(agent_requests_total[5m]))"),
            "window of 5m",
        ),
        (
            &format!("{query}/expr"),
            json!("sum by (tenant_id) (agent_requests_total{tenant_id=\"acme\"})"),
            "written out",
        ),
        (&format!("{query}/query"), json!("tenant_id:acme AND x"), "written out"),
        (
            &format!("{one}/fieldConfig/defaults/links/0/url"),
            json!("/d/agent-gone?${__url_time_range}"),
            "which there is not",
        ),
        (&format!("{one}/fieldConfig/defaults/links/0/url"), json!("/d/agent-cost"), "keep the time range"),
        (
            &format!("{one}/fieldConfig/defaults/links/0/url"),
            json!("http://grafana.local/d/agent-cost"),
            "somebody's host",
        ),
        (
            &format!("{one}/fieldConfig/defaults/links/0/url"),
            json!("/d/agent-cost?${__url_time_range}&var-tenant=acme"),
            "written out",
        ),
        (&format!("{two}/transformations"), json!([]), "need one another"),
        (&format!("{two}/targets/1/legendFormat"), json!("limit"), "another legend"),
        (&format!("{two}/fieldConfig/defaults/thresholds/steps"), json!([]), "base step"),
    ];
    for (place, value, wanted) in cases {
        let mut json = sound();
        if place == "/id" {
            json["id"] = value;
        } else if let Some(target) = json.pointer_mut(place) {
            *target = value;
        } else {
            let (parent, key) = place.rsplit_once('/').expect("a path");
            json.pointer_mut(parent).expect("a place in the sound one")[key] = value;
        }
        let found = problems(json);
        assert!(
            found.iter().any(|problem| problem.contains(wanted)),
            "{place}: wanted {wanted:?}, got {found:?}"
        );
    }
}
