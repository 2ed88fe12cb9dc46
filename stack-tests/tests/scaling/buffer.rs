//! `deploy/jaeger-kafka/`: spans between Jaeger's two halves, with the very files and the kit's Elasticsearch, while one after the other
//! of them is away. What the first half took is found by the second one's queries.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reqwest::blocking::Client;
use serde_json::json;
use stack_tests::{
    clients::{client, send},
    containers::Containers,
    programs::free_address,
    wait,
};

use crate::{
    compose::{Project, have_images, passwords},
    replicas::set_readable,
};

pub(crate) const FILES: [&str; 2] = ["docker-compose.yml", "deploy/jaeger-kafka/docker-compose.yml"];
const PROJECT: &str = "agent-kit-scaling-kafka";
const SERVICES: [&str; 5] = ["kafka", "elasticsearch", "elasticsearch-setup", "jaeger", "jaeger-ingester"];
/// A start of Elasticsearch on a busy machine, and what is tried again half a minute later.
const PATIENCE: Duration = Duration::from_mins(2);
/// Sent at a time. They have more spans than the 1,000 documents that wait in the second half itself while the storage is away.
const TRACES: usize = 120;
const SPANS: usize = 10;

pub(crate) fn loses_nothing(repository: &Path) -> Result<(), String> {
    let begun = Instant::now();
    let buffer = Buffer::start(repository)?;
    let first = buffer.send(TRACES, SPANS)?;
    buffer.has("all there", &first)?;
    tell(&format!("the first {TRACES} traces found after {} s", begun.elapsed().as_secs()));
    storage_away(&buffer)?;
    ingester_away(&buffer)?;
    both_away(&buffer)?;
    kafka_away(&buffer)?;
    tell(&format!(
        "{} spans sent, each of them found once, within {} s",
        buffer.sent(),
        begun.elapsed().as_secs()
    ));
    Ok(())
}

/// Spans go on being taken, and wait in Kafka.
fn storage_away(buffer: &Buffer) -> Result<(), String> {
    buffer.containers.each("stop", "elasticsearch")?;
    let traces = buffer.send(TRACES, SPANS)?;
    buffer.are_in_kafka()?;
    buffer.lag("spans wait in Kafka", |lag| lag > 0)?;
    buffer.containers.each("start", "elasticsearch")?;
    buffer.has("Elasticsearch was away", &traces)
}

fn ingester_away(buffer: &Buffer) -> Result<(), String> {
    buffer.containers.each("stop", "jaeger-ingester")?;
    let traces = buffer.send(TRACES, SPANS)?;
    buffer.are_in_kafka()?;
    buffer.containers.each("start", "jaeger-ingester")?;
    buffer.has("the second half was away", &traces)
}

/// What the second half had taken and could not store goes with it: it is still in Kafka, and is read again as the docs say.
fn both_away(buffer: &Buffer) -> Result<(), String> {
    buffer.containers.each("stop", "elasticsearch")?;
    // One document: there is always room for it where documents wait for the next request to Elasticsearch.
    let mut traces = buffer.send(1, 1)?;
    buffer.are_in_kafka()?;
    buffer.lag("it counts as read", |lag| lag == 0)?;
    traces.extend(buffer.send(TRACES, SPANS)?);
    buffer.are_in_kafka()?;
    buffer.kill("jaeger-ingester")?;
    for service in ["elasticsearch", "jaeger-ingester"] {
        buffer.containers.each("start", service)?;
    }
    buffer.lag("all count as read", |lag| lag == 0)?;
    // Stored after all of them.
    buffer.has("a trace after both were away", &buffer.send(1, 1)?)?;
    let incomplete = traces.iter().filter(|trace| buffer.is_whole(trace).is_err()).count();
    if incomplete == 0 {
        return Err("Jaeger stores what it had in memory: docs/scaling.md says that it is to be read again"
            .to_owned());
    }
    buffer.read_again()?;
    buffer.has("both were away", &traces)?;
    tell(&format!("{incomplete} of {} traces were to be read again after both were away", traces.len()));
    Ok(())
}

/// The first half keeps spans in its memory.
fn kafka_away(buffer: &Buffer) -> Result<(), String> {
    buffer.kill("kafka")?;
    let traces = buffer.send(TRACES, SPANS)?;
    wait::until("batches wait for Kafka", PATIENCE, || {
        let waiting = buffer.metric("otelcol_exporter_queue_size")?;
        if waiting > 0.0 { Ok(()) } else { Err("none waits") }.map_err(str::to_owned)
    })?;
    let traces = [traces, buffer.send(TRACES, SPANS)?].concat();
    let back = Instant::now();
    buffer.containers.each("start", "kafka")?;
    buffer.has("Kafka was killed", &traces)?;
    tell(&format!("all found {} s after Kafka was started again", back.elapsed().as_secs()));
    Ok(())
}

/// What was sent.
#[derive(Clone)]
struct Trace {
    id: String,
    spans: usize,
}

/// The containers, and their folder.
struct Buffer {
    project: Project,
    containers: Containers,
    client: Client,
    otlp: String,
    query: String,
    sent: Cell<usize>,
    /// Secrets.
    _folder: tempfile::TempDir,
}

impl Buffer {
    fn start(repository: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        passwords(repository, folder.path())?;
        set_readable(folder.path())?;
        let mut environment = BTreeMap::from([
            ("COMPOSE_PROFILES", "logs".into()),
            ("SECRETS_DIR", folder.path().into()),
            ("ELASTICSEARCH_HEAP", "512m".into()),
        ]);
        let mut addresses = BTreeMap::new();
        for name in ["OTLP_GRPC_PORT", "OTLP_HTTP_PORT", "ZIPKIN_PORT", "JAEGER_PORT", "ELASTICSEARCH_PORT"] {
            let address = free_address()?;
            environment.insert(name, address.rsplit(':').next().unwrap_or_default().into());
            addresses.insert(name, address);
        }
        let files = FILES.map(PathBuf::from).into();
        let project = Project { name: PROJECT, repository: repository.to_owned(), files, environment };
        let buffer = Self {
            project,
            containers: Containers::of(PROJECT.to_owned()),
            client: client(),
            otlp: format!("http://{}/v1/traces", addresses["OTLP_HTTP_PORT"]),
            query: format!("http://{}/api/traces", addresses["JAEGER_PORT"]),
            sent: Cell::new(0),
            _folder: folder,
        };
        let _ = buffer.project.remove();
        let up = ["up", "--detach", "--wait", "--no-build", "--quiet-pull"];
        buffer.project.compose(&[&up[..], &SERVICES].concat())?;
        Ok(buffer)
    }

    /// `docker kill`: after it nothing starts the container but this trial.
    fn kill(&self, service: &str) -> Result<(), String> {
        self.containers.each("kill", service)
    }

    /// How many spans the first half has taken.
    fn sent(&self) -> usize {
        self.sent.get()
    }

    /// Sends traces of so many spans. The first half has to take each.
    fn send(&self, traces: usize, spans: usize) -> Result<Vec<Trace>, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_nanos();
        let one = |_| {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let span = |number| {
                json!({"traceId": id, "spanId": format!("{number:016x}"), "name": "step", "kind": 1,
                    "startTimeUnixNano": now.to_string(), "endTimeUnixNano": (now + 1_000_000).to_string()})
            };
            let all: Vec<_> = (1..=spans).map(span).collect();
            let service = json!({"key": "service.name", "value": {"stringValue": "buffered"}});
            let resource = json!({"attributes": [service]});
            let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": all}]}]});
            let answer = send(self.client.post(&self.otlp).json(&body))?;
            if answer.status != 200 {
                return Err(format!("spans are answered with {}: {:.200}", answer.status, answer.text));
            }
            self.sent.set(self.sent.get() + spans);
            Ok(Trace { id, spans })
        };
        (0..traces).map(one).collect()
    }

    /// That a trace is found, with each of its spans once.
    fn is_whole(&self, trace: &Trace) -> Result<(), String> {
        let Trace { id, spans } = trace;
        let answer = send(self.client.get(format!("{}/{id}", self.query)))?;
        let found = answer.json()?["data"][0]["spans"].as_array().map_or(0, Vec::len);
        if found == *spans {
            Ok(())
        } else {
            Err(format!("{found} of {spans} spans of {id}, {}", answer.status))
        }
    }

    /// Waits until all these traces are found.
    fn has(&self, what: &str, traces: &[Trace]) -> Result<(), String> {
        let mut missing = traces.to_vec();
        wait::until(&format!("{what}: all {} traces found", traces.len()), PATIENCE, || {
            let mut why = String::new();
            missing.retain(|trace| self.is_whole(trace).map_err(|said| why = said).is_err());
            if missing.is_empty() { Ok(()) } else { Err(format!("{} missing; {why}", missing.len())) }
        })
    }

    /// The sum of a metric of the first half about what it writes to Kafka.
    fn metric(&self, name: &str) -> Result<f64, String> {
        let text =
            self.containers.exec("jaeger", &["wget", "-q", "-O", "-", "http://127.0.0.1:8888/metrics"])?;
        let start = format!("{name}{{");
        let samples =
            text.lines().filter(|line| line.starts_with(&start) && line.contains("exporter=\"kafka\""));
        let values = samples.filter_map(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse::<f64>());
        values.sum::<Result<f64, _>>().map_err(|e| format!("{name}: {e}"))
    }

    /// Waits until Kafka has acknowledged every span that was sent.
    fn are_in_kafka(&self) -> Result<(), String> {
        let sent = self.sent().to_string();
        wait::until("all spans in Kafka", PATIENCE, || {
            let acknowledged = self.metric("otelcol_exporter_sent_spans_total")?.to_string();
            if acknowledged == sent { Ok(()) } else { Err(format!("{acknowledged} of {sent}")) }
        })
    }

    /// What Kafka's own tool says of the second half's consumer group.
    fn group(&self, arguments: &[&str]) -> Result<String, String> {
        let tool = ["/opt/kafka/bin/kafka-consumer-groups.sh", "--bootstrap-server", "kafka:9092"];
        let group = ["--group", "jaeger-ingester"];
        self.containers.exec("kafka", &[&tool[..], &group[..], arguments].concat())
    }

    /// Waits until so many messages are left that the second half has not read by its own word.
    fn lag(&self, what: &str, wanted: impl Fn(usize) -> bool) -> Result<(), String> {
        wait::until(what, PATIENCE, || {
            let said = self.group(&["--describe"])?;
            // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
            let rows = said.lines().filter(|line| line.starts_with("jaeger-ingester"));
            let lags: Option<Vec<usize>> =
                rows.map(|row| row.split_whitespace().nth(5)?.parse().ok()).collect();
            match lags {
                Some(lags) if !lags.is_empty() && wanted(lags.iter().sum()) => Ok(()),
                _ => Err(said),
            }
        })
    }

    /// What docs/scaling.md says to do where spans are missing.
    fn read_again(&self) -> Result<(), String> {
        self.containers.each("stop", "jaeger-ingester")?;
        wait::until("the group goes back", PATIENCE, || {
            let topic = ["--topic", "jaeger-spans", "--reset-offsets", "--by-duration", "PT1H", "--execute"];
            let said = self.group(&topic)?;
            if said.contains("NEW-OFFSET") { Ok(()) } else { Err(said) }
        })?;
        self.containers.each("start", "jaeger-ingester")
    }
}

/// Figures are for whoever reads the log.
fn tell(what: &str) {
    let _ = writeln!(stdout(), "a buffer for spans: {what}");
}

/// That the images of all its services are here.
pub(crate) fn images(repository: &Path) -> Result<(), String> {
    have_images(repository, &FILES, &SERVICES)
}
