//! Names in a page of Markdown that has queries in it.

use crate::{
    edit::{Edit, apply},
    mapping::Urls,
    names::Names,
    promql::{self, Kind},
    prose,
};

/// Where the kit's own pages lead to.
const GRAFANA: &str = "http://localhost:3000";
const PROMETHEUS: &str = "http://localhost:9090";

/// A page with the adopter's names in its queries and its words, and links that lead to the adopter's pages.
///
/// Labels are renamed in queries alone: elsewhere the same word is a field of a log line.
pub(crate) fn edited(page: &str, names: &Names, urls: &Urls) -> String {
    let mut edits = Vec::new();
    let mut at = 0;
    let mut fence = None;
    for line in page.split_inclusive('\n') {
        match (fence, line.strip_prefix("```")) {
            (None, Some(language)) => fence = Some((language.trim(), at + line.len())),
            (Some((language, start)), Some(_)) => {
                edits.extend(
                    of_block(&page[start..at], language, names).into_iter().map(|edit| edit.moved(start)),
                );
                fence = None;
            }
            (None, None) => edits.extend(of_line(line, names).into_iter().map(|edit| edit.moved(at))),
            (Some(_), None) => {}
        }
        at += line.len();
    }
    let mut text = apply(page, edits);
    for (ours, theirs) in [(GRAFANA, &urls.grafana), (PROMETHEUS, &urls.prometheus)] {
        if let Some(theirs) = theirs {
            text = text.replace(ours, theirs);
        }
    }
    text
}

fn of_block(block: &str, language: &str, names: &Names) -> Vec<Edit> {
    if language == "promql" { promql::edits(block, names) } else { prose::edits(block, names) }
}

/// In `code` that names a metric the labels are its labels.
fn of_line(line: &str, names: &Names) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut at = 0;
    for (number, piece) in line.split('`').enumerate() {
        let asks = |piece: &str| {
            let found = promql::names(piece);
            found.iter().any(|name| {
                matches!(name.kind, Kind::Metric { .. }) && names.metric(&piece[name.range.clone()]).is_some()
            })
        };
        let is_query = number % 2 == 1 && piece.contains(['(', '{']) && asks(piece);
        let found = if is_query { promql::edits(piece, names) } else { prose::edits(piece, names) };
        edits.extend(found.into_iter().map(|edit| edit.moved(at)));
        at += piece.len() + 1;
    }
    edits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn queries_and_words_change_and_logs_do_not() {
        let map = |from: &str, to: &str| BTreeMap::from([(from.to_owned(), to.to_owned())]);
        let names = Names {
            metrics: map("a_total", "b_total"),
            labels: map("tenant_id", "customer"),
            ..Names::default()
        };
        let urls = Urls { grafana: Some("https://g".into()), ..Urls::default() };
        let page = "`a_total` by `tenant_id`, `tenant_id=\"x\"`, `sum by (tenant_id) (a_total)`\n\
            ```promql\nsum by (tenant_id) (a_total)\n```\n```sh\njq '.tenant_id == \"x\"' | grep a_total\n```\n\
            http://localhost:3000/d/x `tenant_id : \"x\"`\n";
        let wanted = "`b_total` by `tenant_id`, `customer=\"x\"`, `sum by (customer) (b_total)`\n\
            ```promql\nsum by (customer) (b_total)\n```\n```sh\njq '.tenant_id == \"x\"' | grep b_total\n```\n\
            https://g/d/x `tenant_id : \"x\"`\n";
        assert_eq!(edited(page, &names, &urls), wanted);
        assert_eq!(edited(page, &Names::default(), &Urls::default()), page);
    }
}
