//! A stand-in for Elasticsearch that keeps what it is sent, for tests of what a Logstash sends. It refuses documents that
//! do not fit the kit's index templates, as Elasticsearch would, and can be stopped and started.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{AppendHeaders, IntoResponse},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{Document, mapping::Templates};

/// The version it says it is.
const VERSION: &str = "9.5.3";

/// As many shards as Elasticsearch's default lets a node have.
const MOST_INDICES: usize = 1000;

/// The stand-in, and what it has kept.
pub struct Recorder {
    address: SocketAddr,
    kept: Arc<Kept>,
    server: Option<tokio::runtime::Runtime>,
}

struct Kept {
    templates: Templates,
    documents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    documents: BTreeMap<(String, String), Value>,
    /// Every index that was opened, with documents or without.
    indices: BTreeSet<String>,
    conflicts: u64,
}

/// The answer to an action that is refused, as Elasticsearch words it: what was wrong with a value is in `caused_by`.
pub fn refusal(status: u16, kind: &str, reason: &str) -> Value {
    let mut error = json!({ "type": kind, "reason": reason });
    if let Some((field, cause)) = reason.split_once("]: ") {
        error["reason"] = format!("{field}]").into();
        error["caused_by"] = json!({ "type": "illegal_argument_exception", "reason": cause });
    }
    json!({ "create": { "status": status, "error": error } })
}

impl Recorder {
    /// Starts on a free port of the loopback interface.
    pub fn start(templates: Templates) -> Result<Self, String> {
        let kept = Arc::new(Kept { templates, documents: Mutex::default() });
        let mut recorder = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), kept, server: None };
        recorder.resume()?;
        Ok(recorder)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening, and cuts what is connected. What it has stays.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }

    /// Listens again, on the same port.
    pub fn resume(&mut self) -> Result<(), String> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().map_err(|e| format!("recorder: {e}"))?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(self.address));
        let listener = listener.map_err(|e| format!("recorder at {}: {e}", self.address))?;
        self.address = listener.local_addr().map_err(|e| format!("recorder: {e}"))?;
        let routes = Router::new()
            .route("/", get(root))
            .route("/_license", get(license))
            .route("/_bulk", post(bulk))
            .layer(DefaultBodyLimit::max(100 << 20))
            .with_state(self.kept.clone());
        runtime.spawn(async move { axum::serve(listener, routes).await });
        self.server = Some(runtime);
        Ok(())
    }

    /// All documents, in the order of their index and id.
    pub fn documents(&self) -> Vec<Document> {
        let contents = self.kept.lock();
        let documents = contents.documents.iter();
        documents
            .map(|((index, id), source)| Document {
                index: index.clone(),
                id: id.clone(),
                source: source.clone(),
            })
            .collect()
    }

    /// How many documents there are.
    pub fn count(&self) -> usize {
        self.kept.lock().documents.len()
    }

    /// The indices that were opened.
    pub fn indices(&self) -> BTreeSet<String> {
        self.kept.lock().indices.clone()
    }

    /// Forgets the documents.
    pub fn clear(&self) {
        self.kept.lock().documents.clear();
    }

    /// How often a document was already there.
    pub fn conflicts(&self) -> u64 {
        self.kept.lock().conflicts
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to one action of a bulk request.
    fn take(&self, action: &Value, source: &str) -> Value {
        let refused = |status: u16, kind: &str, reason: String| refusal(status, kind, &reason);
        let (Some(index), Some(id)) = (action["create"]["_index"].as_str(), action["create"]["_id"].as_str())
        else {
            return refused(400, "action_request_validation_exception", format!("unknown action {action}"));
        };
        let source: Value = match serde_json::from_str(source) {
            Ok(source) => source,
            // Not the parser's words: they say at which byte, and the order of a document's fields is not fixed.
            Err(_) => {
                return refused(
                    400,
                    "document_parsing_exception",
                    "not JSON, or a number out of range".into(),
                );
            }
        };
        if let Err(reason) = self.templates.accept(index, &source) {
            return refused(400, "document_parsing_exception", reason);
        }
        let mut contents = self.lock();
        if !contents.indices.contains(index) {
            if contents.indices.len() == MOST_INDICES {
                let reason = format!(
                    "Validation Failed: 1: this action would add [1] shards, but this cluster currently has \
                     [{MOST_INDICES}]/[{MOST_INDICES}] maximum normal shards open;"
                );
                return refused(400, "validation_exception", reason);
            }
            contents.indices.insert(index.to_owned());
        }
        let key = (index.to_owned(), id.to_owned());
        if contents.documents.contains_key(&key) {
            contents.conflicts += 1;
            return refused(
                409,
                "version_conflict_engine_exception",
                format!("[{id}]: document already exists"),
            );
        }
        contents.documents.insert(key, shortened(source));
        json!({ "create": { "_index": index, "_id": id, "status": 201 } })
    }
}

/// Without the most of a long stack trace: a test of long lines would fill the memory.
fn shortened(mut source: Value) -> Value {
    if let Some(Value::String(text)) = source.pointer_mut("/error/stack_trace") {
        let end = text.char_indices().nth(1000).map_or(text.len(), |(at, _)| at);
        text.truncate(end);
    }
    source
}

async fn root() -> impl IntoResponse {
    let body = json!({ "name": "recorder", "cluster_uuid": "recorder", "tagline": "You Know, for Search",
        "version": { "number": VERSION, "build_flavor": "default" } });
    (AppendHeaders([("x-elastic-product", "Elasticsearch")]), Json(body))
}

async fn license() -> impl IntoResponse {
    let body = json!({ "license": { "status": "active", "type": "basic" } });
    (AppendHeaders([("x-elastic-product", "Elasticsearch")]), Json(body))
}

async fn bulk(State(kept): State<Arc<Kept>>, body: Bytes) -> impl IntoResponse {
    let Ok(text) = std::str::from_utf8(&body) else {
        let body = json!({ "error": { "type": "illegal_argument_exception", "reason": "not UTF-8" }, "status": 400 });
        return (StatusCode::BAD_REQUEST, Json(body));
    };
    let mut items = Vec::new();
    let mut lines = text.lines();
    while let (Some(action), Some(source)) = (lines.next(), lines.next()) {
        let Ok(action) = serde_json::from_str(action) else {
            let body =
                json!({ "error": { "type": "illegal_argument_exception", "reason": action }, "status": 400 });
            return (StatusCode::BAD_REQUEST, Json(body));
        };
        items.push(kept.take(&action, source));
    }
    let errors = items.iter().any(|item| item["create"]["error"].is_object());
    (StatusCode::OK, Json(json!({ "took": 1, "errors": errors, "items": items })))
}
