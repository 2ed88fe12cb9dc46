//! The contract, as its pages have it.
use std::path::Path;

/// A page of `docs/`.
pub(crate) fn page(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The rows of the tables whose first column has this title.
pub(crate) fn rows(page: &str, title: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('|') && cells(line)[0] == title {
            rows.extend(lines.by_ref().take_while(|line| line.starts_with('|')).skip(1).map(cells));
        }
    }
    assert!(!rows.is_empty(), "no table of {title}");
    rows
}

/// A cell without its back quotes.
pub(crate) fn plain(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

/// The names in a cell: those always there, and those with a question mark.
pub(crate) fn names(cell: &str) -> (Vec<String>, Vec<String>) {
    let names = cell.split(", ").filter(|name| !name.is_empty() && *name != "–");
    let (sometimes, always): (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with('?'));
    let clean = |name: &str| plain(name.trim_end_matches('?'));
    (always.into_iter().map(clean).collect(), sometimes.into_iter().map(clean).collect())
}
