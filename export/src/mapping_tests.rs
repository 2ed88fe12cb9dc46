use super::*;

fn kit() -> Vocabulary {
    Vocabulary::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("this repository")
}

fn refused(mapping: &str) -> String {
    let mapping: Mapping = toml::from_str(mapping).expect("a mapping");
    mapping.names(&kit()).map(drop).and_then(|()| mapping.links().map(drop)).expect_err("refused")
}

#[test]
fn a_mapping_that_cannot_be_is_refused_in_one_line() {
    for (mapping, wanted) in [
        ("metrics.agent_request_total = 'x'", "did you mean agent_requests_total?"),
        ("metrics.gibberish = 'x'", "the kit has no metric gibberish"),
        ("metrics.agent_request_duration_seconds_sum = 'x'", "map agent_request_duration_seconds"),
        ("metrics.'agent:requests:rate5m' = 'x'", "recorded by the kit's own rules"),
        ("metrics.up = 'x'", "the kit has no metric up"),
        ("metrics.agent_requests_total = '1x'", "no name of a metric"),
        ("metrics.agent_requests_total = 'http.requests'", "no name of a metric"),
        ("metrics.agent_requests_total = 'by'", "no name of a metric"),
        ("metrics.agent_requests_total = 'agent_errors_total'", "agent_errors_total is called so as well"),
        ("metrics.agent_requests_total = 'x'\nmetrics.agent_errors_total = 'x'", "cannot become x"),
        ("metrics.agent_requests_total = 'agent_request_duration_seconds_count'", "is called so as well"),
        ("metrics.agent_requests_total = 'agent:requests:rate5m'", "is called so as well"),
        ("labels.le = 'x'", "Prometheus' own"),
        ("labels.tenant = 'x'", "did you mean tenant_id?"),
        ("labels.tenant_id = 'a-b'", "no name of a label"),
        ("labels.tenant_id = '__x'", "no name of a label"),
        ("labels.tenant_id = 'status'", "status is called so as well"),
        ("labels.tenant_id = 'alertname'", "alertname is called so as well"),
        ("labels.tenant_id = 'part'", "part is called so as well"),
        ("jobs.nginx = 'x'", "the kit has no job nginx"),
        ("jobs.jaeger = 'a|b'", "more than letters"),
        ("jobs.jaeger = 'grafana'", "grafana is called so as well"),
        ("datasources.loki = 'x'", "the kit has no datasource loki"),
        ("datasources.prometheus = 'a b'", "no uid"),
        ("datasources.prometheus = 'a:'", "no name after the colon"),
        ("datasources.prometheus = 'jaeger'", "jaeger is called so as well"),
        ("urls.kibana = 'http://x'", "there is no kibana"),
        ("urls.grafana = 'grafana.example'", "no address"),
        ("urls.grafana = 'https://x/{{ .y }}'", "no address"),
    ] {
        let said = refused(mapping);
        assert!(said.contains(wanted) && !said.contains('\n'), "{mapping}: {said}");
    }
}

#[test]
fn names_can_change_places_and_histograms_follow() {
    let mapping: Mapping = toml::from_str(
        "metrics.agent_requests_total = 'agent_errors_total'\nmetrics.agent_errors_total = 'agent_requests_total'\n\
         metrics.agent_request_duration_seconds = 'latency'\ndatasources.prometheus = 'P1:My Prometheus'",
    )
    .expect("a mapping");
    let names = mapping.names(&kit()).expect("sound");
    assert_eq!(names.metric("agent_errors_total"), Some("agent_requests_total"));
    assert_eq!(names.metric("agent_request_duration_seconds_bucket"), Some("latency_bucket"));
    assert_eq!(names.sources["prometheus"], Source { uid: "P1".into(), name: Some("My Prometheus".into()) });
}

#[test]
fn variables_overrule_the_file() {
    let file: Mapping = toml::from_str("metrics = { a = 'b', c = 'd' }\nfolder = 'x'").expect("a mapping");
    let variables = Mapping { metrics: pairs("a=e, f=g").expect("pairs"), ..Mapping::default() };
    let both = file.overruled_by(variables);
    assert_eq!(both.metrics, pairs("a=e,c=d,f=g").expect("pairs"));
    assert_eq!(both.folder.as_deref(), Some("x"));
    for bad in ["a", "=b", "a=", "a=b,a=c"] {
        assert!(pairs(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mapping.toml");
    fs::write(&path, "[metrics]\na = 'b'\n\n[metric]\n").expect("written");
    let said = Mapping::of_file(&path).expect_err("refused");
    assert!(
        said.contains("mapping.toml, line 4") && said.contains("metric") && !said.contains('\n'),
        "{said}"
    );
    assert!(Mapping::of_file(&folder.path().join("none.toml")).is_err());
}
