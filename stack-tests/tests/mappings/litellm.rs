//! `LiteLLM`'s proxy with the simulator as its provider.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Parser as _;
use reqwest::blocking::Client;
use serde_json::json;
use simulators::{llm::trace::Tracing, settings};
use stack_tests::{
    clients,
    programs::{Process, free_address},
    tools,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::server::Prometheus;

/// It imports half of what Python has.
const PATIENCE: Duration = Duration::from_mins(3);
/// It refuses to start with one that looks like an example.
const KEY: &str = "sk-1f6c0b9d47e2a853c1f6c0b9d47e2a85";

/// Where `setup/litellm.sh` puts it.
pub(crate) fn installed() -> Option<PathBuf> {
    tools::cache().map(|cache| cache.join("litellm/bin/litellm")).filter(|program| program.is_file())
}

/// Money spent fires, failures are told from refusals, and the dashboards' expressions have values.
pub(crate) fn has_data(repository: &Path, prometheus: &Path, program: &Path) -> Result<(), String> {
    let provider = provider()?;
    let proxy = Proxy::start(program, &provider)?;
    let prometheus = Prometheus::start(repository, prometheus, "litellm", ("litellm", &proxy.address, KEY))?;
    // Its metrics begin with the first request of each kind; what follows is then an increase.
    for question in ["first", "second", "third", "third"] {
        proxy.ask(KEY, "small", question, 200)?;
    }
    proxy.ask(KEY, "unheard-of", "x", 400)?;
    clients::client()
        .put(format!("{provider}/faults"))
        .body("{\"error_ratio\": 1}")
        .send()
        .and_then(reqwest::blocking::Response::error_for_status)
        .map_err(|e| e.to_string())?;
    proxy.ask(KEY, "small", "it fails", 500)?;

    prometheus.waits_for_alert("HighAPICost")?;
    for (expression, holds) in [
        ("sum(agent_requests_total{job=\"litellm\", status=\"success\"})", (|n| n >= 4.0) as fn(f64) -> bool),
        ("sum(agent_requests_total{job=\"litellm\", status=\"error\"})", |n| n >= 1.0),
        ("sum(agent_errors_total{error_type=\"Openai.InternalServerError\"})", |n| n >= 1.0),
        ("sum(agent_requests_total{status=\"rejected\", endpoint=\"/v1/chat/completions\"})", |n| {
            (n - 1.0).abs() < 0.1
        }),
        ("sum(agent_request_duration_seconds_bucket{le=\"+Inf\"})", |n| n >= 4.0),
        ("sum(agent_request_duration_seconds_sum)", |seconds| seconds > 0.0),
        ("sum by (direction) (agent_llm_tokens_total{tenant_id=\"other\"})", |tokens| tokens > 10.0),
        ("sum by (result) (agent_cache_requests_total{cache_type=\"response\"})", |n| n >= 1.0),
        ("sum by (gen_ai_request_model) (gen_ai_client_operation_duration_seconds_count)", |n| n >= 3.0),
        ("agent_build_info{job=\"litellm\"}", |one| (one - 1.0).abs() < 0.1),
        ("agent_requests_in_flight{job=\"litellm\"}", |n| n >= 1.0),
        ("sum(agent:api_cost_usd:increase1h)", |dollars| dollars > 10.0),
    ] {
        prometheus.waits_for(expression, holds)?;
    }
    Ok(())
}

/// Starts the kit's own provider, without its waiting times.
fn provider() -> Result<String, String> {
    let settings = settings::Cli::parse_from(["simulators", "llm", "--time-scale=0"]);
    let settings::Command::Llm(settings) = settings.command else { unreachable!("it is the one named") };
    let router = simulators::llm::router(&settings, Arc::new(Tracing::new(None, "test")?));
    let runtime = Runtime::new().map_err(|e| e.to_string())?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    thread::spawn(move || runtime.block_on(async { axum::serve(listener, router).await }));
    Ok(format!("http://{address}"))
}

struct Proxy {
    address: String,
    http: Client,
    process: Process,
    folder: TempDir,
}

impl Proxy {
    /// Starts one that asks this provider. The error is what it has logged.
    fn start(program: &Path, provider: &str) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", program.display());
        let folder = tempfile::tempdir().map_err(failed)?;
        let config = json!({
            "model_list": [{
                "model_name": "small",
                "litellm_params": {
                    "model": "openai/sim-small", "api_base": format!("{provider}/v1"), "api_key": "none",
                    // Ten dollars are soon spent.
                    "input_cost_per_token": 1, "output_cost_per_token": 1,
                },
            }],
            "router_settings": { "num_retries": 0, "disable_cooldowns": true },
            "litellm_settings": {
                "num_retries": 0, "callbacks": ["prometheus"], "cache": true, "cache_params": { "type": "local" },
            },
            "general_settings": { "master_key": KEY },
        });
        std::fs::write(folder.path().join("config.yaml"), config.to_string()).map_err(failed)?;
        let address = free_address()?;
        let port = address.rsplit(':').next().unwrap_or_default();
        let log = std::fs::File::create(folder.path().join("log")).map_err(failed)?;
        let process = Command::new(program)
            .args(["--config", "config.yaml", "--host", "127.0.0.1", "--port", port])
            .current_dir(folder.path())
            // Prices and usage data stay where they are.
            .envs([
                ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
                ("LITELLM_TELEMETRY", "False"),
                ("NO_PROXY", "127.0.0.1"),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut proxy = Self { address, http: clients::client(), process: Process(process), folder };
        proxy.wait()?;
        Ok(proxy)
    }

    fn wait(&mut self) -> Result<(), String> {
        let (health, start) = (format!("http://{}/health/liveliness", self.address), Instant::now());
        while !self.http.get(&health).send().is_ok_and(|response| response.status() == 200) {
            let ended = self.process.0.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                return Err(format!("LiteLLM does not start ({ended:?}):\n{}", self.log()));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn ask(&self, key: &str, model: &str, question: &str, status: u16) -> Result<(), String> {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": question }] });
        let url = format!("http://{}/v1/chat/completions", self.address);
        let response = self.http.post(url).bearer_auth(key).json(&body).send().map_err(|e| e.to_string())?;
        if response.status().as_u16() == status {
            return Ok(());
        }
        Err(format!("{question}: {} instead of {status}\n{}", response.status(), self.log()))
    }
}
