//! A real Elasticsearch, as Compose starts it: with the kit's templates, users and roles, in a project of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Document, Program, run};
use crate::{clients, programs::free_port, wait};

/// How long a start may take on a machine that does other things besides.
const START: Duration = Duration::from_mins(15);
const SERVICES: [&str; 2] = ["elasticsearch", "elasticsearch-setup"];
/// What a search gives at once.
const PAGE: usize = 100;

/// The node; it is gone, with what it has, when this is dropped.
pub struct Elasticsearch {
    repository: PathBuf,
    project: String,
    port: u16,
    secrets: tempfile::TempDir,
}

impl Elasticsearch {
    /// Whether the image that Compose would run is there.
    ///
    /// # Errors
    /// Why not.
    pub fn find(repository: &Path) -> Result<(), String> {
        match Program::find(repository, "elasticsearch")? {
            Program::Image(_) => Ok(()),
            Program::Home(home) => {
                Err(format!("{}: it is started by Compose only: unset ELASTICSEARCH_HOME", home.display()))
            }
        }
    }

    /// Starts it and sets it up.
    pub fn start(repository: &Path) -> Result<Self, String> {
        let port = free_port()?;
        let secrets = tempfile::Builder::new().prefix("secrets").tempdir().map_err(|e| e.to_string())?;
        let started = Self {
            repository: repository.to_owned(),
            project: format!("agent-kit-elasticsearch-{port}"),
            port,
            secrets,
        };
        run(started.variables(&mut Command::new(repository.join("setup/secrets.sh"))))?;
        started.compose(&["up", "--detach", "--wait", "--wait-timeout", "900", SERVICES[0]])?;
        // Its exit code says whether everything is set up.
        started.compose(&["up", "--no-deps", "--exit-code-from", SERVICES[1], SERVICES[1]])?;
        Ok(started)
    }

    fn variables<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .env("COMPOSE_PROFILES", "logs")
            .env("ELASTICSEARCH_PORT", self.port.to_string())
            .env("BIND_ADDRESS", "127.0.0.1")
            .env("SECRETS_DIR", self.secrets.path())
            .current_dir(&self.repository)
    }

    fn compose(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        command.arg("compose").args(arguments);
        run(self.variables(&mut command))
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A password, by the name of its file.
    pub fn secret(&self, name: &str) -> Result<String, String> {
        let file = self.secrets.path().join(name);
        fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Stops it in order; what it has stays.
    pub fn stop(&self) -> Result<(), String> {
        self.compose(&["stop", "--timeout", "30", SERVICES[0]]).map(drop)
    }

    /// Starts it again, and waits until it answers.
    pub fn resume(&self) -> Result<(), String> {
        self.compose(&["start", SERVICES[0]])?;
        wait::until("Elasticsearch answers", START, || {
            self.ask("GET", "/_cluster/health?wait_for_status=yellow", None)
        })
        .map(drop)
    }

    /// Asks it something, as the user `elastic`.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
        let request = clients::client().request(method, format!("{}{path}", self.url()));
        let mut request = request.basic_auth("elastic", Some(self.secret("elasticsearch_password")?));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = clients::send(request)?;
        if answer.status == 200 {
            answer.json()
        } else {
            Err(format!("{path}: {}: {:.300}", answer.status, answer.text))
        }
    }

    /// Puts documents into an index: actions and sources, a line each.
    pub fn bulk(&self, index: &str, lines: String) -> Result<(), String> {
        let request = clients::client().post(format!("{}/{index}/_bulk?filter_path=errors", self.url()));
        let request = request.basic_auth("elastic", Some(self.secret("elasticsearch_password")?));
        let answer = clients::send(request.header("content-type", "application/x-ndjson").body(lines))?;
        if answer.status == 200 && answer.json()?["errors"] == false {
            Ok(())
        } else {
            Err(format!("{index}: {}: {:.300}", answer.status, answer.text))
        }
    }

    /// How many documents have been indexed, searchable or not.
    pub fn indexed(&self) -> Result<u64, String> {
        let stats = self.ask(
            "GET",
            "/agent-*/_stats/docs,indexing?filter_path=_all.primaries.indexing.index_total",
            None,
        )?;
        Ok(stats["_all"]["primaries"]["indexing"]["index_total"].as_u64().unwrap_or(0))
    }

    /// How many documents can be found.
    pub fn searchable(&self) -> Result<u64, String> {
        let count = self.ask("GET", "/agent-*/_count", None)?;
        count["count"].as_u64().ok_or(format!("no count in {count}"))
    }

    /// All documents.
    pub fn documents(&self) -> Result<Vec<Document>, String> {
        self.ask("POST", "/agent-*/_refresh", None)?;
        let mut documents = Vec::new();
        let body = json!({ "size": PAGE, "sort": ["_doc"] });
        let mut page = self.ask("POST", "/agent-*/_search?scroll=2m", Some(&body))?;
        loop {
            let hits = page["hits"]["hits"].as_array().ok_or("no hits in the answer")?;
            if hits.is_empty() {
                return Ok(documents);
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            documents.extend(hits.iter().map(|hit| Document {
                index: text(&hit["_index"]),
                id: text(&hit["_id"]),
                source: hit["_source"].clone(),
            }));
            let body = json!({ "scroll": "2m", "scroll_id": page["_scroll_id"] });
            page = self.ask("POST", "/_search/scroll", Some(&body))?;
        }
    }

    /// The processor time it has used so far.
    pub fn cpu(&self) -> Result<Duration, String> {
        let stats = self.ask("GET", "/_nodes/_local/stats/process", None)?;
        let node = stats["nodes"].as_object().and_then(|nodes| nodes.values().next());
        let millis = node.and_then(|node| node["process"]["cpu"]["total_in_millis"].as_u64());
        millis.map(Duration::from_millis).ok_or(format!("no processor time in {stats}"))
    }
}

impl Drop for Elasticsearch {
    fn drop(&mut self) {
        let _ = self.compose(&["down", "--volumes", "--timeout", "5"]);
    }
}
