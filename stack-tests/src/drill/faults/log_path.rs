//! What goes wrong on a line's way into Elasticsearch, and in there.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    Fault, beside,
    configuration::{changed, generated, no_longer_scraped},
    containers, ok, stopped,
};
use crate::drill::Drill;

/// Older than what log-watch leaves alone because it may be on its way, and than a fresh line.
const AGE: Duration = Duration::from_mins(5);

fn ask(drill: &Drill, user: &str, request: &str, body: Option<&Value>) -> Result<(), String> {
    let answer = drill.stack.elasticsearch_as(user, request, body)?;
    ok(request, answer.status, &answer.text)
}

/// Documents of five minutes ago in the day's index of these names, added as Logstash adds them, until this is dropped.
fn documents<'d>(drill: &'d Drill, index: &str, sources: &[Value]) -> Result<Fault<'d>, String> {
    let time = humantime::format_rfc3339_millis(SystemTime::now() - AGE).to_string();
    // What could not be used has an index a month.
    let span = if index.ends_with("-unparsed") { &time[..7] } else { &time[..10] };
    let index = format!("{index}-{}", span.replace('-', "."));
    let run = uuid::Uuid::new_v4();
    let added: Vec<_> = (0..sources.len()).map(|n| format!("/{index}/_doc/drill-{run}-{n}")).collect();
    let off = {
        let added = added.clone();
        Fault::new(move || {
            added.iter().try_for_each(|path| ask(drill, "elastic", &format!("DELETE {path}"), None))
        })
    };
    for (path, source) in added.iter().zip(sources) {
        let mut source = source.clone();
        source["@timestamp"] = json!(time);
        let request = format!("PUT {path}?op_type=create");
        ask(drill, "agent_logs_writer", &request, Some(&source))?;
    }
    Ok(off)
}

/// Events of an agent's run of which one is not there.
pub(in crate::drill) fn audit_gap(drill: &Drill) -> Result<Fault<'_>, String> {
    let run = uuid::Uuid::new_v4().to_string();
    let event =
        |seq: u32| json!({"boot_id": run, "seq": seq, "action": "query", "message": "access decision"});
    documents(drill, "agent-audit", &[1, 2, 4, 5].map(event))
}

/// Lines that are no JSON, more than a killed process leaves behind.
pub(in crate::drill) fn unusable_lines(drill: &Drill) -> Result<Fault<'_>, String> {
    let line = json!({"message": "{\"level\":30,\"msg\":\"requ", "tags": ["_unparsed"]});
    documents(drill, "agent-logs-unparsed", &vec![line; 12])
}

/// An index whose primary shard is to be on a node that there is not.
pub(in crate::drill) fn no_primary(drill: &Drill) -> Result<Fault<'_>, String> {
    const INDEX: &str = "agent-kit-drill";
    let settings = json!({"settings": {"index.routing.allocation.require._name": "nobody", "index.number_of_replicas": 0}});
    let request = format!("PUT /{INDEX}?wait_for_active_shards=0");
    ask(drill, "elastic", &request, Some(&settings))?;
    Ok(Fault::new(|| ask(drill, "elastic", &format!("DELETE /{INDEX}"), None)))
}

/// An index that asks for a copy of its shard, for which one node has no place.
pub(in crate::drill) fn no_replica(drill: &Drill) -> Result<Fault<'_>, String> {
    const INDEX: &str = "agent-kit-drill-copies";
    let settings = json!({"settings": {"index.number_of_replicas": 1}});
    ask(drill, "elastic", &format!("PUT /{INDEX}"), Some(&settings))?;
    Ok(Fault::new(|| ask(drill, "elastic", &format!("DELETE /{INDEX}"), None)))
}

/// Elasticsearch as with a full disk: what is free is below its flood stage, so it makes its indices read-only.
pub(crate) fn read_only(drill: &Drill) -> Result<Fault<'_>, String> {
    const BLOCKS: &str = "GET /_all/_settings?filter_path=*.settings.index.blocks";
    // It looks seldom, and no more often than this.
    const EVERY: &str = "10s";
    let settings = |stages: [Option<&str>; 3], every: Option<&str>| {
        let [low, high, flood_stage] = stages;
        let watermark = json!({"low": low, "high": high, "flood_stage": flood_stage});
        let body = json!({"transient": {
            "cluster.routing.allocation.disk.watermark": watermark, "cluster.info.update.interval": every}});
        ask(drill, "elastic", "PUT /_cluster/settings", Some(&body))
    };
    let blocked = || -> Result<bool, String> {
        let answer = drill.stack.elasticsearch_as("elastic", BLOCKS, None)?;
        ok(BLOCKS, answer.status, &answer.text)?;
        Ok(answer.text.contains("read_only_allow_delete"))
    };
    let until = move |wanted: bool, what: &str| {
        drill.wait(what, Duration::from_mins(2), || {
            if blocked()? == wanted { Ok(()) } else { Err("not yet".into()) }
        })
    };
    let off = Fault::new(move || {
        // Not back to seldom before it has looked once more.
        settings([None; 3], Some(EVERY))?;
        until(false, "indices to write to")?;
        settings([None; 3], None)
    });
    settings([Some("902pb"), Some("901pb"), Some("900pb")], Some(EVERY))?;
    until(true, "read-only indices")?;
    Ok(off)
}

/// A second log-watch that looks every second, on port 9598.
pub(crate) fn second_log_watch<'d>(
    drill: &'d Drill,
    name: &str,
    options: &[&str],
    flags: &[&str],
) -> Result<Fault<'d>, String> {
    // The password is where the first one has it.
    let secrets = format!("--volumes-from={}:ro", containers(&drill.stack)?.id("log-watch")?);
    let settings = [
        secrets.as_str(),
        "--env=LOG_WATCH_AGENT_URLS=http://example-agent:8000/metrics",
        "--env=LOG_WATCH_ELASTICSEARCH_URL=http://elasticsearch:9200",
        "--env=LOG_WATCH_ELASTICSEARCH_USER=log_watch",
        "--env=LOG_WATCH_ELASTICSEARCH_PASSWORD_FILE=/run/secrets/log_watch_elasticsearch_password",
    ];
    let command = ["serve", "--listen=0.0.0.0:9598", "--every=1s"];
    beside(drill, "log-watch", name, &[&settings, options].concat(), &[&command, flags].concat())
}

/// Nobody ships lines, though a second log-watch expects them.
///
/// A second one, because that of a stack without Logstash expects none, and where there is one, its outage silences what
/// comes of it.
pub(in crate::drill) fn unshipped(drill: &Drill) -> Result<Fault<'_>, String> {
    const NAME: &str = "drill-log-watch";
    let containers = containers(&drill.stack)?;
    // Where nothing was ever shipped no line is the newest.
    let line = documents(drill, "agent-logs", &[json!({"message": "drill", "log": {"level": "INFO"}})])?;
    let has_logstash = containers.services()?.iter().any(|service| service == "logstash");
    let logstash = has_logstash.then(|| stopped(drill, "logstash")).transpose()?;
    let container = second_log_watch(drill, NAME, &[], &["--shipping=on", "--patience=5s"])?;
    let targets = generated(drill, "/etc/prometheus-kit/targets")?.join("log-watch.yml");
    let first = fs::read_to_string(&targets).map_err(|e| format!("{}: {e}", targets.display()))?;
    let both = format!("{first}- {{ targets: [\"{NAME}:9598\"], labels: {{ job: {NAME} }} }}\n");
    let target = changed(drill, targets, &both, false)?;
    Ok(Fault::new(move || {
        // First the target, so that nobody takes the end of the drill for a fault.
        let gone = target.off().and_then(|()| no_longer_scraped(drill, "drill-log-watch:9598"));
        let back = logstash.map_or(Ok(()), Fault::off);
        container.off().and(line.off()).and(back).and(gone)
    }))
}
