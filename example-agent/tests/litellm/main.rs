//! The agent against a provider that is not ours: `LiteLLM`'s proxy, with its own answers in place of a model's. Installed by
//! `setup/litellm.sh`; listed as ignored where it is not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here, and says where")]
mod proxy;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use clap::Parser as _;
use example_agent::{App, server::Server, settings::Cli, telemetry::Handles};
use libtest_mimic::{Arguments, Trial, run};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::proxy::{ANSWER, KEY, Proxy, USAGE};

fn main() -> ExitCode {
    let program = installed();
    // One for all: it takes long to start.
    let proxy = Arc::new(OnceLock::<Result<Proxy, String>>::new());
    let trial = |name, test: fn(&Proxy)| {
        let (proxy, program) = (proxy.clone(), program.clone());
        let missing = program.is_none();
        let test = move || {
            match proxy.get_or_init(|| Proxy::start(&program.unwrap())) {
                Ok(proxy) => test(proxy),
                Err(reason) => return Err(reason.into()),
            }
            Ok(())
        };
        Trial::test(name, test).with_ignored_flag(missing)
    };
    let trials = vec![
        trial("litellm_answers_with_its_usage", answers_with_its_usage),
        trial("litellm_streams_through", streams_through),
        trial("litellm_has_the_same_bill_streamed_and_plain", has_the_same_bill),
        trial("litellm_refuses_a_wrong_key", refuses_a_wrong_key),
        trial("litellm_does_not_know_a_model", does_not_know_a_model),
        trial("litellm_is_rate_limited", is_rate_limited),
        trial("litellm_fails_and_is_asked_again", fails_and_is_asked_again),
    ];
    let conclusion = run(&Arguments::from_args(), trials);
    if let Some(Ok(proxy)) = proxy.get() {
        // Statics and what the closures hold are not dropped at the end of the process.
        proxy.stop();
    }
    conclusion.exit_code()
}

/// Where `setup/litellm.sh` puts it, or the one of `LITELLM`.
fn installed() -> Option<PathBuf> {
    let cache = env::var_os("AGENT_KIT_CACHE").map(PathBuf::from).or_else(|| {
        let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")))?;
        Some(base.join("agent-observability-kit"))
    });
    let program =
        env::var_os("LITELLM").map(PathBuf::from).or_else(|| Some(cache?.join("litellm/bin/litellm")));
    program.filter(|program| program.is_file())
}

/// An agent in this process that asks the proxy for this model.
struct Agent {
    runtime: Runtime,
    api: String,
    admin: String,
    http: reqwest::Client,
}

impl Agent {
    fn start(proxy: &Proxy, model: &str, key: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key).unwrap();
        let settings = Cli::parse_from([
            "example-agent",
            "--api-addr=127.0.0.1:0",
            "--admin-addr=127.0.0.1:0",
            "--llm-provider=litellm",
            "--llm-base-url",
            &proxy.base_url,
            "--llm-model",
            model,
            "--llm-api-key-file",
            file.path().to_str().unwrap(),
        ])
        .settings;
        let server = runtime.block_on(async {
            let app = App::new(&settings, Handles::new(&settings)).unwrap();
            Server::bind(&settings, app).await.unwrap()
        });
        let (api, admin) = (server.api_addr().unwrap(), server.admin_addr().unwrap());
        runtime.spawn(server.run(std::future::pending()));
        let (api, admin) = (format!("http://{api}"), format!("http://{admin}"));
        Self { runtime, api, admin, http: reqwest::Client::new() }
    }

    fn ask(&self, stream: bool) -> (StatusCode, String) {
        let body = json!({ "tenant_id": "acme", "query": "What is observability?", "stream": stream });
        let request = self.http.post(format!("{}/v1/query", self.api)).json(&body);
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            (response.status(), response.text().await.unwrap())
        })
    }

    fn fails_with(&self, status: u16, kind: &str) {
        let (got, text) = self.ask(true);
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got.as_u16(), body["error"]["type"].as_str()), (status, Some(kind)), "{text}");
    }

    fn metrics(&self) -> String {
        let request = self.http.get(format!("{}/metrics", self.admin));
        self.runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() })
    }
}

fn answers_with_its_usage(proxy: &Proxy) {
    let agent = Agent::start(proxy, "answering", KEY);
    let (status, text) = agent.ask(false);
    assert_eq!(status, 200, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["answer"], ANSWER);
    assert!(body["tokens"].as_u64() > Some(10), "{body}");
    let metrics = agent.metrics();
    let call =
        "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"litellm\",gen_ai_request_model=\"answering\"";
    for series in [
        format!(
            "gen_ai_client_operation_duration_seconds_count{{{call},gen_ai_response_model=\"answering\"}} 1\n"
        ),
        // It has no price in our file, and says so; its usage is its own.
        "agent_llm_unpriced_calls_total{model=\"answering\"} 1\n".to_owned(),
        "agent_llm_estimated_calls_total{model=\"answering\"} 0\n".to_owned(),
    ] {
        assert!(metrics.contains(&series), "{series}{metrics}");
    }
}

fn streams_through(proxy: &Proxy) {
    let agent = Agent::start(proxy, "answering", KEY);
    let (status, text) = agent.ask(true);
    assert_eq!(status, 200, "{text}");
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).unwrap()))
        .collect();
    let (done, deltas) = events.split_last().unwrap();
    let answer: String = deltas.iter().map(|delta| delta["text"].as_str().unwrap()).collect();
    assert_eq!((answer.as_str(), &done["cached"]), (ANSWER, &json!(false)));
    assert!(deltas.len() > 1, "in pieces: {text}");
}

/// `LiteLLM`'s own cost of a call with cached and reasoning tokens, and the agent's.
fn has_the_same_bill(proxy: &Proxy) {
    let agent = Agent::start(proxy, "gpt-5-mini", KEY);
    let (status, text) = agent.ask(false);
    assert_eq!(status, 200, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let ours = body["cost_usd"].as_f64().unwrap();
    assert_eq!(body["tokens"], USAGE[0] + USAGE[2]);
    let request = |stream: bool| {
        let mut question = json!({ "model": "gpt-5-mini", "stream": stream,
            "messages": [{ "role": "user", "content": "What is observability?" }] });
        if stream {
            question["stream_options"] = json!({ "include_usage": true });
        }
        agent
            .http
            .post(format!("{}/chat/completions", proxy.base_url))
            .bearer_auth(KEY)
            .json(&question)
            .send()
    };
    let plain = agent.runtime.block_on(request(false)).unwrap();
    let plain: f64 = plain.headers()["x-litellm-response-cost"].to_str().unwrap().parse().unwrap();
    let streamed = agent.runtime.block_on(async { request(true).await.unwrap().text().await.unwrap() });
    let events =
        streamed.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let streamed = events.filter_map(|event| event["usage"]["cost"].as_f64()).next_back().unwrap();
    for theirs in [plain, streamed] {
        assert!((ours / theirs - 1.0).abs() < 0.001, "{ours} USD, LiteLLM has {theirs} USD");
    }
}

fn refuses_a_wrong_key(proxy: &Proxy) {
    Agent::start(proxy, "answering", "sk-not-the-key").fails_with(502, "upstream_error");
    Agent::start(proxy, "answering", "").fails_with(502, "upstream_error");
}

fn does_not_know_a_model(proxy: &Proxy) {
    let agent = Agent::start(proxy, "unheard-of", KEY);
    agent.fails_with(502, "upstream_error");
    assert!(agent.metrics().contains("agent_llm_retries_total{reason=\"server_error\"} 0\n"));
}

fn is_rate_limited(proxy: &Proxy) {
    let agent = Agent::start(proxy, "limited", KEY);
    agent.fails_with(503, "upstream_rate_limited");
    assert!(agent.metrics().contains("agent_llm_retries_total{reason=\"rate_limited\"} 2\n"));
}

fn fails_and_is_asked_again(proxy: &Proxy) {
    let agent = Agent::start(proxy, "failing", KEY);
    agent.fails_with(502, "upstream_error");
    assert!(agent.metrics().contains("agent_llm_retries_total{reason=\"server_error\"} 2\n"));
}
