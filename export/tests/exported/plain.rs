//! Where nothing is mapped an export is a copy.

use std::{fs, path::Path};

use libtest_mimic::Trial;
use regex::Regex;

use crate::{PARTS, ensure, export, files, kit, with};

pub(crate) fn trials() -> Vec<Trial> {
    PARTS
        .into_iter()
        .map(|(part, program)| with(program, format!("plain::{part}"), move || is_a_copy(part)))
        .collect()
}

/// What is written by the export, or changed by it even so.
const OWN: [&str; 5] = [
    "README.md",
    "scrape.yml",
    "elasticsearch/users",
    "provisioning/dashboards/agent-observability-kit.yaml",
    "datasources/datasources.yaml",
];

fn is_a_copy(part: &str) -> Result<(), String> {
    // The tests of the same rules are run as they are in the kit.
    let (folder, said) = export(part, &["--skip-tests"])?;
    ensure(!said.contains("WRONG"), || said.clone())?;
    let written = files(folder.path())?;
    for (path, text) in &written {
        if OWN.iter().any(|own| path == Path::new(own)) {
            continue;
        }
        let place = if path.starts_with("elasticsearch") {
            path.clone()
        } else if path.starts_with("runbooks") {
            Path::new("docs").join(path)
        } else {
            Path::new(part).join(path)
        };
        let original =
            fs::read_to_string(kit().join(&place)).map_err(|e| format!("{}: {e}", place.display()))?;
        ensure(*text == original, || format!("{} is not as it is in the kit", path.display()))?;
    }
    // All that a part is made of is there.
    let (folder, extension, wanted) = match part {
        "prometheus" => ("tests", "yml", "prometheus/tests"),
        "grafana" => ("dashboards/agent", "json", "grafana/dashboards/agent"),
        "alertmanager" => ("templates", "tmpl", "alertmanager/templates"),
        "logstash" => ("pipeline", "conf", "logstash/pipeline"),
        _ => ("elasticsearch/templates", "json", "elasticsearch/templates"),
    };
    let count = |paths: &mut dyn Iterator<Item = &Path>| {
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).count()
    };
    let there = count(&mut written.keys().filter(|path| path.starts_with(folder)).map(|path| &**path));
    let originals = files(&kit().join(wanted))?;
    let originals = count(&mut originals.keys().map(|path| &**path));
    let wanted = if part == "jaeger" { 2 } else { originals };
    ensure(there == wanted && there > 0, || format!("{there} files in {folder}, wanted {wanted}"))?;
    let hole = Regex::new(r"\{[a-z-]+\}").expect("a pattern");
    let readme = &written[Path::new("README.md")];
    ensure(hole.find(readme).is_none(), || format!("{:?} is left in README.md", hole.find(readme)))
}
