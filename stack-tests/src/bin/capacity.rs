//! What each part of a running stack takes for so many requests a second: processor time, memory, bytes in Elasticsearch. Part
//! of `make capacity`, where a stack runs.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::Value;
use stack_tests::{containers::Containers, stack::Stack, usage::Usage};

/// Measures what each part of the stack takes for so many requests a second.
#[derive(Parser)]
#[command(name = "capacity", version)]
struct Cli {
    /// The program behind `make load`
    #[arg(long, default_value = "target/release/load-test")]
    load_test: PathBuf,
    /// Requests a second, at ever larger rates; each asks the model
    #[arg(long, value_delimiter = ',', default_value = "10,30,90", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rates: Vec<u32>,
    /// How long each is held, and how long nothing is asked before
    #[arg(long, default_value = "30s", value_parser = command_line::some_time)]
    time: Duration,
}

/// Until spans are exported, lines shipped, series scraped: what a request sets in motion.
const SETTLE: Duration = Duration::from_secs(15);
const MIB: f64 = (1_u64 << 20) as f64;
/// Indices by what is in them.
const INDICES: [(&str, &str); 3] =
    [("log lines", "agent-logs-"), ("audit events", "agent-audit-"), ("spans", "agent-kit-jaeger-span-")];

type ByService = BTreeMap<String, Usage>;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = command_line::parse::<Cli>();
    match measure(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => command_line::fail::<Cli>(1, &error),
    }
}

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}

struct Step {
    requests: f64,
    p95_ms: f64,
    /// Processor time of a request by service, in milliseconds, without what it takes when nothing is asked.
    cpu_ms: BTreeMap<String, f64>,
    after: ByService,
    stored: BTreeMap<&'static str, (u64, u64)>,
}

fn measure(cli: &Cli) -> Result<(), String> {
    let stack = Stack::from_env();
    let containers = stack.containers.as_ref().ok_or("STACK_COMPOSE_PROJECT names no project")?;
    let services = containers.services()?;
    if services.is_empty() {
        return Err(format!("no stack runs as {}: run make up first", containers.project()));
    }
    let watched: Vec<_> = services.into_iter().filter(|service| service != "load").collect();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    say(&format!("nothing but the base traffic for {} s", cli.time.as_secs()));
    let (before, begun) = (usage(containers, &watched)?, Instant::now());
    thread::sleep(cli.time);
    let idle = per_second(&before, &usage(containers, &watched)?, begun.elapsed());
    let mut steps = Vec::new();
    let with_elasticsearch = watched.iter().any(|service| service == "elasticsearch");
    for rate in &cli.rates {
        let (before, begun) = (usage(containers, &watched)?, Instant::now());
        let report = load(cli, &stack.agent, *rate, folder.path())?;
        thread::sleep(SETTLE);
        let after = usage(containers, &watched)?;
        let took = begun.elapsed();
        let total = &report["total"];
        let number = |name: &str| total[name].as_f64().ok_or(format!("load-test's report lacks {name}"));
        let requests = number("answered")?;
        if requests == 0.0 {
            return Err("the agent answered nothing".to_owned());
        }
        let used = per_second(&before, &after, took);
        let cpu_ms = used.into_iter().map(|(service, cpu)| {
            let beyond = (cpu - idle.get(&service).copied().unwrap_or_default()).max(0.0);
            (service, beyond * took.as_secs_f64() * 1e3 / requests)
        });
        let stored = if with_elasticsearch { stored(&stack)? } else { BTreeMap::new() };
        say(&format!("{rate} requests a second: {requests} answers, P95 {:.0} ms", number("p95_ms")?));
        steps.push(Step { requests, p95_ms: number("p95_ms")?, cpu_ms: cpu_ms.collect(), after, stored });
    }
    say(&table(cli, &watched, &idle, &steps));
    say(&prometheus(&stack)?);
    if !with_elasticsearch {
        say("skipped: what is kept of lines and spans: no Elasticsearch runs");
    }
    Ok(())
}

fn usage(containers: &Containers, services: &[String]) -> Result<ByService, String> {
    let of = |service: &String| {
        let pid = containers.inspect(service)?["State"]["Pid"].as_u64().unwrap_or_default();
        Ok((service.clone(), Usage::of(pid).map_err(|e| format!("{service}: {e}"))?))
    };
    services.iter().map(of).collect()
}

/// Seconds of processor time in a second.
fn per_second(before: &ByService, after: &ByService, took: Duration) -> BTreeMap<String, f64> {
    let used = |(service, now): (&String, &Usage)| {
        let earlier = before.get(service).copied().unwrap_or_default();
        (service.clone(), now.cpu.saturating_sub(earlier.cpu).as_secs_f64() / took.as_secs_f64())
    };
    after.iter().map(used).collect()
}

fn load(cli: &Cli, agent: &str, rate: u32, folder: &std::path::Path) -> Result<Value, String> {
    let mut command = Command::new(&cli.load_test);
    command.args(["run", "--url", agent, "--rate", &rate.to_string(), "--fresh", "100%", "--progress", "1h"]);
    command.args([
        "--duration",
        &humantime::format_duration(cli.time).to_string().replace(' ', ""),
        "--report",
    ]);
    let ended = command.arg(folder).stdin(Stdio::null()).output();
    let ended = ended.map_err(|e| format!("{}: {e}", cli.load_test.display()))?;
    if !ended.status.success() {
        return Err(format!("load-test: {}", String::from_utf8_lossy(&ended.stderr).trim()));
    }
    let file = folder.join("load.json");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
}

/// Documents and bytes by kind, of indices whose segments are on the disk.
fn stored(stack: &Stack) -> Result<BTreeMap<&'static str, (u64, u64)>, String> {
    stack.elasticsearch_as("elastic", "POST /agent-*/_flush", None)?;
    let stats = stack.elasticsearch_as("elastic", "GET /agent-*/_stats/docs,store", None)?.json()?;
    let indices = stats["indices"].as_object().ok_or(format!("no indices in {stats:.300}"))?;
    let mut all = BTreeMap::new();
    for (kind, prefix) in INDICES {
        let of_kind = indices
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && name[prefix.len()..].starts_with('2'));
        let sum = of_kind.fold((0, 0), |(documents, bytes), (_, index)| {
            let primaries = &index["primaries"];
            (
                documents + primaries["docs"]["count"].as_u64().unwrap_or(0),
                bytes + primaries["store"]["size_in_bytes"].as_u64().unwrap_or(0),
            )
        });
        all.insert(kind, sum);
    }
    Ok(all)
}

fn table(cli: &Cli, services: &[String], idle: &BTreeMap<String, f64>, steps: &[Step]) -> String {
    let mut rows = vec![
        format!(
            "\n{:<24} {:>12} {:>36}   {:>36}",
            "", "idle, %", "CPU ms a request, at a rate of", "MiB held after a rate of"
        ),
        format!("{:<24} {:>12} {}   {}", "", "of a core", rates(cli), rates(cli)),
    ];
    for service in services {
        let cpu = columns(steps.iter().map(|step| step.cpu_ms.get(service).copied().unwrap_or(0.0)), 2);
        let held = |step: &Step| step.after.get(service).copied().unwrap_or_default().memory as f64 / MIB;
        let memory = columns(steps.iter().map(held), 0);
        let idle = idle.get(service).copied().unwrap_or(0.0) * 100.0;
        rows.push(format!("{service:<24} {idle:>12.1} {cpu}   {memory}"));
    }
    let all = columns(steps.iter().map(|step| step.cpu_ms.values().sum()), 2);
    rows.push(format!("{:<24} {:>12.1} {all}", "all", idle.values().sum::<f64>() * 100.0));
    let p95 = columns(steps.iter().map(|step| step.p95_ms), 0);
    rows.push(format!("{:<24} {:>12} {p95}", "P95 ms", ""));
    rows.push(format!(
        "\n{:<24} {:>16} {:>12} {:>16}   nested documents included",
        "kept in Elasticsearch", "bytes a request", "documents", "bytes each"
    ));
    for (kind, _) in INDICES {
        let mut before = None;
        for step in steps {
            let (documents, bytes) = step.stored.get(kind).copied().unwrap_or_default();
            if documents == 0 {
                continue;
            }
            let new = before
                .map(|before: u64| format!("{:.0}", bytes.saturating_sub(before) as f64 / step.requests));
            before = Some(bytes);
            let each = bytes as f64 / documents as f64;
            rows.push(format!("{kind:<24} {:>16} {documents:>12} {each:>16.0}", new.unwrap_or_default()));
        }
        if before.is_none() {
            rows.push(format!("skipped: {kind}: none came into Elasticsearch"));
        }
    }
    rows.join("\n")
}

fn rates(cli: &Cli) -> String {
    columns(cli.rates.iter().copied().map(f64::from), 0)
}

fn columns(values: impl Iterator<Item = f64>, digits: usize) -> String {
    values.map(|value| format!(" {value:>11.digits$}")).collect::<Vec<_>>().concat()
}

fn prometheus(stack: &Stack) -> Result<String, String> {
    let value = |query: &str| {
        let answer = stack.get(&format!("{}/api/v1/query?query={query}", stack.prometheus))?;
        let text = answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
        text.and_then(|text| text.parse::<f64>().ok()).ok_or(format!("Prometheus has no {query}"))
    };
    Ok(format!(
        "\nPrometheus: {:.0} series, {:.0} samples a second",
        value("prometheus_tsdb_head_series")?,
        value("sum(rate(prometheus_tsdb_head_samples_appended_total%5B1m%5D))")?
    ))
}
