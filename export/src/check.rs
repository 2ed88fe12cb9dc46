//! What has been written is checked as the kit's own files are, with the programs that are there.

use std::{
    collections::BTreeSet,
    fmt, fs,
    num::NonZero,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use stack_tests::{
    dashboards::{
        self,
        lint::{Surroundings, lint},
    },
    tools::Tool,
};

use crate::{
    document,
    parts::{Part, Request},
    vocabulary::read,
};

/// One check.
#[derive(Debug)]
pub struct Check {
    /// What was looked at, and with what.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a check.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing is wrong.
    Sound,
    /// Something is.
    Found(String),
    /// It could not be made here, and why.
    Skipped(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Sound => write!(f, "  checked      {}", self.name),
            Verdict::Skipped(why) => write!(f, "  not checked  {}: {why}", self.name),
            Verdict::Found(what) => write!(f, "  WRONG        {}:\n{}", self.name, what.trim_end()),
        }
    }
}

/// All checks of a part; the tests of rules, which take the longest, may be left out.
pub fn all(part: Part, folder: &Path, request: &Request<'_>, skip_tests: bool) -> Vec<Check> {
    let mut checks = vec![check("every YAML and JSON file can be read", documents(folder))];
    checks.extend(match part {
        Part::Prometheus => prometheus(folder, skip_tests),
        Part::Grafana => vec![check("dashboards, with the kit's linter", grafana(folder, request))],
        Part::Alertmanager => alertmanager(folder),
        Part::Logstash => {
            vec![skipped("pipelines", "that needs a Logstash; they are those that the kit's tests run")]
        }
        Part::Jaeger => {
            vec![skipped("jaeger validate", "that needs Jaeger's program; config.yaml is the kit's own")]
        }
    });
    checks
}

fn check(name: &str, result: Result<(), String>) -> Check {
    Check { name: name.to_owned(), verdict: result.map_or_else(Verdict::Found, |()| Verdict::Sound) }
}

fn skipped(name: &str, why: &str) -> Check {
    Check { name: name.to_owned(), verdict: Verdict::Skipped(why.to_owned()) }
}

/// A check's name, and what a program says.
type ByTool<'c> = (&'c str, &'c dyn Fn(&Tool) -> Result<(), String>);

/// Checks by a program, if it is there.
fn by(tool: &str, checks: &[ByTool<'_>]) -> Vec<Check> {
    let found = Tool::find(tool);
    let one = |(name, run): &ByTool<'_>| match &found {
        Some(tool) => check(name, run(tool)),
        None => skipped(name, &format!("{tool} is not installed")),
    };
    checks.iter().map(one).collect()
}

fn documents(folder: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    for path in all_files(folder)? {
        let result = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yml" | "yaml") => document::scalars(&read(&path)?).map(drop),
            Some("json") => serde_json::from_str::<serde::de::IgnoredAny>(&read(&path)?)
                .map(drop)
                .map_err(|e| e.to_string()),
            _ => Ok(()),
        };
        wrong.extend(result.err().map(|error| format!("{}: {error}", path.display())));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Every file below a folder.
fn all_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() { files.extend(all_files(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

fn names(folder: &Path, inner: &str) -> Result<Vec<String>, String> {
    let files = crate::vocabulary::files(&folder.join(inner), "yml")?;
    Ok(files.iter().map(|file| file.strip_prefix(folder).unwrap_or(file).display().to_string()).collect())
}

fn prometheus(folder: &Path, skip_tests: bool) -> Vec<Check> {
    let rules = |promtool: &Tool| {
        let mut files = [names(folder, "rules")?, names(folder, "thresholds")?].concat();
        if folder.join("mappings").is_dir() {
            files.extend(names(folder, "mappings")?);
        }
        // Presets have the same series: each is checked by itself.
        files.iter().try_for_each(|file| {
            promtool.run(folder, &["check", "rules", "--lint=all", "--lint-fatal", file]).map(drop)
        })
    };
    let tests = |promtool: &Tool| test_rules(promtool, folder);
    let config = |promtool: &Tool| {
        promtool.run(folder, &["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]).map(drop)
    };
    let scrape = |promtool: &Tool| included(promtool, folder);
    let mut checks = by(
        "promtool",
        &[
            ("promtool check rules: rules, thresholds", &rules),
            ("promtool check config: prometheus.yml", &config),
            ("promtool check config: a configuration that takes in rules, thresholds, scrape.yml", &scrape),
        ],
    );
    let name = "promtool test rules: tests";
    if skip_tests {
        checks.push(skipped(name, "--skip-tests"));
    } else {
        checks.extend(by("promtool", &[(name, &tests)]));
    }
    checks
}

/// As many files at once as there are processors: all together are most of a minute of one.
fn test_rules(promtool: &Tool, folder: &Path) -> Result<(), String> {
    let files = names(folder, "tests")?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(promtool.run(folder, &["test", "rules", file]).err());
        }
        wrong
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let wrong: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let died = |_| vec!["a check died".to_owned()];
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(died)).collect()
    });
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// As README.md says: a configuration of somebody else's takes in the folder.
fn included(promtool: &Tool, folder: &Path) -> Result<(), String> {
    let theirs = tempfile::tempdir().map_err(|e| e.to_string())?;
    let folder = std::path::absolute(folder).map_err(|e| e.to_string())?;
    let place = |path: &str| folder.join(path).display().to_string();
    let config = serde_json::json!({
        "rule_files": [place("rules/*.yml"), place("thresholds/active.yml")],
        "scrape_config_files": [place("scrape.yml")],
    });
    fs::write(theirs.path().join("prometheus.yml"), config.to_string()).map_err(|e| e.to_string())?;
    promtool
        .run(theirs.path(), &["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"])
        .map(drop)
}

fn alertmanager(folder: &Path) -> Vec<Check> {
    let config = |amtool: &Tool| amtool.run(folder, &["check-config", "alertmanager.yml"]).map(drop);
    let routes = |amtool: &Tool| {
        let text = read(&folder.join("tests/routes.txt"))?;
        for route in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let (receivers, labels) = route.split_once(' ').unwrap_or((route, ""));
            let verify = format!("--verify.receivers={receivers}");
            let args = ["config", "routes", "test", "--config.file=alertmanager.yml", &verify];
            amtool.run(folder, &args.into_iter().chain(labels.split_whitespace()).collect::<Vec<_>>())?;
        }
        Ok(())
    };
    by(
        "amtool",
        &[
            ("amtool check-config: alertmanager.yml, templates", &config),
            ("amtool config routes test: tests/routes.txt", &routes),
        ],
    )
}

/// The linter knows the kit's names: it is told the adopter's.
fn grafana(folder: &Path, request: &Request<'_>) -> Result<(), String> {
    let dashboards = dashboards::load(&folder.join("dashboards"))?;
    let mut around = Surroundings::of(request.kit, &dashboards)?;
    around.metrics.rename(&request.names.metrics);
    let uid = |uid: &String| request.names.sources.get(uid).map_or(uid.clone(), |source| source.uid.clone());
    around.sources = around.sources.iter().map(uid).collect();
    let named = request.names.sources.get("prometheus").and_then(|source| source.name.clone());
    around.source_names = BTreeSet::from([named.unwrap_or("Prometheus".to_owned())]);
    let found: Vec<_> = dashboards
        .iter()
        .flat_map(|dashboard| {
            let file = dashboard.file.display().to_string();
            lint(dashboard, &around).into_iter().map(move |problem| format!("{file}: {problem}"))
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}
