//! Measures the way of the lines: what a real Logstash and a real Elasticsearch, side by side on this machine, do with lines
//! that wait in a file, and how soon a line can be found when 1,000 come a second. Prints a table, and writes it to a file.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use serde_json::{Value, json};
use stack_tests::{
    logpath::{Program, elasticsearch::Elasticsearch, logstash::Logstash, traffic::Traffic},
    wait,
};

/// Measures Logstash and Elasticsearch together.
#[derive(Parser)]
struct Cli {
    /// Lines before the measurement: Java compiles what it does often.
    #[arg(long, default_value_t = 60_000)]
    warm_up_lines: u64,
    /// Lines that are measured.
    #[arg(long, default_value_t = 120_000)]
    lines: u64,
    /// How long lines come at their rate.
    #[arg(long, default_value_t = 60)]
    latency_seconds: u64,
    /// Lines a second, for the latency.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Where the numbers go.
    #[arg(long, default_value = "target/bench/logs.json")]
    output: PathBuf,
}

/// How long any of it may take.
const LIMIT: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let found = Program::find(repository, "logstash")
        .and_then(|logstash| Elasticsearch::find(repository).map(|()| logstash));
    let logstash = match found {
        Ok(logstash) => logstash,
        Err(why) => {
            say(&format!("skipped: Logstash and Elasticsearch cannot both be had here: {why}"));
            return ExitCode::SUCCESS;
        }
    };
    match measure(&cli, repository, &logstash) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}

fn measure(cli: &Cli, repository: &Path, program: &Program) -> Result<(), String> {
    let logs = tempfile::Builder::new().prefix("logs").tempdir().map_err(|e| e.to_string())?;
    stack_tests::logpath::readable(logs.path())?;
    let elasticsearch = Elasticsearch::start(repository)?;
    let password = elasticsearch.secret("logstash_elasticsearch_password")?;
    let mut logstash =
        Logstash::start(program, repository, logs.path(), &elasticsearch.url(), &password, &[])?;
    logstash.wait_ready()?;
    let mut files = Files { folder: logs.path().to_owned(), traffic: Traffic::default(), lines: 0 };

    say(&format!("Warming up with {} lines", cli.warm_up_lines));
    files.write("agent.2025-11-24-00.ndjson", cli.warm_up_lines)?;
    indexed(&elasticsearch, files.lines)?;

    say(&format!("Measuring {} lines that wait in a file", cli.lines));
    let throughput = throughput(cli, &elasticsearch, &logstash, &mut files)?;
    say(&format!("Measuring {} lines a second for {} s", cli.rate, cli.latency_seconds));
    let latency = latency(cli, &elasticsearch, &mut files)?;
    let memory = logstash.resident_bytes();
    logstash.stop()?;

    let result = json!({ "cores": thread::available_parallelism().map_or(0, usize::from), "throughput": throughput,
        "latency": latency, "logstash_resident_bytes": memory });
    if let Some(folder) = cli.output.parent() {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    fs::write(&cli.output, format!("{result:#}\n")).map_err(|e| format!("{}: {e}", cli.output.display()))?;
    say(&table(&result));
    say(&format!("written to {}", cli.output.display()));
    Ok(())
}

struct Files {
    folder: PathBuf,
    traffic: Traffic,
    lines: u64,
}

impl Files {
    fn write(&mut self, name: &str, lines: u64) -> Result<(), String> {
        let now = SystemTime::now();
        let text: String = (0..lines).map(|_| self.traffic.line(now)).collect();
        self.lines += lines;
        fs::write(self.folder.join(name), text).map_err(|e| format!("{name}: {e}"))
    }
}

fn indexed(elasticsearch: &Elasticsearch, lines: u64) -> Result<(), String> {
    wait::until("all lines are indexed", LIMIT, || {
        let got = elasticsearch.indexed()?;
        if got >= lines { Ok(()) } else { Err(format!("{got} of {lines} lines")) }
    })
}

/// From a tenth of the lines to the last.
fn throughput(
    cli: &Cli,
    elasticsearch: &Elasticsearch,
    logstash: &Logstash,
    files: &mut Files,
) -> Result<Value, String> {
    let before = files.lines;
    files.write("agent.2025-11-24-01.ndjson", cli.lines)?;
    indexed(elasticsearch, before + cli.lines / 10)?;
    let begun = (elasticsearch.indexed()?, Instant::now(), logstash.cpu()?, elasticsearch.cpu()?);
    indexed(elasticsearch, files.lines)?;
    let seconds = begun.1.elapsed().as_secs_f64();
    let lines = (files.lines - begun.0) as f64;
    let millis = |duration: Duration| duration.as_secs_f64() * 1000.0 / lines;
    let (ours, theirs) = (
        millis(logstash.cpu()?.saturating_sub(begun.2)),
        millis(elasticsearch.cpu()?.saturating_sub(begun.3)),
    );
    Ok(json!({ "lines": lines, "seconds": seconds, "lines_per_second": lines / seconds,
        "logstash_cpu_milliseconds_per_line": ours, "elasticsearch_cpu_milliseconds_per_line": theirs,
        "lines_per_second_two_cores_have_time_for": 2000.0 / (ours + theirs) }))
}

/// The line written as the n-th counts as found when n can be.
fn latency(cli: &Cli, elasticsearch: &Elasticsearch, files: &mut Files) -> Result<Value, String> {
    wait::until("all lines are found", LIMIT, || {
        let found = elasticsearch.searchable()?;
        if found == files.lines { Ok(()) } else { Err(format!("{found} of {}", files.lines)) }
    })?;
    let path = files.folder.join("agent.2025-11-24-02.ndjson");
    let mut file = File::options().create(true).append(true).open(&path).map_err(|e| e.to_string())?;
    let (before, total, rate) = (files.lines, cli.rate * cli.latency_seconds, cli.rate);
    files.lines += total;
    let mut traffic = std::mem::take(&mut files.traffic);
    let begun = Instant::now();
    let writer = thread::spawn(move || {
        let mut written_at = Vec::new();
        while (written_at.len() as u64) < total {
            let due = ((begun.elapsed().as_secs_f64() * rate as f64) as u64).min(total);
            let now = SystemTime::now();
            let text: String = (written_at.len() as u64..due).map(|_| traffic.line(now)).collect();
            file.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
            written_at.resize(due as usize, begun.elapsed());
            thread::sleep(Duration::from_millis(10));
        }
        Ok::<_, String>(written_at)
    });
    let mut found_at = Vec::new();
    while (found_at.len() as u64) < total {
        let found = elasticsearch.searchable()? - before;
        found_at.resize(found as usize, begun.elapsed());
        if begun.elapsed() > LIMIT {
            return Err(format!("{found} of {total} lines are found after {} s", LIMIT.as_secs()));
        }
        thread::sleep(Duration::from_millis(100));
    }
    let written_at = writer.join().map_err(|_| "the writer panicked")??;
    let mut latencies: Vec<_> =
        found_at.iter().zip(&written_at).map(|(found, written)| found.saturating_sub(*written)).collect();
    latencies.sort_unstable();
    let quantile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64();
    Ok(
        json!({ "lines": total, "lines_per_second": rate, "p50_seconds": quantile(0.5), "p95_seconds": quantile(0.95),
        "max_seconds": quantile(1.0) }),
    )
}

fn table(result: &Value) -> String {
    let (throughput, latency) = (&result["throughput"], &result["latency"]);
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let memory = result["logstash_resident_bytes"].as_u64();
    let memory = memory.map_or("not known".into(), |bytes| format!("{} MB", bytes / 1_000_000));
    [
        format!(
            "lines a second, sustained                 {:>10.0}",
            number(&throughput["lines_per_second"])
        ),
        format!(
            "processor time a line, Logstash           {:>10.3} ms",
            number(&throughput["logstash_cpu_milliseconds_per_line"])
        ),
        format!(
            "processor time a line, Elasticsearch      {:>10.3} ms",
            number(&throughput["elasticsearch_cpu_milliseconds_per_line"])
        ),
        format!(
            "lines a second two idle cores have time for {:>8.0}",
            number(&throughput["lines_per_second_two_cores_have_time_for"])
        ),
        format!(
            "found after, p50 at {} lines a second     {:>8.1} s",
            latency["lines_per_second"],
            number(&latency["p50_seconds"])
        ),
        format!("found after, p95                          {:>10.1} s", number(&latency["p95_seconds"])),
        format!("Logstash's memory                         {memory:>13}"),
    ]
    .join("\n")
}
