//! Measures what log lines take in a real Elasticsearch with the kit's templates, at three sizes. The documents are those that
//! the pipelines make of a request's lines (`logstash/tests/cases/request-answered`), with ids, times and figures of their own.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use serde_json::{Value, json};
use stack_tests::logpath::elasticsearch::Elasticsearch;

/// Measures what log lines take in Elasticsearch.
#[derive(Parser)]
#[command(name = "bench-storage", version)]
struct Cli {
    /// Lines, at ever larger sizes
    #[arg(long, value_delimiter = ',', default_value = "3000,30000,300000",
          value_parser = clap::value_parser!(u64).range(3..))]
    lines: Vec<u64>,
}

/// Lines in a request to Elasticsearch.
const BATCH: u64 = 1500;
/// Long past, so that no index of today gets them.
const DAY: &str = "2020.01";

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = command_line::parse::<Cli>();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    if let Err(why) = Elasticsearch::find(repository) {
        say(&format!("skipped: Elasticsearch cannot be had here: {why}"));
        return ExitCode::SUCCESS;
    }
    match measure(&cli, repository) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => command_line::fail::<Cli>(1, &error),
    }
}

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}

fn measure(cli: &Cli, repository: &Path) -> Result<(), String> {
    let templates = templates(repository)?;
    let elasticsearch = Elasticsearch::start(repository)?;
    say(&format!(
        "{:<10} {:>12} {:>14} {:>16} {:>16} {:>18}",
        "lines", "a second", "CPU ms a line", "sent bytes each", "kept bytes each", "in one segment"
    ));
    for (number, lines) in cli.lines.iter().enumerate() {
        let index = format!("agent-logs-{DAY}.{:02}", number + 1);
        let (begun, cpu) = (Instant::now(), elasticsearch.cpu()?);
        let mut sent = 0;
        let mut written = 0;
        while written < *lines {
            let batch = BATCH.min(lines - written);
            let text = bulk(&templates, number as u64, written..written + batch);
            sent += text.len() as u64;
            elasticsearch.bulk(&index, text)?;
            written += batch;
        }
        elasticsearch.ask("POST", &format!("/{index}/_flush"), None)?;
        let took = begun.elapsed().as_secs_f64();
        let cpu = elasticsearch.cpu()?.saturating_sub(cpu).as_secs_f64();
        let kept = kept(&elasticsearch, &index, *lines)?;
        elasticsearch.ask("POST", &format!("/{index}/_forcemerge?max_num_segments=1&flush=true"), None)?;
        let merged = self::kept(&elasticsearch, &index, *lines)?;
        let each = |bytes: u64| bytes as f64 / *lines as f64;
        say(&format!(
            "{lines:<10} {:>12.0} {:>14.3} {:>16.0} {:>16.0} {:>18.0}",
            *lines as f64 / took,
            cpu * 1e3 / *lines as f64,
            each(sent),
            each(kept),
            each(merged)
        ));
    }
    Ok(())
}

/// The lines of one request that the model answered.
fn templates(repository: &Path) -> Result<Vec<Value>, String> {
    let file = repository.join("logstash/tests/cases/request-answered/expected.ndjson");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).map_err(|e| format!("{}: {e}", file.display()))?;
        if line["_index"].as_str().is_some_and(|index| index.starts_with("agent-logs-")) {
            lines.push(line["_source"].take());
        }
    }
    if lines.is_empty() { Err(format!("{} has no lines of the log", file.display())) } else { Ok(lines) }
}

/// Documents as Logstash sends them: ids of 64 hexadecimal digits, nothing the same that is not the same in practice.
fn bulk(templates: &[Value], run: u64, numbers: std::ops::Range<u64>) -> String {
    let now = SystemTime::now();
    let mut text = String::new();
    for number in numbers {
        let (request, step) = (number / templates.len() as u64, number as usize % templates.len());
        let scattered = (run << 56 | request).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let id = format!("{:064x}", u128::from(scattered) << 64 | u128::from(number));
        let mut line = templates[step].clone();
        line["@timestamp"] =
            json!(humantime::format_rfc3339_micros(now - Duration::from_millis(number)).to_string());
        line["trace"]["id"] = json!(format!("{:032x}", u128::from(scattered).wrapping_mul(0xC0FF_EE11)));
        line["span"]["id"] = json!(format!("{scattered:016x}"));
        line["request_id"] = json!(format!("01a20e08-7c2b-751d-8fa1-{:012x}", scattered & 0xFFFF_FFFF_FFFF));
        line["tenant_id"] = json!(["acme", "globex", "initech", "umbrella", "hooli"][(request % 5) as usize]);
        for figure in ["duration_seconds", "ttft_seconds", "cost_usd"] {
            if line[figure].is_number() {
                line[figure] = json!((scattered >> 40) as f64 / 1e7);
            }
        }
        if line["query_preview"].is_string() {
            line["query_preview"] =
                json!(format!("What should I do first when latency rises after deployment {request}?"));
        }
        let _ = writeln!(text, "{}\n{line}", json!({ "create": { "_id": id } }));
    }
    text
}

fn kept(elasticsearch: &Elasticsearch, index: &str, lines: u64) -> Result<u64, String> {
    let stats = elasticsearch.ask("GET", &format!("/{index}/_stats/docs,store"), None)?;
    let primaries = &stats["_all"]["primaries"];
    let documents = primaries["docs"]["count"].as_u64().unwrap_or_default();
    if documents != lines {
        return Err(format!("{index} has {documents} documents, not {lines}"));
    }
    primaries["store"]["size_in_bytes"].as_u64().ok_or(format!("no size in {stats}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_documents_are_the_same() {
        let templates = templates(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let text = bulk(&templates, 0, 0..30) + &bulk(&templates, 1, 0..30);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 120);
        let distinct = |of: usize| lines.iter().skip(of).step_by(2).collect::<BTreeSet<_>>().len();
        assert_eq!((distinct(0), distinct(1)), (60, 60));
    }
}
