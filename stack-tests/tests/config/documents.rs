//! What is written for people, held against the files it speaks of.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use libtest_mimic::Trial;
use regex::Regex;

use crate::{ensure, read, trial};

/// The trials of `.env.example` and of the pages' links.
pub(crate) fn trials(repository: &Path) -> Vec<Trial> {
    let settings = repository.to_owned();
    let links = repository.to_owned();
    let context = repository.to_owned();
    let languages = repository.to_owned();
    let ports = repository.to_owned();
    let code = repository.to_owned();
    vec![
        trial("documents::security_has_every_published_port".into(), move || published_ports(&ports)),
        trial("documents::the_readmes_say_the_same_in_both_languages".into(), move || {
            same_in_both_languages(&languages)
        }),
        trial("documents::what_the_dockerfile_copies_is_in_its_context".into(), move || {
            build_context(&context)
        }),
        trial("documents::env_example_has_every_setting_and_its_default".into(), move || {
            env_example(&settings)
        }),
        trial("documents::every_link_to_a_file_leads_to_one".into(), move || pages_links(&links)),
        trial("documents::the_code_of_instrumenting_is_that_of_the_examples".into(), move || {
            code_is_cut_out(&code)
        }),
    ]
}

/// Each block of Rust or Python on the page is so many lines, one after the other, of a file that is tested.
fn code_is_cut_out(repository: &Path) -> Result<(), String> {
    let examples = repository.join("examples");
    let (rust, python) = (examples.join("instrumenting-rust/src"), examples.join("instrumenting-python"));
    let sources: Vec<_> = [crate::files(&rust, "rs"), crate::files(&python, "py")].concat();
    let sources: Vec<_> = sources.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    let page = read(&repository.join("docs/instrumenting.md"))?;
    let blocks = regex("(?s)```(?:rust|python)\n(.*?)\n```");
    let mut found = 0;
    for block in blocks.captures_iter(&page) {
        let cut: Vec<_> = block[1].lines().collect();
        let holds = |source: &String| {
            let lines: Vec<_> = source.lines().collect();
            lines.windows(cut.len()).any(|window| same_but_for_its_place(window, &cut))
        };
        ensure(sources.iter().any(holds), || format!("in no file of examples/:\n{}", &block[1]))?;
        found += 1;
    }
    ensure(found >= 10, || format!("the page has {found} blocks of code"))
}

/// Whether lines are the same once each has lost the first one's indentation.
fn same_but_for_its_place(window: &[&str], cut: &[&str]) -> bool {
    let indentation = window[0].len() - window[0].trim_start().len();
    window.iter().zip(cut).all(|(line, cut)| match line.split_at_checked(indentation) {
        Some((space, rest)) => space.trim().is_empty() && rest == *cut,
        None => line.trim().is_empty() && cut.is_empty(),
    })
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// `.env.example` lists what Compose and the setup scripts read, each with the very default it has there.
fn env_example(repository: &Path) -> Result<(), String> {
    let compose = read(&repository.join("docker-compose.yml"))?;
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    // Outside of other expansions, and inside only what is nowhere else: what stands there may have another default.
    let expansions = regex(r"\$\{([A-Z0-9_]+):-([^}]*)\}");
    for found in expansions.captures_iter(&compose) {
        let (name, default) = (found[1].to_owned(), found[2].to_owned());
        let start = found.get(0).map_or(0, |all| all.start());
        let line = &compose[compose[..start].rfind('\n').map_or(0, |end| end + 1)..start];
        if line.matches("${").count() > line.matches('}').count() && wanted.contains_key(&name) {
            continue;
        }
        if let Some(other) = wanted.insert(name.clone(), default.clone()) {
            ensure(other == default, || format!("docker-compose.yml: {name} is `{other}` and `{default}`"))?;
        }
    }
    // Read by scripts, or by Compose with a default that may be empty.
    let mut scripts: BTreeSet<_> =
        regex(r"\$\{([A-Z0-9_]+)-").captures_iter(&compose).map(|found| found[1].to_owned()).collect();
    for script in crate::files(&repository.join("setup"), "sh") {
        let text = read(&script)?;
        scripts.extend(regex(r"\$\(setting ([A-Z0-9_]+)").captures_iter(&text).map(|c| c[1].to_owned()));
    }
    let example = read(&repository.join(".env.example"))?;
    let listed: BTreeMap<String, String> = regex(r"(?m)^#([A-Z0-9_]+)=(.*)$")
        .captures_iter(&example)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect();
    for (name, default) in &wanted {
        let here = listed.get(name).ok_or_else(|| format!(".env.example lacks {name}={default}"))?;
        ensure(here == default, || format!("{name}: .env.example says `{here}`, Compose `{default}`"))?;
    }
    let unknown = |name: &&String| !wanted.contains_key(*name) && !scripts.contains(*name);
    let unknown: Vec<_> = listed.keys().filter(unknown).collect();
    ensure(unknown.is_empty(), || format!(".env.example has what nothing reads: {unknown:?}"))?;
    let unlisted: Vec<_> = scripts.iter().filter(|name| !listed.contains_key(*name)).collect();
    ensure(unlisted.is_empty(), || format!("setup reads what .env.example lacks: {unlisted:?}"))
}

/// `.dockerignore` leaves everything out but what the build stage copies.
fn build_context(repository: &Path) -> Result<(), String> {
    let (dockerfile, ignored) =
        (read(&repository.join("Dockerfile"))?, read(&repository.join(".dockerignore"))?);
    let copied = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let copied = copied.filter(|line| !line.starts_with("--")).flat_map(|line| {
        // The last is where to.
        line.rsplit_once(' ').map_or("", |(sources, _)| sources).split_whitespace()
    });
    let let_in: BTreeSet<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let lacking: Vec<_> = copied.filter(|source| !let_in.contains(source)).collect();
    ensure(lacking.is_empty() && !let_in.is_empty(), || format!(".dockerignore keeps {lacking:?} out"))
}

/// What breaks things on purpose, by the settings of its ports.
const ADMIN_PORTS: [&str; 3] = ["AGENT_ADMIN_PORT", "LLM_PORT", "SLACK_PORT"];

/// The table of who may do what has each port that Compose publishes, with the setting that moves it, and no other; and what is
/// published for callers takes nothing along that is for operators.
fn published_ports(repository: &Path) -> Result<(), String> {
    let compose = read(&repository.join("docker-compose.yml"))?;
    let published = regex(r"\$\{((?:ADMIN_)?BIND_ADDRESS):-127\.0\.0\.1\}:\$\{([A-Z_]+):-\d+\}:(\d+)");
    let published: Vec<_> = published.captures_iter(&compose).map(|found| found.extract::<3>().1).collect();
    let apart = published.iter().filter(|[address, ..]| *address == "ADMIN_BIND_ADDRESS");
    let apart: Vec<_> = apart.map(|[_, setting, _]| *setting).collect();
    ensure(apart == ADMIN_PORTS, || format!("on ADMIN_BIND_ADDRESS are {apart:?}, not {ADMIN_PORTS:?}"))?;
    let published: BTreeSet<_> =
        published.into_iter().map(|[_, setting, port]| (setting.to_owned(), port.to_owned())).collect();
    let table = stack_tests::ports::table(&read(&repository.join("docs/security.md"))?)?;
    let known: BTreeSet<_> = table.into_iter().map(|port| (port.setting, port.port.to_string())).collect();
    ensure(published == known && !known.is_empty(), || {
        let differ: Vec<_> = published.symmetric_difference(&known).collect();
        format!("docker-compose.yml and docs/security.md differ in {differ:?}")
    })
}

/// What of a page does not depend on its language: levels of headings, rows of tables, blocks of code, what stands in back
/// quotes, and where links lead.
fn skeleton(text: &str) -> Vec<Vec<String>> {
    let (heading, row) = (regex(r"^#+ "), regex(r"^\|"));
    let blocks = regex(r"(?s)```.*?```").find_iter(text).map(|found| found.as_str().to_owned()).collect();
    let prose = regex(r"(?s)```.*?```").replace_all(text, "");
    let shape = prose.lines().filter_map(|line| {
        let level = heading.find(line).map(|found| found.as_str().trim_end().to_owned());
        level.or_else(|| row.is_match(line).then(|| format!("row of {}", line.matches('|').count())))
    });
    // Their order may differ within a sentence.
    let sorted = |pattern: &str| {
        let mut found: Vec<_> =
            regex(pattern).captures_iter(&prose).map(|found| found[1].to_owned()).collect();
        found.sort();
        found
    };
    let mut links = sorted(r"\]\(([^)]+)\)");
    links.retain(|link| !link.starts_with("README"));
    vec![
        blocks,
        shape.collect(),
        sorted("`([^`]+)`"),
        links,
        sorted("(http://localhost[A-Za-z0-9:/._-]*[A-Za-z0-9/])"),
    ]
}

fn same_in_both_languages(repository: &Path) -> Result<(), String> {
    let read = |name| read(&repository.join(name)).map(|text| skeleton(&text));
    let (english, chinese) = (read("README.md")?, read("README.zh-CN.md")?);
    for (ours, theirs) in english.iter().zip(&chinese) {
        ensure(!ours.is_empty(), || "README.md has nothing to compare".into())?;
        let differ = ours.iter().zip(theirs).find(|(ours, theirs)| ours != theirs);
        ensure(differ.is_none(), || format!("README.md and README.zh-CN.md differ first in {differ:?}"))?;
        let (ours, theirs) = (ours.len(), theirs.len());
        ensure(ours == theirs, || {
            format!("README.md has {ours} of these, README.zh-CN.md {theirs}: {english:?}")
        })?;
    }
    Ok(())
}

/// Every relative link in a page, and every path in its back quotes that looks like one of ours, exists.
fn pages_links(repository: &Path) -> Result<(), String> {
    let link = regex(r"\]\(([^)#]+)(?:#[^)]*)?\)");
    let mut pages = Vec::new();
    collect_pages(repository, &mut pages)?;
    ensure(pages.len() > 5, || format!("only {pages:?}"))?;
    for page in pages {
        let text = read(&page)?;
        let folder = page.parent().unwrap_or(repository);
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if !target.contains("://") && !target.starts_with("mailto:") {
                ensure(folder.join(target).exists(), || format!("{}: no {target}", page.display()))?;
            }
        }
    }
    Ok(())
}

/// The pages of the repository, without what is built or generated.
fn collect_pages(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with('.') {
            collect_pages(&path, pages)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(())
}
