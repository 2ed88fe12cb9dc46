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

use axum::{
    Json, Router,
    http::header,
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// It imports half of what Python has.
const PATIENCE: Duration = Duration::from_mins(3);
/// It refuses to start with one that looks like an example.
pub(crate) const KEY: &str = "sk-1f6c0b9d47e2a853c1f6c0b9d47e2a85";
/// What it says in place of a model.
pub(crate) const ANSWER: &str = "Observability is how well one can tell what goes on inside of a system by what it shows \
    outside: its metrics, its log lines and its traces, which are three views of the same requests.";

/// Tokens of each call of the model behind the name `priced`: input, of that cached, output, of that reasoning.
pub(crate) const USAGE: [u64; 4] = [4321, 3072, 765, 512];

/// The process, its folder and the model behind it.
pub(crate) struct Proxy {
    pub(crate) base_url: String,
    /// Serves the model that `LiteLLM` asks under its real name.
    _model: Runtime,
    process: Mutex<Child>,
    folder: TempDir,
}

impl Proxy {
    /// Starts one and waits until it answers. The error is what it has logged.
    pub(crate) fn start(program: &Path) -> Result<Self, String> {
        command_line::http::install_cryptography();
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let socket = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let behind = format!("http://{}/v1", socket.local_addr().unwrap());
        let routes = Router::new().route("/v1/chat/completions", post(complete));
        runtime.spawn(async { axum::serve(socket, routes).await });
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
                json!({ "model_name": "gpt-5-mini",
                    "litellm_params": { "model": "openai/gpt-5-mini", "api_key": "none", "api_base": behind } }),
            ],
            "router_settings": { "num_retries": 0, "disable_cooldowns": true },
            "litellm_settings": { "num_retries": 0, "include_cost_in_streaming_usage": true },
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
        let mut proxy = Self {
            base_url: format!("http://127.0.0.1:{port}/v1"),
            _model: runtime,
            process: Mutex::new(process),
            folder,
        };
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

/// An answer in OpenAI's shape, plain or streamed, with cached and reasoning tokens.
async fn complete(Json(body): Json<Value>) -> Response {
    let [input, cached, output, reasoning] = USAGE;
    let usage = json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": { "reasoning_tokens": reasoning },
    });
    let answer = |object: &str, choices: Value, usage: Value| {
        json!({ "id": "chatcmpl-1", "object": object, "created": 1_760_000_000, "model": "gpt-5-mini-2025-08-07",
            "choices": choices, "usage": usage })
    };
    if body["stream"] != true {
        let message = json!({ "role": "assistant", "content": ANSWER });
        let choices = json!([{ "index": 0, "message": message, "finish_reason": "stop" }]);
        return Json(answer("chat.completion", choices, usage)).into_response();
    }
    let chunk = |choices: Value, usage: Value| {
        format!("data: {}\n\n", answer("chat.completion.chunk", choices, usage))
    };
    let text =
        json!([{ "index": 0, "delta": { "role": "assistant", "content": ANSWER }, "finish_reason": null }]);
    let end = json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]);
    let events =
        chunk(text, Value::Null) + &chunk(end, Value::Null) + &chunk(json!([]), usage) + "data: [DONE]\n\n";
    ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
}
