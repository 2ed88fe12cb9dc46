//! An agent, a provider and a collector to test with, each on a port of its own.
use std::{
    convert::Infallible,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Parser as _;
use example_agent::{App, server::Server, settings::Cli, telemetry::Handles};
use futures_util::StreamExt as _;
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

/// An agent in this process.
pub(crate) struct TestApp {
    pub(crate) api: String,
    pub(crate) admin: String,
    pub(crate) http: reqwest::Client,
}

/// Starts an agent that asks this provider.
pub(crate) async fn spawn_app(provider: &Provider, more: &[&str]) -> TestApp {
    let base = provider.base_url();
    let args = [
        "example-agent",
        "--api-addr=127.0.0.1:0",
        "--admin-addr=127.0.0.1:0",
        "--llm-base-url",
        base.as_str(),
    ];
    let settings = Cli::parse_from(args.iter().chain(more)).settings;
    let app = App::new(&settings, Handles::new(&settings)).unwrap();
    let server = Server::bind(&settings, app).await.unwrap();
    let (api, admin) = (server.api_addr().unwrap(), server.admin_addr().unwrap());
    tokio::spawn(server.run(std::future::pending()));
    TestApp { api: format!("http://{api}"), admin: format!("http://{admin}"), http: http_client() }
}

/// Even plain HTTP wants the process to have chosen its cryptography, and a test may be the first here to ask.
pub(crate) fn http_client() -> reqwest::Client {
    command_line::http::install_cryptography();
    reqwest::Client::new()
}

impl TestApp {
    pub(crate) async fn ask(&self, body: impl Into<reqwest::Body>) -> (StatusCode, HeaderMap, Value) {
        let request =
            self.http.post(format!("{}/v1/query", self.api)).header("content-type", "application/json");
        parts(request.body(body).send().await.unwrap()).await
    }

    pub(crate) async fn ask_as(&self, tenant: &str, query: &str) -> (StatusCode, HeaderMap, Value) {
        self.ask(json!({ "tenant_id": tenant, "query": query }).to_string()).await
    }

    pub(crate) async fn metrics(&self) -> String {
        self.http.get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap()
    }

    /// The value of a series, by its exact name and labels.
    pub(crate) async fn metric(&self, series: &str) -> Option<String> {
        let metrics = self.metrics().await;
        let mut lines = metrics.lines();
        lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }
}

/// The events of a streamed answer.
pub(crate) struct Events {
    pub(crate) response: reqwest::Response,
    text: String,
}

impl Events {
    pub(crate) async fn ask(app: &TestApp, tenant: &str, query: &str) -> Self {
        let body = json!({ "tenant_id": tenant, "query": query, "stream": true });
        let response = app.http.post(format!("{}/v1/query", app.api)).json(&body).send().await.unwrap();
        Self::of(response)
    }

    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event's name and data; none at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (name, data) = event.split_once('\n').unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                self.text = String::from(rest);
                return Some((name, data));
            }
            let Some(bytes) = self.response.chunk().await.unwrap() else {
                assert_eq!(self.text, "", "half an event");
                return None;
            };
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Text until there is so much of it.
    pub(crate) async fn text(&mut self, length: usize) -> String {
        let mut text = String::new();
        while text.len() < length {
            let (name, data) = self.next().await.unwrap();
            assert_eq!(name, "delta", "{data}");
            text.push_str(data["text"].as_str().unwrap());
        }
        text
    }

    /// All text that is to come, and the last event.
    pub(crate) async fn rest(mut self) -> (String, String, Value) {
        let mut text = String::new();
        loop {
            let (name, data) = self.next().await.unwrap();
            if name != "delta" {
                assert_eq!(self.next().await, None);
                return (text, name, data);
            }
            text.push_str(data["text"].as_str().unwrap());
        }
    }
}

pub(crate) async fn parts(response: reqwest::Response) -> (StatusCode, HeaderMap, Value) {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{status}: {e}: {text}"));
    (status, headers, body)
}

/// How long a condition is given: processes start and end slowly where others want the processors too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something is so, and fails if it never is.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the provider does with every call.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    Stream,
    Slow(Duration),
    /// Answers once the test closes this.
    Held(Arc<Semaphore>),
    Body(&'static str, &'static str),
    Status(u16),
    /// A 503 without `retry-after` so many times, then an answer.
    Recovers(usize),
    /// A stream of the texts that the test writes, with an end if it says so: one call only.
    Written(Script),
    Cut,
    Hang,
    /// Status, content type and body that the test changes from call to call.
    Says(Arc<Mutex<(u16, &'static str, Vec<u8>)>>),
}

/// What a provider says, and when.
#[derive(Clone, Debug)]
pub(crate) struct Script(Arc<Mutex<Option<mpsc::UnboundedReceiver<String>>>>);

/// The other end of a [`Script`]. Dropped without an end, it breaks the answer off.
pub(crate) struct Writer(mpsc::UnboundedSender<String>);

pub(crate) fn script() -> (Writer, Behaviour) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Writer(sender), Behaviour::Written(Script(Arc::new(Mutex::new(Some(receiver))))))
}

impl Writer {
    pub(crate) fn say(&self, text: &str) {
        let chunk = json!({ "model": "m", "choices": [{ "delta": { "content": text } }] });
        self.0.send(format!("data: {chunk}\n\n")).unwrap();
    }

    pub(crate) fn reason(&self, text: &str) {
        let chunk = json!({ "model": "m", "choices": [{ "delta": { "reasoning_content": text } }] });
        self.0.send(format!("data: {chunk}\n\n")).unwrap();
    }

    pub(crate) fn end(self) {
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\ndata: [DONE]\n\n";
        self.0.send(end.to_owned()).unwrap();
        self.0.send(String::new()).unwrap();
    }
}

/// A provider of 11 input and 7 output tokens.
pub(crate) struct Provider {
    address: String,
    calls: Calls,
}

type Calls = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

impl Provider {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let calls = Calls::default();
        let routes = Router::new().route("/v1/chat/completions", post(answer));
        let address = serve(routes.with_state((behaviour, calls.clone()))).await;
        Self { address, calls }
    }

    /// A provider that is somewhere.
    pub(crate) fn at(address: String) -> Self {
        Self { address, calls: Calls::default() }
    }

    /// A provider nobody is: at a port that the kernel gives to nobody. One that was free a moment ago may be another test's.
    pub(crate) fn absent() -> Self {
        Self::at("127.0.0.1:1".to_owned())
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn calls(&self) -> Vec<(HeaderMap, Value)> {
        self.calls.lock().unwrap().clone()
    }
}

pub(crate) async fn serve(routes: Router) -> String {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(socket, routes).await });
    address
}

pub(crate) const STREAM: &str = ": hello\r\n\r\n\
    data: {\"model\":\"sim-small-1\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"Grüße \"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"🦀\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\n\
    data: [DONE]\n\n";

async fn answer(
    State((behaviour, calls)): State<(Behaviour, Calls)>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    calls.lock().unwrap().push((headers, body));
    let stream = |body: Body| ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
    match behaviour {
        Behaviour::Stream => {
            // In pieces of three bytes: characters and events are cut.
            let pieces: Vec<_> = STREAM.as_bytes().chunks(3).map(Ok::<_, Infallible>).collect();
            stream(Body::from_stream(futures_util::stream::iter(pieces)))
        }
        Behaviour::Slow(time) => {
            tokio::time::sleep(time).await;
            stream(STREAM.into())
        }
        Behaviour::Held(gate) => {
            assert!(gate.acquire().await.is_err(), "nobody gives it permits");
            stream(STREAM.into())
        }
        Behaviour::Body(content_type, body) => ([(header::CONTENT_TYPE, content_type)], body).into_response(),
        Behaviour::Status(status) => {
            (StatusCode::from_u16(status).unwrap(), [(header::RETRY_AFTER, "7")], "no, \"not\" now")
                .into_response()
        }
        Behaviour::Recovers(after) if calls.lock().unwrap().len() <= after => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Behaviour::Recovers(_) => stream(STREAM.into()),
        Behaviour::Written(Script(script)) => {
            let pieces = script.lock().unwrap().take().unwrap();
            stream(Body::from_stream(futures_util::stream::unfold(Some(pieces), async |pieces| {
                let mut pieces = pieces?;
                match pieces.recv().await {
                    Some(piece) if piece.is_empty() => None,
                    Some(piece) => Some((Ok(piece), Some(pieces))),
                    None => Some((Err(std::io::Error::other("cut")), None)),
                }
            })))
        }
        Behaviour::Cut => {
            // Not at once: the start has to be on its way before the connection breaks.
            let cut = async || {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("cut"))
            };
            let start = futures_util::stream::iter([Ok(&STREAM[..120])]);
            stream(Body::from_stream(start.chain(futures_util::stream::once(cut()))))
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Says(said) => {
            let (status, content_type, body) = said.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, content_type)], body)
                .into_response()
        }
    }
}

/// A collector of spans.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
    posts: Arc<AtomicUsize>,
}

impl Collector {
    pub(crate) async fn start(hangs: bool) -> Self {
        let (spans, posts) = (Arc::<Mutex<Vec<Span>>>::default(), Arc::<AtomicUsize>::default());
        let (kept, counted) = (spans.clone(), posts.clone());
        let take = async move |body: Bytes| {
            counted.fetch_add(1, Ordering::SeqCst);
            if hangs {
                std::future::pending::<()>().await;
            }
            let batch = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = batch.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        };
        let endpoint = serve(Router::new().route("/v1/traces", post(take))).await;
        Self { endpoint: format!("http://{endpoint}"), spans, posts }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    pub(crate) fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

/// The real binary.
pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) app: TestApp,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-agent"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AGENT_") || text.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command.env("AGENT_API_ADDR", "127.0.0.1:0").env("AGENT_ADMIN_ADDR", "127.0.0.1:0");
    command
}

impl Agent {
    pub(crate) async fn start(provider: &Provider, settings: &[(&str, &str)]) -> Self {
        let mut command = binary();
        command.env("AGENT_LLM_BASE_URL", provider.base_url()).envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (stdout, kept) = (child.stdout.take().unwrap(), lines.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                kept.lock().unwrap().push(line.unwrap());
            }
        });
        let app = TestApp { api: String::new(), admin: String::new(), http: http_client() };
        let mut agent = Self { child, app, lines, reader: Some(reader) };
        let listening = eventually("listening", async || {
            agent.lines().into_iter().find(|line| line["msg"] == "listening")
        })
        .await;
        let url = |name: &str| format!("http://{}", listening[name].as_str().unwrap());
        (agent.app.api, agent.app.admin) = (url("api"), url("admin"));
        agent
    }

    /// What it has logged to standard output.
    pub(crate) fn lines(&self) -> Vec<Value> {
        parse_lines(&self.lines.lock().unwrap().join("\n"))
    }

    /// All it has logged to standard output, once it has ended.
    pub(crate) fn last_lines(&mut self) -> Vec<Value> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.lines()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// The exit code, once it has ended by itself.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        eventually("the agent ends", async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

pub(crate) fn parse_lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

/// All whole lines of all files in a directory whose names begin so, in the order of their time.
pub(crate) fn log_files(directory: &Path, prefix: &str) -> Vec<Value> {
    let files = std::fs::read_dir(directory).into_iter().flatten().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    // A new day or hour has a file of its own.
    let mut files: Vec<_> = files.collect();
    files.sort();
    let lines = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        // The last one may just be written.
        parse_lines(&text[..text.rfind('\n').map_or(0, |end| end + 1)])
    });
    lines.collect()
}

/// A page of the documentation.
pub(crate) fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The rows, without their heads, of the tables whose first column has this title.
pub(crate) fn table_rows(markdown: &str, title: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('|') && cells(line)[0] == title {
            rows.extend(lines.by_ref().take_while(|line| line.starts_with('|')).skip(1).map(cells));
        }
    }
    rows
}
