//! The page beside an export: what goes where.

use crate::{
    MAPPING,
    mapping::Urls,
    names::Names,
    parts::{Part, Request},
};

/// The page, for what was asked.
pub(crate) fn of(part: Part, request: &Request<'_>) -> String {
    let page = match part {
        Part::Prometheus => include_str!("readme/prometheus.md"),
        Part::Grafana => include_str!("readme/grafana.md"),
        Part::Alertmanager => include_str!("readme/alertmanager.md"),
        Part::Logstash => include_str!("readme/logstash.md"),
        Part::Jaeger => include_str!("readme/jaeger.md"),
    };
    let agent = request.names.job("example-agent").unwrap_or("example-agent");
    let links = match (&request.urls.runbooks, &request.urls.grafana) {
        (Some(_), Some(_)) => include_str!("readme/links-fixed.md"),
        _ => include_str!("readme/links.md"),
    };
    let uid = |uid: &str| request.names.sources.get(uid).map_or(uid.to_owned(), |source| source.uid.clone());
    let label = |label: &str| request.names.label(label).unwrap_or(label).to_owned();
    let mapping = format!("`{MAPPING}` has what was mapped: keep it for the next export.");
    page.replace("{links}", links.trim_end())
        .replace("{agent}", agent)
        .replace("{severity}", &label("severity"))
        .replace("{team}", &label("team"))
        .replace("{thresholds}", request.thresholds)
        .replace("{mounted}", crate::parts::MOUNTED)
        .replace("{prometheus}", &uid("prometheus"))
        .replace("{elasticsearch}", &uid("elasticsearch"))
        .replace("{elasticsearch-audit}", &uid("elasticsearch-audit"))
        .replace("{jaeger}", &uid("jaeger"))
        .replace("{mapping}", if is_mapped(request) { &mapping } else { "All names are the kit's own." })
}

fn is_mapped(request: &Request<'_>) -> bool {
    let Request { names, urls, folder, .. } = *request;
    *names != Names::default() || *urls != Urls::default() || folder.is_some()
}
