//! The three nodes: brought up with the kit's setup, asked one by one, and taken away.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use reqwest::blocking::Client;
use serde_json::{Value, json};
use stack_tests::{
    clients::{Answer, send},
    containers::Containers,
    programs::free_address,
    wait,
};

use super::writers::Stream;
use crate::{
    compose::{Project, passwords},
    replicas::set_readable,
};

/// Their services, and their names.
pub(super) const NODES: [&str; 3] = ["elasticsearch", "elasticsearch-2", "elasticsearch-3"];
/// Two busy cores on which three nodes start; a minute after which Elasticsearch tries again what has failed.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);
/// Longer than a node takes to answer, and short enough to try another: of a node that is cut off comes nothing at all.
const ANSWER: Duration = Duration::from_secs(5);
const PROJECT: &str = "agent-kit-scaling-elasticsearch";
const HEAP: &str = "512m";
/// What a node of a cluster asks of its machine, as `deploy/elasticsearch-cluster/docker-compose.yml` says.
const FILES: u64 = 65535;
const MAPS: u64 = 262_144;

/// Asks nodes as the kit's users; a copy asks the same ones.
#[derive(Clone)]
pub(super) struct Nodes {
    client: Client,
    addresses: BTreeMap<&'static str, String>,
    passwords: Arc<BTreeMap<String, String>>,
}

impl Nodes {
    /// `METHOD /path` of a node, with a body or none.
    pub(super) fn ask(
        &self,
        node: &str,
        user: &str,
        request: &str,
        body: Option<String>,
    ) -> Result<Answer, String> {
        let (method, path) = request.split_once(' ').ok_or(format!("no method in {request}"))?;
        let method = method.parse().map_err(|e| format!("{method}: {e}"))?;
        let url = format!("http://{}{path}", self.addresses[node]);
        let mut sent =
            self.client.request(method, url).basic_auth(user, self.passwords.get(user)).timeout(ANSWER);
        if let Some(body) = body {
            sent = sent.header("content-type", "application/x-ndjson").body(body);
        }
        send(sent).map_err(|e| format!("{node}: {request}: {e}"))
    }

    /// The JSON of an answer with 200.
    pub(super) fn get(
        &self,
        node: &str,
        user: &str,
        request: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let answer = self.ask(node, user, request, body.map(Value::to_string))?;
        match answer.status {
            200 => answer.json(),
            status => Err(format!("{node}: {request} as {user}: {status}: {:.300}", answer.text)),
        }
    }
}

/// The containers, and their folder.
pub(super) struct Cluster {
    project: Project,
    containers: Containers,
    nodes: Nodes,
    /// Secrets, and what the trial adds to the files of Compose.
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// Three nodes that know one another, with the kit's templates, policies, roles and users.
    pub(super) fn start(repository: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let failed = |e: std::io::Error| format!("{}: {e}", folder.path().display());
        let secrets = folder.path().join("secrets");
        fs::create_dir(&secrets).map_err(failed)?;
        let passwords = passwords(repository, &secrets)?;
        let mut addresses = BTreeMap::new();
        for node in NODES {
            addresses.insert(node, free_address()?);
        }
        let own = folder.path().join("own.yml");
        fs::write(&own, additions(folder.path(), &addresses)?).map_err(failed)?;
        set_readable(folder.path())?;

        let port = addresses[NODES[0]].rsplit(':').next().unwrap_or_default().to_owned();
        let environment = BTreeMap::from([
            ("COMPOSE_PROFILES", "logs".into()),
            ("SECRETS_DIR", secrets.into()),
            ("ELASTICSEARCH_PORT", port.into()),
            ("ELASTICSEARCH_HEAP", HEAP.into()),
            ("ELASTICSEARCH_MEMORY", "1536M".into()),
        ]);
        let files = ["docker-compose.yml", "deploy/elasticsearch-cluster/docker-compose.yml"];
        let files = files.into_iter().map(PathBuf::from).chain([own]).collect();
        let project = Project { name: PROJECT, repository: repository.to_owned(), files, environment };
        let client = Client::builder().no_proxy().build().map_err(|e| e.to_string())?;
        let nodes = Nodes { client, addresses, passwords: Arc::new(passwords) };
        let containers = Containers::of(PROJECT.to_owned());
        let cluster = Self { project, containers, nodes, _folder: folder };
        let _ = cluster.project.remove();
        cluster.bring_up()?;
        Ok(cluster)
    }

    fn bring_up(&self) -> Result<(), String> {
        let up = ["up", "--detach", "--wait", "--no-build", "--quiet-pull"];
        self.project.compose(&[&up[..], &NODES].concat()).map_err(|why| {
            // Why a node refuses its machine stands in its log.
            let logs = self.project.compose(&["logs", "--no-log-prefix", "--tail", "20"]).unwrap_or_default();
            let said = logs.lines().filter(|line| line.contains("ERROR") || line.contains("check failure"));
            format!("{why}{}", said.collect::<Vec<_>>().join("\n"))
        })?;
        let setup = || self.project.compose(&["run", "--rm", "--no-deps", "-T", "elasticsearch-setup"]);
        setup()?;
        // Whichever nodes it asks, it finds all of it as it was.
        let again = setup()?;
        if !again.contains(" 0 made, 0 changed,") {
            return Err(format!("a second setup: {again}"));
        }
        self.is(NODES[0], "green", 3)
    }

    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// `docker kill` or `docker start` of some of them at once.
    pub(super) fn docker(&self, verb: &str, nodes: &[&str]) -> Result<(), String> {
        let ids = nodes.iter().map(|node| self.containers.id(node)).collect::<Result<Vec<_>, _>>()?;
        let ids = ids.iter().map(String::as_str);
        Containers::docker(&[verb].into_iter().chain(ids).collect::<Vec<_>>()).map(drop)
    }

    /// Takes a node's network away: it goes on, and nobody hears that it is gone.
    pub(super) fn cut_off(&self, node: &str) -> Result<(), String> {
        let network = format!("{PROJECT}_kit");
        Containers::docker(&["network", "disconnect", &network, &self.containers.id(node)?]).map(drop)
    }

    /// Gives it back.
    pub(super) fn connect(&self, node: &str) -> Result<(), String> {
        let network = format!("{PROJECT}_kit");
        let id = self.containers.id(node)?;
        Containers::docker(&["network", "connect", "--alias", node, &network, &id]).map(drop)
    }

    /// Waits until a node knows so many, and calls their state this.
    pub(super) fn is(&self, asked: &str, status: &str, count: u64) -> Result<(), String> {
        wait::until(&format!("{count} nodes, {status}, by {asked}'s word"), PATIENCE, || {
            let health = self.nodes.get(asked, "elastic", "GET /_cluster/health", None)?;
            if health["status"] == status && health["number_of_nodes"] == count {
                Ok(())
            } else {
                Err(health.to_string())
            }
        })
    }

    /// Waits until a node says that it has no master.
    pub(super) fn has_no_master(&self, asked: &str) -> Result<(), String> {
        let request = "GET /_cluster/health?timeout=1s&master_timeout=1s";
        wait::until(&format!("{asked} has no master"), PATIENCE, || {
            let answer = self.nodes.ask(asked, "elastic", request, None)?;
            let refused = answer.status == 503 && answer.text.contains("master_not_discovered");
            if refused { Ok(()) } else { Err(format!("{}: {:.300}", answer.status, answer.text)) }
        })
    }

    /// Which node is the master, by this one's word.
    pub(super) fn master(&self, asked: &str) -> Result<&'static str, String> {
        wait::until("a master", PATIENCE, || {
            let answer = self.nodes.ask(asked, "elastic", "GET /_cat/master?h=node", None)?;
            let master = NODES.into_iter().find(|node| *node == answer.text.trim());
            master.ok_or(answer.text)
        })
    }

    /// The kernel's patience with a connection, in each node's network.
    pub(super) fn gives_up_connections_soon(&self) -> Result<(), String> {
        for node in NODES {
            let retries = self.containers.exec(node, &["cat", "/proc/sys/net/ipv4/tcp_retries2"])?;
            if retries.trim() != "5" {
                return Err(format!("{node}: net.ipv4.tcp_retries2 is {}", retries.trim()));
            }
        }
        Ok(())
    }

    /// That whoever is in a node's network gets an answer under the address that the kit's services ask.
    pub(super) fn is_found_by_name(&self, node: &str) -> Result<(), String> {
        let ask =
            ["curl", "--silent", "--max-time", "5", "--write-out", "%{http_code}", "--output", "/dev/null"];
        let status = self.containers.exec(node, &[&ask[..], &["http://elasticsearch:9200/"]].concat())?;
        // Without a password it is asked for one.
        if status == "401" { Ok(()) } else { Err(format!("http://elasticsearch:9200/ answers {status}")) }
    }

    /// An index's two copies, each with its node and how many documents it has.
    fn copies(&self, index: &str) -> Result<Vec<Value>, String> {
        let request = format!("GET /_cat/shards/{index}?h=prirep,state,node,docs&format=json");
        let shards = self.nodes.get(NODES[0], "elastic", &request, None)?;
        let copies = shards.as_array().cloned().unwrap_or_default();
        // One that moves to another node, as some do once that is back, is not: a green cluster may be moving them.
        let started = copies.iter().all(|copy| copy["state"] == "STARTED");
        if copies.len() == 2 && started { Ok(copies) } else { Err(format!("copies of {index}: {shards}")) }
    }

    /// That the kit's templates give an index a copy, on another node.
    pub(super) fn copies_are_apart(&self, index: &str) -> Result<(), String> {
        let copies = wait::until("two copies", PATIENCE, || self.copies(index))?;
        if copies[0]["node"] == copies[1]["node"] {
            return Err(format!("both copies of {index} on one node: {copies:?}"));
        }
        Ok(())
    }

    /// That one has as many documents as the other, while nobody writes.
    pub(super) fn copies_are_alike(&self, index: &str) -> Result<(), String> {
        wait::until("copies that are alike", PATIENCE, || {
            // A copy that has just moved counts what it had then.
            self.refresh()?;
            let copies = self.copies(index)?;
            if copies[0]["docs"] == copies[1]["docs"] { Ok(()) } else { Err(format!("{index}: {copies:?}")) }
        })
    }

    /// Has searches find what was written.
    pub(super) fn refresh(&self) -> Result<(), String> {
        self.nodes.get(NODES[0], "elastic", "POST /agent-*/_refresh", None).map(drop)
    }

    /// That a stream's reader finds all of these.
    pub(super) fn has_all(&self, stream: &Stream, ids: &[String]) -> Result<(), String> {
        let request = format!("POST /{}/_count", stream.index);
        for some in ids.chunks(1000) {
            let body = json!({"query": {"ids": {"values": some}}});
            let found = self.nodes.get(NODES[0], stream.reader, &request, Some(&body))?;
            if found["count"] != some.len() {
                let all = some.len();
                return Err(format!("{}: of {all} acknowledged documents there are {found}", stream.index));
            }
        }
        Ok(())
    }
}

/// What the trial adds: an address for each node, and less for those to find fault with whose machine is small.
///
/// Where nobody may open as many files as a cluster's node asks for, it is kept from learning how many it may: the system call that
/// says so fails. Java's own selector asks too, and would end; the plain one does not.
fn additions(folder: &Path, addresses: &BTreeMap<&'static str, String>) -> Result<String, String> {
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| e.to_string())?;
    let maps = fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|n| n.trim().parse().ok());
    let mut text = "services:\n".to_owned();
    for (node, address) in addresses {
        let _ = writeln!(text, "  {node}:");
        // The first node's is the kit's own.
        if *node != NODES[0] {
            let _ = writeln!(text, "    ports: [\"{address}:9200\"]");
        }
        let mut environment = BTreeMap::new();
        if maps.is_some_and(|maps: u64| maps < MAPS) {
            environment.insert("node.store.allow_mmap", "false".to_owned());
        }
        if files < FILES {
            let profile = folder.join("no-limits.json").display().to_string();
            let _ = writeln!(text, "    ulimits: !reset {{}}\n    security_opt: [\"seccomp={profile}\"]");
            environment.insert(
                "ES_JAVA_OPTS",
                format!(
                    "-Xms{HEAP} -Xmx{HEAP} -XX:-UseSerialGC -XX:+UseG1GC \
                     -Djava.nio.channels.spi.SelectorProvider=sun.nio.ch.PollSelectorProvider"
                ),
            );
        }
        let _ = writeln!(text, "    environment: {}", json!(environment));
    }
    if files < FILES {
        // Resource 7 is RLIMIT_NOFILE; with no new value (a null pointer) a call only asks.
        let asks = json!([{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]);
        let older = json!([{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]);
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["prlimit64"], "action": "SCMP_ACT_ERRNO", "args": asks},
            {"names": ["getrlimit"], "action": "SCMP_ACT_ERRNO", "args": older},
        ]});
        fs::write(folder.join("no-limits.json"), profile.to_string()).map_err(|e| e.to_string())?;
    }
    Ok(text)
}
