//! A `LiteLLM` proxy of our own, which reaches nobody.
use std::{
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

/// It imports half of what Python has.
const PATIENCE: Duration = Duration::from_mins(3);
/// It refuses to start with one that looks like an example.
pub(crate) const KEY: &str = "sk-1f6c0b9d47e2a853c1f6c0b9d47e2a85";
/// What it says in place of a model.
pub(crate) const ANSWER: &str = "Observability is how well one can tell what goes on inside of a system by what it shows \
    outside: its metrics, its log lines and its traces, which are three views of the same requests.";

/// The process and its folder.
pub(crate) struct Proxy {
    pub(crate) base_url: String,
    process: Mutex<Child>,
    folder: TempDir,
}

impl Proxy {
    /// Starts one and waits until it answers. The error is what it has logged.
    pub(crate) fn start(program: &Path) -> Result<Self, String> {
        command_line::http::install_cryptography();
        let folder = tempfile::tempdir().unwrap();
        let model = |name: &str, response: &str| {
            let provider =
                json!({ "model": "openai/gpt-4o-mini", "api_key": "none", "mock_response": response });
            json!({ "model_name": name, "litellm_params": provider })
        };
        // JSON is YAML.
        let config = json!({
            "model_list": [
                model("answering", ANSWER),
                model("limited", "litellm.RateLimitError"),
                model("failing", "litellm.InternalServerError"),
            ],
            "router_settings": { "num_retries": 0, "disable_cooldowns": true },
            "litellm_settings": { "num_retries": 0 },
            "general_settings": { "master_key": KEY },
        });
        std::fs::write(folder.path().join("config.yaml"), config.to_string()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(program)
            .args(["--config", "config.yaml", "--host", "127.0.0.1", "--port", &port.to_string()])
            .current_dir(folder.path())
            // Prices and usage data stay where they are.
            .envs([
                ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
                ("LITELLM_TELEMETRY", "False"),
                ("NO_PROXY", "127.0.0.1"),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut proxy =
            Self { base_url: format!("http://127.0.0.1:{port}/v1"), process: Mutex::new(process), folder };
        proxy.wait(&format!("http://127.0.0.1:{port}/health/liveliness"))?;
        Ok(proxy)
    }

    fn wait(&mut self, health: &str) -> Result<(), String> {
        let (http, start) = (reqwest::blocking::Client::new(), Instant::now());
        while !http.get(health).send().is_ok_and(|response| response.status() == 200) {
            let ended = self.process.get_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                self.stop();
                return Err(format!("LiteLLM does not start ({ended:?}):\n{log}"));
            }
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}
