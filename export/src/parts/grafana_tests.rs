use serde_json::json;

use super::*;
use crate::{edit::apply, names::Source};

fn names() -> Names {
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect();
    let source = |uid: &str, name: Option<&str>| Source { uid: uid.into(), name: name.map(str::to_owned) };
    Names {
        metrics: map(&[("a_total", "b_total")]),
        labels: map(&[("tenant_id", "customer"), ("severity", "priority")]),
        services: map(&[("example-agent", "their-agent")]),
        sources: [
            ("prometheus".to_owned(), source("P1", Some("Mimir"))),
            ("jaeger".to_owned(), source("J1", None)),
            ("elasticsearch".to_owned(), source("E1", None)),
        ]
        .into(),
        ..Names::default()
    }
}

fn renamed(json: &Value) -> Value {
    serde_json::from_str(&dashboard(&json.to_string(), &names()).expect("JSON")).expect("JSON")
}

#[test]
fn what_asks_prometheus_gets_other_names() {
    let link = "/d/x?var-tenant=${__field.labels.tenant_id}&var-tenant_id=${tenant_id}";
    let panel = renamed(&json!({"panels": [{
        "title": "a_total by tenant_id", "description": "Red above a_total.", "datasource": {"type": "prometheus", "uid": "prometheus"},
        "targets": [{"datasource": {"uid": "prometheus"}, "expr": "sum by (tenant_id) (a_total)", "legendFormat": "{{ tenant_id }} tenant_id"}],
        "transformations": [
            {"options": {"byField": "tenant_id"}},
            {"options": {"renameByName": {"tenant_id": "Tenant"}, "indexByName": {"tenant_id": 1}}}],
        "options": {"datasource": "Prometheus", "alertInstanceLabelFilter": "{severity!=\"none\"}"},
        "fieldConfig": {"defaults": {"links": [{"url": link}]}},
    }]}));
    let panel = &panel["panels"][0];
    assert_eq!(panel["title"], "b_total by tenant_id");
    assert_eq!(panel["description"], "Red above b_total.");
    assert_eq!(panel["datasource"]["uid"], "P1");
    assert_eq!(panel["targets"][0]["datasource"]["uid"], "P1");
    assert_eq!(panel["targets"][0]["expr"], "sum by (customer) (b_total)");
    assert_eq!(panel["targets"][0]["legendFormat"], "{{ customer }} tenant_id");
    assert_eq!(panel["transformations"][0]["options"]["byField"], "customer");
    assert_eq!(panel["transformations"][1]["options"]["renameByName"], json!({"customer": "Tenant"}));
    assert_eq!(panel["transformations"][1]["options"]["indexByName"], json!({"customer": 1}));
    assert_eq!(
        panel["options"],
        json!({"datasource": "Mimir", "alertInstanceLabelFilter": "{priority!=\"none\"}"})
    );
    let wanted = "/d/x?var-tenant=${__field.labels.customer}&var-tenant_id=${tenant_id}";
    assert_eq!(panel["fieldConfig"]["defaults"]["links"][0]["url"], wanted);
}

#[test]
fn fields_of_log_lines_keep_theirs_in_folded_rows_too() {
    let logs = json!({
        "title": "Lines", "datasource": {"type": "elasticsearch", "uid": "elasticsearch"},
        "targets": [{"query": "tenant_id:/$t/", "bucketAggs": [{"field": "tenant_id"}]}],
        "transformations": [{"options": {"byField": "tenant_id", "renameByName": {"tenant_id": "Tenant"}}}],
        "options": {"displayedFields": ["tenant_id"]},
        "fieldConfig": {"defaults": {"links": [{"url": "/d/x?var-one=${__field.labels.tenant_id}"}]}},
    });
    let other = json!({"datasource": {"uid": "prometheus"}, "targets": []});
    let found = renamed(&json!({"panels": [other, {"type": "row", "panels": [other, logs]}]}));
    let mut wanted = logs.clone();
    wanted["datasource"]["uid"] = "E1".into();
    assert_eq!(found["panels"][1]["panels"][1], wanted);
}

#[test]
fn variables_annotations_and_traces_follow() {
    let found = renamed(&json!({
        "templating": {"list": [{"name": "tenant_id", "definition": "label_values(a_total, tenant_id)",
            "query": {"query": "label_values(a_total, tenant_id)"}, "regex": "tenant_id"}]},
        "annotations": {"list": [{"expr": "a_total{severity=\"x\"}", "titleFormat": "{{severity}}", "tagKeys": "alertname,severity"}]},
        "panels": [{"datasource": {"uid": "jaeger"}, "targets": [{"service": "example-agent", "operation": "example-agent"}]}],
    }));
    let variable = &found["templating"]["list"][0];
    assert_eq!(variable["definition"], "label_values(b_total, customer)");
    assert_eq!(variable["query"]["query"], "label_values(b_total, customer)");
    assert_eq!((&variable["name"], &variable["regex"]), (&"tenant_id".into(), &"tenant_id".into()));
    let annotation = &found["annotations"]["list"][0];
    assert_eq!(annotation["expr"], "b_total{priority=\"x\"}");
    assert_eq!(
        (&annotation["titleFormat"], &annotation["tagKeys"]),
        (&"{{priority}}".into(), &"alertname,priority".into())
    );
    assert_eq!(
        found["panels"][0]["targets"][0],
        json!({"service": "their-agent", "operation": "example-agent"})
    );
}

#[test]
fn links_into_explore_name_the_adopters_sources() {
    let url = "/explore?panes=%7B%22a%22%3A%7B%22datasource%22%3A%22jaeger%22%2C%22queries%22%3A%5B%7B%22datasource%22%3A%7B%22type%22%3A%22jaeger%22%2C%22uid%22%3A%22jaeger%22%7D%2C%22service%22%3A%22example-agent%22%7D%5D%7D%7D";
    let wanted = "/explore?panes=%7B%22a%22%3A%7B%22datasource%22%3A%22J1%22%2C%22queries%22%3A%5B%7B%22datasource%22%3A%7B%22type%22%3A%22jaeger%22%2C%22uid%22%3A%22J1%22%7D%2C%22service%22%3A%22their-agent%22%7D%5D%7D%7D";
    assert_eq!(apply(url, explore(url, &names())), wanted);
}

#[test]
fn one_folder_is_put_into_the_provider() {
    let before = "providers:\n  - name: x\n    orgId: 1\n    options:\n      path: ${DASHBOARDS_PATH}\n      foldersFromFilesStructure: true\n";
    let edited = |folder| {
        document::edited(before, &Names::default(), |scalar| of_provider(scalar, folder)).expect("YAML")
    };
    let mounted = before.replace("${DASHBOARDS_PATH}", MOUNTED);
    assert_eq!(edited(None), mounted);
    let wanted =
        mounted.replace("orgId: 1", "orgId: 1\n    folder: 'LLM agents'").replace(": true", ": false");
    assert_eq!(edited(Some("LLM agents")), wanted);
}
