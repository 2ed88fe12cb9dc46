//! The runbooks: each query and each command of a page gives something on this stack.

use std::{
    env, fs,
    io::{self, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use regex::Regex;
use serde_json::json;

use super::{
    Case, Need,
    alerts::{BEGIN_LATER, selected},
    ensure,
    faults::with_faults,
    have_lines,
};
use crate::{
    clients::{client, send},
    containers::Containers,
    runbooks::{Compose, Page, is_assignment, is_definition, is_readable, parts},
    stack::{Stack, repository},
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("runbooks::every_query_gives_something", &[], every_query_gives_something),
    Case::new(
        "runbooks::every_command_gives_something",
        &[Need::Containers, Need::Program("bash"), Need::Program("curl"), Need::Program("jq")],
        every_command_gives_something,
    ),
    Case::new(
        "runbooks::every_command_that_changes_something_names_what_is_there",
        &[Need::Containers, Need::Program("bash"), Need::Program("curl")],
        every_change_names_what_is_there,
    ),
    Case::new("runbooks::every_link_opens_where_prometheus_serves_the_page", &[], every_link_opens),
];

/// Queries without a result on a healthy stack, with the reason. Their metrics must exist all the same.
const QUIET_QUERIES: [(&str, &str); 2] = [
    ("otelcol_exporter_enqueue_failed_spans_total", "counts only once a queue to Kafka was full"),
    ("ALERTS{alertname=\"RecentOutage\"}", "has a series only after an outage"),
];

/// Metrics that need lines to be shipped by Logstash, although their names do not say so.
const SHIPPED: [&str; 3] = ["log_lines_missing", "log_lines_expected", "log_lines_indexed"];

/// Filters that let nothing through on a healthy stack, with the reason. What stands before the filter must give something.
const QUIET_FILTERS: [(&str, &str); 12] = [
    ("| grep change_faults", "no fault was switched on"),
    ("| grep 'audit log'", "the disk accepts audit events"),
    ("| grep -i err", "the configuration was accepted"),
    ("| grep 'log target'", "log lines can be written"),
    ("| grep -i 'notify'", "messages can be sent"),
    ("| grep -i 'flood stage'", "Elasticsearch's disk has room"),
    ("| grep -E 'Scrape commit failed", "Prometheus' disk has room"),
    ("| grep -iE 'retrying", "Elasticsearch accepts the lines"),
    ("| tr -c '[:print:]'", "there are no dead letters"),
    ("jq -r 'select(.msg | endswith(\"budget spent\"))", "each tenant is within its budget"),
    ("jq -r 'select(.msg | startswith(\"the price file has no such model\"))", "each model has a price"),
    ("sort | uniq -c | awk '$1 == 1", "each request has ended"),
];

/// Commands without output on a healthy stack, with the reason. They must succeed.
const QUIET_COMMANDS: [(&str, &str); 1] = [("comm -23 ", "each line is in Elasticsearch")];

/// Requests that a server may refuse on a healthy stack, with the reason. The answer says so.
const REFUSED: [(&str, &str); 2] = [
    ("/_cluster/allocation/explain", "no shard lacks a place"),
    ("/_ilm/explain", "an Elasticsearch built from packages may be without lifecycle policies"),
];

/// Commands that need a machine of one kind, with what it must have. Elsewhere their program must exist, no more.
const OF_THE_MACHINE: [(&str, &str); 2] = [
    ("timedatectl", "systemd runs only where it is the first process"),
    ("dmesg", "a container may not read the kernel's messages"),
];

/// Programs that change nothing, whatever their arguments are.
const READERS: [&str; 23] = [
    "awk", "cat", "comm", "date", "df", "dmesg", "do", "done", "du", "echo", "grep", "head", "jq", "ls",
    "printf", "ps", "sed", "sort", "tail", "tr", "ulimit", "uniq", "while",
];

/// Other commands that change nothing, by their first words. A command that is neither here nor below fails the trial: no
/// command is run because a pattern was forgotten.
const READING: [&[&str]; 9] = [
    &["docker", "stats", "--no-stream"],
    &["docker", "system", "df"],
    &["docker", "inspect"],
    &["promtool", "check", "config"],
    &["amtool", "check-config"],
    &["timedatectl", "status"],
    // What the service `evaluate` does each day.
    &["make", "evaluate"],
    &["docker", "compose", "ps"],
    &["docker", "compose", "logs"],
];

/// Addresses that curl may send data to, because the data is a question, or holds nothing.
const ASKED_WITH_DATA: [&str; 2] = ["/_search", "/v1/traces"];

/// Patterns of commands that are not run, with the reason.
const CHANGES: [(&str, &str); 6] = [
    (r"docker compose (up|stop|start|restart|run|kill|rm|down)\b", "starts or stops containers"),
    (r"kill -HUP", "makes a service load its configuration"),
    (r"docker system prune", "removes images and containers"),
    (r" -X (PUT|DELETE)", "changes what a service keeps or does"),
    (
        r"^([A-Z]+=\S+ )*make (up|setup|story|doctor|check|restore|test-logstash|drill|backup|prices)",
        "runs for minutes, asks, or needs a value",
    ),
    (r"^(sudo )?(systemctl|ln|fsck) ", "changes the machine"),
];

/// Words that a reader replaces, with a value that exists on each stack.
const PLACEHOLDERS: [(&str, &str); 5] = [
    ("SERVICE", "example-agent"),
    ("agent-logs-YYYY.MM.DD", "agent-logs-*"),
    ("/NAME ", "/agent-logs-* "),
    ("JOB", "agent_evaluation"),
    ("…", "x"),
];

fn pages() -> Result<Vec<Page>, String> {
    Page::all(&repository())
}

/// Why a text that names a missing service cannot be tried, if so.
fn obstacle(stack: &Stack, text: &str) -> Option<String> {
    // The secret of a missing service is there.
    let text = Regex::new(r"secrets/\w+").expect("a constant pattern").replace_all(text, "");
    let text = text.replace("localhost:9600", "logstash").replace("localhost:5601", "kibana");
    stack.missing.iter().find_map(|(service, reason)| {
        let named = Regex::new(&format!(r"\b{service}(\b|_)")).is_ok_and(|name| name.is_match(&text));
        let needed = service == "logstash" && SHIPPED.iter().any(|metric| text.contains(metric));
        (named || needed).then(|| format!("no {service}: {reason}"))
    })
}

fn skipped(page: &Page, what: &str, why: &str) {
    let first = what.trim().lines().next().unwrap_or_default();
    // Where standard error is closed, the list is not wanted.
    let _ = writeln!(io::stderr(), "skipped: {}: {first}: {why}", page.name);
}

/// The first entry of a table whose key is part of a text.
fn entry<const N: usize>(table: &[(&'static str, &'static str); N], text: &str) -> Option<&'static str> {
    table.iter().find_map(|(key, _)| text.contains(key).then_some(*key))
}

/// Tries each of some texts until all have passed: counters and lines of a young stack come within minutes.
fn until_all_pass<'a, T>(
    what: &str,
    tasks: impl IntoIterator<Item = (&'a Page, T)>,
    mut attempt: impl FnMut(&Page, &T) -> Result<(), String>,
) -> Result<(), String> {
    let mut left: Vec<_> = tasks.into_iter().collect();
    let all = left.len();
    ensure(all > 0, || format!("{what}: there is none"))?;
    until(what, 6 * SOON, || {
        let mut wrong = Vec::new();
        left.retain(|(page, task)| match attempt(page, task) {
            Ok(()) => false,
            Err(error) => {
                wrong.push(format!("{}: {error}", page.name));
                true
            }
        });
        ensure(left.is_empty(), || format!("{} of {all}:\n{}", wrong.len(), wrong.join("\n")))
    })
}

fn every_query_gives_something(stack: &Stack) -> Result<(), String> {
    have_lines(stack)?;
    let pages = pages()?;
    let queries = pages.iter().flat_map(|page| page.queries().into_iter().map(move |query| (page, query)));
    let (can, cannot): (Vec<_>, Vec<_>) = queries.partition(|(_, query)| obstacle(stack, query).is_none());
    for (page, query) in &cannot {
        skipped(page, query, &obstacle(stack, query).unwrap_or_default());
    }
    for (key, reason) in QUIET_QUERIES {
        ensure(can.iter().any(|(_, query)| query.contains(key)), || {
            format!("no query has {key}, which {reason}")
        })?;
    }
    let names = stack.get(&format!("{}/api/v1/label/__name__/values", stack.prometheus))?;
    let recorded = stack.rules("type=record")?;
    let exists = |name: &str| {
        names["data"].as_array().is_some_and(|all| all.iter().any(|known| known == name))
            || recorded.iter().any(|rule| rule["name"] == name)
            || BEGIN_LATER.iter().any(|(known, _)| *known == name)
    };
    until_all_pass("runbooks' queries", can, |_, query| {
        let series = stack.promql(query)?;
        if entry(&QUIET_QUERIES, query).is_none() {
            return ensure(!series.is_empty(), || format!("no result: {query}"));
        }
        let lacking: Vec<_> = selected(stack, query)?.into_iter().filter(|name| !exists(name)).collect();
        ensure(lacking.is_empty(), || format!("no such metric: {lacking:?} in {query}"))
    })
}

/// The pages' addresses, each with that of this stack.
fn addresses(stack: &Stack) -> Vec<(&'static str, String)> {
    let port = |setting: &str, default: u16| {
        let port = env::var(setting).ok().filter(|port| !port.is_empty());
        format!("http://127.0.0.1:{}", port.unwrap_or_else(|| default.to_string()))
    };
    vec![
        ("http://localhost:8080", stack.agent.clone()),
        ("http://localhost:8000", stack.agent_admin.clone()),
        ("http://localhost:8081", stack.llm.clone()),
        ("http://localhost:8082", stack.slack.clone()),
        ("http://localhost:9090", stack.prometheus.clone()),
        ("http://localhost:9093", stack.alertmanager.clone()),
        ("http://localhost:9091", stack.pushgateway.clone()),
        ("http://localhost:9200", stack.elasticsearch.clone()),
        ("http://localhost:4318", port("OTLP_HTTP_PORT", 4318)),
        ("http://localhost:9600", port("LOGSTASH_API_PORT", 9600)),
    ]
}

/// The command as a user of this stack would type it: with its addresses, its secrets and a value for each placeholder.
fn of_stack(stack: &Stack, command: &str) -> String {
    let mut text = command.to_owned();
    for (ours, theirs) in addresses(stack) {
        text = text.replace(ours, &theirs);
    }
    text = text.replace("cat secrets/", &format!("cat {}/", stack.secrets.display()));
    PLACEHOLDERS.iter().fold(text, |text, (name, value)| text.replace(name, value))
}

/// What Bash printed.
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

/// Runs commands as a user does: with Bash, in the kit's folder. curl fails where a server answers with an error, and does not
/// wait for ever.
fn bash(stack: &Stack, script: &str) -> Result<Said, String> {
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    fs::write(home.path().join(".curlrc"), "fail-with-body\nmax-time = 30\n").map_err(|e| e.to_string())?;
    let project = stack.containers.as_ref().map_or("", Containers::project);
    let output = Command::new("bash")
        .args(["-c", &format!("set -o pipefail\n{script}")])
        .current_dir(repository())
        .env("CURL_HOME", home.path())
        .env("COMPOSE_PROJECT_NAME", project)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("bash: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // None for a signal.
    let status = output.status.code().unwrap_or(-1);
    Ok(Said { status, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// `head` closes the pipe before the program in front of it has written all.
const PIPE_CLOSED: i32 = 141;
/// `grep` found nothing.
const NOTHING_FOUND: i32 = 1;

/// curl got an answer that is an error.
const REFUSED_BY_SERVER: i32 = 22;

/// Commands of a page, definitions of functions apart.
fn commands(page: &Page) -> Result<(String, Vec<String>), String> {
    let (definitions, commands): (Vec<_>, Vec<_>) =
        page.commands()?.into_iter().partition(|command| is_definition(command));
    Ok((definitions.join("\n"), commands))
}

/// Whether a command is one of those that are not run.
///
/// # Errors
/// It is not known to change nothing either.
fn changes(command: &str) -> Result<bool, String> {
    let matches = |pattern: &str| Regex::new(pattern).expect("a constant pattern").is_match(command);
    if CHANGES.iter().any(|(pattern, _)| matches(pattern)) {
        return Ok(true);
    }
    let known = parts(command).iter().all(|part| only_reads(part) && part.iter().all(|word| !writes(word)));
    if known { Ok(false) } else { Err(format!("neither READING nor CHANGES has this command: {command}")) }
}

/// Whether a word redirects output to a file other than a temporary one.
fn writes(word: &str) -> bool {
    let target = word.trim_start_matches(['1', '2']).strip_prefix('>');
    target.is_some_and(|target| !target.starts_with("/tmp/") && target != "/dev/null")
}

fn only_reads(part: &[String]) -> bool {
    let words: Vec<_> = part.iter().map(String::as_str).collect();
    let asks = |arguments: &[&str]| {
        let has = |options: &[&str]| {
            arguments.iter().any(|word| options.iter().any(|option| word.starts_with(option)))
        };
        let question = arguments.iter().any(|word| ASKED_WITH_DATA.iter().any(|path| word.contains(path)));
        !has(&["-X", "--request", "-T", "--upload", "-o/", "-O"])
            && (question || !has(&["-d", "--data", "-F", "--form"]))
    };
    match words[..] {
        ["docker", "compose", "exec", "-T", _, "sh", "-c", script] => {
            !script.contains('>') && parts(script).iter().all(|part| only_reads(part))
        }
        ["docker", "compose", "exec", "-T", _, ..] => only_reads(&part[5..]),
        ["curl" | "elastic", ref arguments @ ..] => asks(arguments),
        ["sed", ..] if words.iter().any(|word| word.starts_with("-i")) => false,
        [program, ..] if READERS.contains(&program) => true,
        _ => READING.iter().any(|reading| words.starts_with(reading)),
    }
}

/// A command of a page, with the definitions it uses.
struct Task {
    definitions: String,
    command: String,
}

/// The commands that change something, or the others.
fn tasks<'a>(stack: &Stack, pages: &'a [Page], changing: bool) -> Result<Vec<(&'a Page, Task)>, String> {
    let mut tasks: Vec<(&Page, Task)> = Vec::new();
    for page in pages {
        let (definitions, commands) = commands(page)?;
        for command in commands {
            if changes(&command).map_err(|e| format!("{}: {e}", page.name))? != changing {
                continue;
            }
            match obstacle(stack, &command) {
                Some(why) => skipped(page, &command, &why),
                // Several pages have the same command: it is tried once.
                None if tasks.iter().any(|(_, task)| task.command == command) => {}
                None => tasks.push((page, Task { definitions: definitions.clone(), command })),
            }
        }
    }
    Ok(tasks)
}

/// Makes happen what commands look for: a failed, a slow and a forbidden request.
fn incidents(stack: &Stack) -> Result<(), String> {
    with_faults(stack, &json!({"error_ratio": 1.0}), || stack.fresh_query("acme").map(drop))?;
    let faults = format!("{}/faults", stack.agent_admin);
    send(client().put(&faults).json(&json!({"cache_off": true, "extra_latency_seconds": 2.5})))?;
    let slow = stack.fresh_query("acme");
    send(client().delete(&faults))?;
    slow?;
    stack.query("hooli", "Any insider tip on number 1?").map(drop)
}

fn every_command_gives_something(stack: &Stack) -> Result<(), String> {
    have_lines(stack)?;
    incidents(stack)?;
    // A connection to be listed.
    let address = stack.agent.trim_start_matches("http://").to_owned();
    let _open = TcpStream::connect(&address).map_err(|e| format!("{address}: {e}"))?;
    let pages = pages()?;
    let tasks = tasks(stack, &pages, false)?;
    for (key, reason) in QUIET_FILTERS.iter().chain(&QUIET_COMMANDS).chain(&REFUSED).chain(&OF_THE_MACHINE) {
        let all = pages.iter().map(Page::commands).collect::<Result<Vec<_>, _>>()?;
        ensure(all.iter().flatten().any(|command| command.contains(key)), || {
            format!("no command has {key}, for which the reason is: {reason}")
        })?;
    }
    until_all_pass("runbooks' commands", tasks, |_, Task { definitions, command }| {
        gives_something(stack, definitions, command)
    })
}

fn gives_something(stack: &Stack, definitions: &str, command: &str) -> Result<(), String> {
    if let Some(program) = entry(&OF_THE_MACHINE, command) {
        return is_on_this_machine(stack, program);
    }
    let run = |command: &str| bash(stack, &of_stack(stack, &format!("{definitions}\n{command}")));
    let told = |said: &Said| {
        format!("{command}\n  exit code {}: {:.300}{:.300}", said.status, said.stdout, said.stderr)
    };
    let said = run(command)?;
    let filter = entry(&QUIET_FILTERS, command);
    let quiet = filter.is_some() || entry(&QUIET_COMMANDS, command).is_some();
    let refused = entry(&REFUSED, command).is_some() && said.status == REFUSED_BY_SERVER;
    let well = [0, PIPE_CLOSED].contains(&said.status) || (quiet && said.status == NOTHING_FOUND) || refused;
    ensure(well, || told(&said))?;
    if let Some(file) = redirected(command) {
        let length = fs::metadata(&file).map_err(|e| format!("{file}: {e}"))?.len();
        return ensure(length > 0, || format!("{file} is empty: {command}"));
    }
    if let Some(filter) = filter {
        let before =
            command.split(filter).next().unwrap_or_default().trim_end_matches([' ', '\n', '|', '\\']);
        let said = run(before)?;
        return ensure(said.status == 0 && !said.stdout.trim().is_empty(), || told(&said));
    }
    ensure(quiet || !said.stdout.trim().is_empty(), || told(&said))
}

/// The file that a command writes to.
fn redirected(command: &str) -> Option<String> {
    let last = command.split_whitespace().last()?;
    last.strip_prefix('>').map(str::to_owned)
}

fn is_on_this_machine(stack: &Stack, program: &str) -> Result<(), String> {
    let said = bash(stack, &format!("command -v {program}"))?;
    ensure(said.status == 0, || format!("this machine has no {program}"))
}

fn every_change_names_what_is_there(stack: &Stack) -> Result<(), String> {
    let pages = pages()?;
    let known = bash(stack, "docker compose --profile '*' config --services")?.stdout;
    let known: Vec<_> = known.lines().collect();
    let makefile = fs::read_to_string(repository().join("Makefile")).map_err(|e| format!("Makefile: {e}"))?;
    let tasks = tasks(stack, &pages, true)?;
    until_all_pass("runbooks' changing commands", tasks, |_, Task { definitions, command }| {
        let typed = of_stack(stack, command);
        ensure(is_readable(&typed)?, || format!("Bash cannot read: {typed}"))?;
        for part in parts(&typed) {
            names_what_is_there(stack, definitions, &part, &known, &makefile)
                .map_err(|e| format!("{command}: {e}"))?;
        }
        Ok(())
    })
}

fn names_what_is_there(
    stack: &Stack,
    definitions: &str,
    part: &[String],
    known: &[&str],
    makefile: &str,
) -> Result<(), String> {
    if let Some(compose) = Compose::parse(part) {
        let unknown: Vec<_> =
            compose.services.iter().filter(|name| !known.contains(&name.as_str())).collect();
        ensure(unknown.is_empty(), || format!("no services {unknown:?}"))?;
        let Some((program, service)) = compose.program.zip(compose.services.first()) else { return Ok(()) };
        let containers = stack.containers.as_ref().expect("needed");
        return containers.exec(service, &["sh", "-c", &format!("command -v {program}")]).map(drop);
    }
    let words: Vec<_> =
        part.iter().map(String::as_str).skip_while(|word| is_assignment(word) || *word == "sudo").collect();
    match words[..] {
        ["make", target, ..] => {
            ensure(makefile.contains(&format!("\n{target}: ")), || format!("the Makefile has no {target}"))
        }
        ["docker", ref verbs @ ..] => Containers::docker(&[verbs, &["--help"]].concat()).map(drop),
        ["curl", ref arguments @ ..] => {
            let url = arguments.iter().find(|word| word.contains("://")).ok_or("no address")?;
            let status = send(client().get(*url))?.status;
            ensure(status != 404, || format!("{url}: {status}"))
        }
        ["elastic", path, ..] => {
            let ask =
                of_stack(stack, &format!("{definitions}\nelastic '{path}' -o /dev/null -w '%{{http_code}}'"));
            let status = bash(stack, &ask)?.stdout;
            ensure(status == "200", || format!("{path}: status {status}"))
        }
        ["systemctl", ..] if !Path::new("/run/systemd/system").exists() => Ok(()),
        [program, ..] => is_on_this_machine(stack, program),
        [] => Ok(()),
    }
}

fn every_link_opens(stack: &Stack) -> Result<(), String> {
    let links = pages()?;
    let links: Vec<_> =
        links.iter().flat_map(|page| page.links().into_iter().map(move |link| (page, link))).collect();
    until_all_pass("runbooks' links", links, |page, link| {
        let at = reqwest::Url::parse(&format!("{}/user/{}.md", stack.prometheus, page.name));
        let url = at.and_then(|at| at.join(link)).map_err(|e| format!("{link}: {e}"))?;
        let status = send(client().get(url.clone()))?.status;
        ensure(status == 200, || format!("{url}: {status}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_change_something_are_not_run() {
        let changing = [
            "docker compose up -d jaeger",
            "docker compose restart",
            "A=1 docker compose up -d x",
            "curl -X DELETE http://localhost:8081/faults",
            "THRESHOLDS=default make up",
            "docker compose exec -T prometheus sh -c 'kill -HUP 1'",
            "elastic /agent-logs-YYYY.MM.DD -X DELETE",
        ];
        for command in changing {
            assert_eq!(changes(command), Ok(true), "{command}");
        }
        let reading = [
            "docker compose logs jaeger | grep -i x | tail",
            "curl -s http://localhost:8000/faults",
            "make evaluate",
            "docker compose exec -T a sh -c 'cat /x/*' | jq -r '.a > 2'",
        ];
        for command in reading {
            assert_eq!(changes(command), Ok(false), "{command}");
        }
        let unknown = [
            "docker compose pause x",
            "docker compose exec -T a sh -c 'cat /x >/y'",
            "docker compose exec -T a rm /x",
            "curl -s -d x http://localhost:8000/faults",
            "cat x >y",
            "rm x",
        ];
        for command in unknown {
            assert!(changes(command).is_err(), "{command}");
        }
    }

    #[test]
    fn each_command_is_known() {
        for page in pages().unwrap() {
            for command in commands(&page).unwrap().1 {
                changes(&command).unwrap();
            }
        }
    }

    #[test]
    fn a_command_may_write_to_a_file() {
        assert_eq!(redirected("a | sort >/tmp/x").as_deref(), Some("/tmp/x"));
        assert_eq!(redirected("a 2>/dev/null | sort"), None);
    }
}
