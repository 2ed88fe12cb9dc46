//! A running service of either language.
use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};
use stack_tests::programs::free_address;

use crate::surroundings::{Collector, Provider, client, eventually};

const PYTHON_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instrumenting-python");

/// Which one, and how it is started.
#[derive(Clone)]
pub(crate) enum Kind {
    Rust,
    /// Out of this virtual environment.
    Python(PathBuf),
    /// The same with two processes.
    PythonWorkers(PathBuf),
}

/// The process, and what it has written.
pub(crate) struct Service {
    api: String,
    metrics: String,
    pub(crate) http: Client,
    process: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    /// Of the workers' counts.
    _folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        // Its workers too, where it has some.
        let group = Pid::from_raw(self.process.id().cast_signed());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

impl Service {
    pub(crate) fn start(kind: &Kind, provider: &Provider, collector: Option<&Collector>) -> Self {
        let (api, admin) = (free_address().unwrap(), free_address().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let (mut command, metrics) = match kind {
            Kind::Rust => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_instrumenting-rust"));
                command.env_clear().args(["--api-addr", &api, "--admin-addr", &admin]);
                (command, admin)
            }
            Kind::Python(environment) => (uvicorn(environment, &api), api.clone()),
            Kind::PythonWorkers(environment) => {
                let mut command = uvicorn(environment, &api);
                command.args(["--workers", "2"]).env("PROMETHEUS_MULTIPROC_DIR", folder.path());
                (command, api.clone())
            }
        };
        command.env("LLM_BASE_URL", provider.base_url());
        command.envs(collector.map(|collector| ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)));
        let mut process = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let (output, kept) = (process.stdout.take().unwrap(), lines.clone());
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let line = line.unwrap();
                let parsed = serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
                kept.lock().unwrap().push(parsed);
            }
        });
        let service = Self { api, metrics, http: client(), process, lines, _folder: folder };
        let health = format!("http://{}/healthz", service.metrics);
        eventually("the service answers", || {
            service.http.get(&health).send().ok().filter(|response| response.status() == 200)
        });
        service
    }

    pub(crate) fn api_url(&self) -> String {
        format!("http://{}/v1/summaries", self.api)
    }

    /// Sends a text of this tenant, within this trace.
    pub(crate) fn ask(&self, tenant: &str, text: &str, trace: u128) -> Response {
        let request = self.http.post(self.api_url());
        let parent = format!("00-{trace:032x}-b7ad6b7169203331-01");
        request
            .header("traceparent", parent)
            .json(&json!({ "tenant_id": tenant, "text": text }))
            .send()
            .unwrap()
    }

    /// Asks for what is no route.
    pub(crate) fn stray(&self) {
        let method = reqwest::Method::from_bytes(b"BREW").unwrap();
        let response =
            self.http.request(method, format!("http://{}/no/such/route", self.api)).send().unwrap();
        assert!(response.status().is_client_error(), "{}", response.status());
    }

    pub(crate) fn metrics(&self) -> String {
        self.http.get(format!("http://{}/metrics", self.metrics)).send().unwrap().text().unwrap()
    }

    /// The lines of requests, once this many are completed.
    pub(crate) fn lines(&self, completed: usize) -> Vec<Value> {
        eventually("the requests are completed", || {
            let mut lines = self.lines.lock().unwrap().clone();
            lines.retain(|line| line.get("request_id").is_some());
            (lines.iter().filter(|line| line["msg"] == "request completed").count() >= completed)
                .then_some(lines)
        })
    }
}

fn uvicorn(environment: &Path, address: &str) -> Command {
    let mut command = Command::new(environment.join("bin/uvicorn"));
    let port = address.rsplit(':').next().unwrap();
    command.env_clear().args([
        "--app-dir",
        PYTHON_FOLDER,
        "--no-access-log",
        "--log-level",
        "warning",
        "--port",
        port,
    ]);
    // Nothing is written beside the sources.
    command.arg("app:app").env("PYTHONDONTWRITEBYTECODE", "1").env("OTEL_BSP_SCHEDULE_DELAY", "200");
    command
}
