//! What a Prometheus lacks, asked of one that answers from a list.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use export::{
    Outcome,
    against::{Need, Needs, ask, needs},
    mapping::Urls,
    parts::{Part, Request},
};
use libtest_mimic::Trial;

use crate::{ensure, everything, export, export_to, kit, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("against::what_is_missing_is_named_and_what_is_early_excused", names_what_is_missing),
        trial("against::a_server_with_everything_lacks_nothing", nothing_is_missing),
        trial("against::needs_are_in_the_adopters_names", needs_are_theirs),
        trial("against::who_does_not_answer_is_said", nobody_answers),
    ]
}

/// Answers every request with what `page` makes of its path, until the process ends.
pub(crate) fn serve(page: impl Fn(&str) -> String + Send + Sync + 'static) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let page = Arc::new(page);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let page = Arc::clone(&page);
            thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                // The whole head, so that nobody finds the connection closed while it still writes.
                lines.find(String::is_empty);
                let text = page(request.split(' ').nth(1).unwrap_or_default());
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
                let _ = write!(&stream, "{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            });
        }
    });
    Ok(address)
}

fn need(labels: &[&str], not_yet: Option<&'static str>, recorded: bool) -> Need {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    Need { labels: set(labels), by: set(&["HighErrorRate"]), not_yet, recorded }
}

fn names_what_is_missing() -> Result<(), String> {
    let stub = serve(|path| match path.split('?').next().unwrap_or_default() {
        "/prometheus/api/v1/label/__name__/values" => {
            r#"{"status":"success","data":["there","half"]}"#.into()
        }
        "/prometheus/api/v1/labels" if path.contains("match%5B%5D=half") => {
            r#"{"status":"success","data":["__name__","job","status"]}"#.into()
        }
        other => format!(r#"{{"status":"error","error":"not asked for {other}"}}"#),
    })?;
    let needs = Needs::from([
        ("there".into(), need(&[], None, false)),
        ("half".into(), need(&["status", "customer"], None, false)),
        ("gone".into(), need(&[], None, false)),
        ("late".into(), need(&[], Some("a request has failed"), false)),
        ("agent:x:rate5m".into(), need(&[], None, true)),
    ]);
    let url = format!("http://somebody:secret@{stub}/prometheus/").parse().map_err(|e| format!("{e}"))?;
    let report = ask(&url, &needs)?;
    ensure(report.is_lacking(), || "nothing is lacking".into())?;
    let said = report.to_string();
    for wanted in [
        "has 2 of the 5 series",
        "\n  gone  HighErrorRate",
        "\n  half{customer}  HighErrorRate",
        "\n  late  until a request has failed",
        "load the rules of PART=prometheus",
        "\n  agent:x:rate5m",
    ] {
        ensure(said.contains(wanted), || format!("no {wanted:?} in\n{said}"))?;
    }
    ensure(!said.contains("half{status") && !said.contains("secret") && !said.contains("there  "), || {
        said.clone()
    })
}

fn nothing_is_missing() -> Result<(), String> {
    let (folder, _) = export("prometheus", &["--skip-tests"])?;
    let wanted = of(&folder, Part::Prometheus)?;
    let early: BTreeSet<_> =
        wanted.iter().filter(|(_, need)| need.not_yet.is_some()).map(|(name, _)| name.clone()).collect();
    ensure(!early.is_empty() && wanted.len() > 40, || format!("{wanted:?}"))?;
    let labels: BTreeSet<_> = wanted.values().flat_map(|need| need.labels.clone()).collect();
    let (names, labels) =
        (wanted.into_keys().filter(|name| !early.contains(name)).collect::<Vec<_>>(), labels);
    let answer = |data: serde_json::Value| serde_json::json!({"status": "success", "data": data}).to_string();
    let (names, labels) = (answer(names.into()), answer(labels.into_iter().collect::<Vec<_>>().into()));
    let stub = serve(move |path| if path.contains("__name__") { names.clone() } else { labels.clone() })?;
    // What is early is no fault: the exit code is 0.
    let url = format!("http://{stub}");
    let again = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (outcome, said) = export_to(again.path(), "prometheus", &["--skip-tests", "--against", &url])?;
    ensure(outcome == Outcome::Well && said.contains("no fault until something happens"), || said.clone())?;
    ensure(early.iter().all(|name| said.contains(name.as_str())), || said.clone())?;
    // With one that has nothing it is 2.
    let empty = serve(|_| r#"{"status":"success","data":[]}"#.into())?;
    let again = tempfile::tempdir().map_err(|e| e.to_string())?;
    let url = format!("http://{empty}");
    let (outcome, said) = export_to(again.path(), "prometheus", &["--skip-tests", "--against", &url])?;
    ensure(outcome == Outcome::Lacking && outcome.code() == 2, || said.clone())?;
    ensure(said.contains("\n  agent_requests_total  "), || said.clone())
}

fn of(folder: &tempfile::TempDir, part: Part) -> Result<Needs, String> {
    let words = export::vocabulary::Vocabulary::of(&kit())?;
    let (names, urls) = (export::names::Names::default(), Urls::default());
    let request = Request {
        kit: &kit(),
        words: &words,
        names: &names,
        urls: &urls,
        thresholds: "default",
        folder: None,
    };
    needs(part, folder.path(), &request)
}

fn needs_are_theirs() -> Result<(), String> {
    let (words, mapping, names) = everything()?;
    let file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    std::fs::write(file.path(), toml::to_string(&mapping).map_err(|e| e.to_string())?)
        .map_err(|e| e.to_string())?;
    let (folder, _) = export("grafana", &["--map", &file.path().display().to_string()])?;
    let (kit, urls) = (kit(), Urls::default());
    let request =
        Request { kit: &kit, words: &words, names: &names, urls: &urls, thresholds: "default", folder: None };
    let found = needs(Part::Grafana, folder.path(), &request)?;
    let requests = &found[names.metric("agent_requests_total").unwrap_or_default()];
    let label = |name: &str| names.label(name).unwrap_or_default().to_owned();
    ensure(
        requests.labels.contains(&label("tenant_id")) && requests.labels.contains(&label("status")),
        || format!("{requests:?}"),
    )?;
    // Prometheus adds these, and a histogram's buckets have the other.
    let latency = &found[&format!("{}_bucket", mapping.metrics["agent_request_duration_seconds"])];
    ensure(!latency.labels.contains("le") && !latency.labels.contains(&label("job")), || {
        format!("{latency:?}")
    })?;
    ensure(found["agent:requests:rate5m"].recorded && found.contains_key("tenant:requests:rate5m"), || {
        "no recorded series".into()
    })?;
    let errors = &found[names.metric("agent_errors_total").unwrap_or_default()];
    ensure(errors.not_yet.is_some(), || format!("{errors:?}"))?;
    ensure(!found.keys().any(|name| words.metrics.contains(name) || name == "up"), || format!("{found:?}"))
}

fn nobody_answers() -> Result<(), String> {
    let other = serve(|_| "<html>a page</html>".into())?;
    let error = |address: String| -> Result<String, String> {
        let url = address.parse().map_err(|e| format!("{e}"))?;
        Ok(ask(&url, &Needs::new()).err().unwrap_or_default())
    };
    let said = error(format!("http://{other}"))?;
    ensure(said.contains("no answer of a Prometheus"), || said.clone())?;
    // The kernel gives it to nobody.
    let unused = "127.0.0.1:1";
    let said = error(format!("http://somebody:secret@{unused}"))?;
    ensure(said.contains(unused) && !said.contains("secret"), || said.clone())
}
