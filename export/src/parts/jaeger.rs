//! Jaeger's configuration, its page, and what Elasticsearch needs to know for it.

use std::{path::Path, sync::LazyLock};

use regex::Regex;

use super::{File, Request, elasticsearch, file, within};
use crate::{
    document,
    edit::{Edit, View},
    mapping::Urls,
    names::Names,
    promql,
};

/// A link to Prometheus: where it is, and the query.
static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(https?://[^/]+)/query\?g0\.expr=([^&]*)").expect("a constant pattern"));

pub(super) fn files(request: &Request<'_>) -> Result<Vec<File>, String> {
    let path = Path::new("jaeger/ui.json");
    let page = document::edited(&request.read(path)?, request.names, |scalar| match scalar.at()[..] {
        ["linkPatterns", "-", "url"] => scalar.edits(|url| link(url, request.names, request.urls)),
        _ => Vec::new(),
    });
    let mut files = vec![
        request.copy("jaeger/config.yaml", "config.yaml")?,
        request.copy("jaeger/elasticsearch.yaml", "elasticsearch.yaml")?,
        request.program("jaeger/start.sh", "start.sh")?,
        file("ui.json", page.map_err(within(path))?),
    ];
    files.extend(elasticsearch(
        request,
        "jaeger_storage",
        &[
            "policies/agent-traces.json",
            "templates/agent-kit-jaeger-service.json",
            "templates/agent-kit-jaeger-span.json",
        ],
    )?);
    Ok(files)
}

fn link(url: &str, names: &Names, urls: &Urls) -> Vec<Edit> {
    let Some(found) = LINK.captures(url) else { return Vec::new() };
    let (Some(base), Some(query)) = (found.get(1), found.get(2)) else { return Vec::new() };
    let view = View::of_url(query.as_str());
    let mut edits: Vec<_> = view.edits(promql::edits(&view.text, names));
    edits = edits.into_iter().map(|edit| edit.moved(query.start())).collect();
    edits.extend(urls.prometheus.as_ref().map(|prometheus| Edit::new(base.range(), prometheus)));
    edits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_query_in_the_link_is_renamed_and_the_attribute_is_not() {
        let map = |from: &str, to: &str| BTreeMap::from([(from.to_owned(), to.to_owned())]);
        let names =
            Names { metrics: map("a_total", "b"), labels: map("tenant_id", "customer"), ..Names::default() };
        let urls = Urls { prometheus: Some("https://p/x".into()), ..Urls::default() };
        let url = "http://localhost:9090/query?g0.expr=rate(a_total%7Btenant_id%3D%22#{tenant.id}%22%7D%5B5m%5D)&g0.tab=tenant_id";
        let wanted =
            "https://p/x/query?g0.expr=rate(b%7Bcustomer%3D%22#{tenant.id}%22%7D%5B5m%5D)&g0.tab=tenant_id";
        assert_eq!(crate::edit::apply(url, link(url, &names, &urls)), wanted);
        assert!(link(url, &Names::default(), &Urls::default()).is_empty());
    }
}
