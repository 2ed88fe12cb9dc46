//! A Prometheus that scrapes a real agent.
use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use reqwest::blocking::Client;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus takes the agent's OpenMetrics without an error, and has the trace of a request when asked.
pub(crate) fn stores_exemplars(prometheus: &Path) -> Result<(), Failed> {
    command_line::http::install_cryptography();
    let http = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let (_agent, api, admin) = agent()?;
    // Nobody answers for the model: a failure, but a request with a trace.
    let request =
        http.post(format!("http://{api}/v1/query")).json(&json!({ "tenant_id": "acme", "query": "q" }));
    request.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01")).send()?;

    let directory = tempfile::tempdir()?;
    let config = json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
        "scrape_configs": [{ "job_name": "agent", "static_configs": [{ "targets": [admin] }] }],
    });
    // YAML is a superset of JSON.
    std::fs::write(directory.path().join("prometheus.yml"), config.to_string())?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let server = Command::new(prometheus)
        .current_dir(directory.path())
        .args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--enable-feature=exemplar-storage",
        ])
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _server = Process(server);
    let get = |path: &str| -> Option<Value> {
        let text = http.get(format!("http://{address}/api/v1/{path}")).send().ok()?.text().ok()?;
        serde_json::from_str(&text).ok()
    };
    let query = "query_exemplars?query=agent_request_duration_seconds_bucket\
        &start=2000-01-01T00:00:00Z&end=2100-01-01T00:00:00Z";
    let stored = eventually("an exemplar", || {
        get(query).filter(|answer| answer["data"][0]["exemplars"].is_array()).ok_or("none".to_owned())
    })?;
    let exemplar = &stored["data"][0]["exemplars"][0];
    let series = &stored["data"][0]["seriesLabels"];
    if (&exemplar["labels"]["trace_id"], &series["tenant_id"]) != (&TRACE.into(), &"acme".into()) {
        return Err(format!("another exemplar: {stored}").into());
    }
    // One scrape may come to nothing on a busy machine; what Prometheus cannot read, it never can.
    eventually("a scrape without an error", || {
        let target = &get("targets").ok_or("no targets")?["data"]["activeTargets"][0];
        let is_well = (&target["health"], &target["lastError"]) == (&"up".into(), &"".into());
        if is_well { Ok(()) } else { Err(target.to_string()) }
    })
}

/// The real binary, and where it listens.
fn agent() -> Result<(Process, String, String), Failed> {
    let agent = Command::new(env!("CARGO_BIN_EXE_example-agent"))
        .env_clear()
        // Nobody is at a port that the kernel gives to nobody.
        .args(["--api-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--llm-base-url=http://127.0.0.1:1/v1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut agent = Process(agent);
    let lines = BufReader::new(agent.0.stdout.take().ok_or("no output")?);
    let mut lines =
        lines.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let listening = lines.find(|line| line["msg"] == "listening").ok_or("the agent does not listen")?;
    // Somebody has to read on: a pipe that is full or broken costs lines.
    std::thread::spawn(move || lines.for_each(drop));
    let address = |name: &str| listening[name].as_str().map(str::to_owned).ok_or("no address");
    Ok((agent, address("api")?, address("admin")?))
}

fn eventually<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> Result<T, Failed> {
    let begun = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if begun.elapsed() > PATIENCE => return Err(format!("never {what}: {last}").into()),
            Err(_) => sleep(Duration::from_millis(50)),
        }
    }
}
