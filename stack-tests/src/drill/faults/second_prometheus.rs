//! A second Prometheus, beside the stack's, whose disk is full.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use super::{Fault, beside, configuration::source, container_of, containers};
use crate::{containers::Containers, drill::Drill};

const NAME: &str = "drill-prometheus";
const RULES: &str = "/etc/prometheus/rules";

/// A Prometheus that scrapes what the stack's does, and can store nothing of it. It has none of the rules that need data: its
/// alerts are the stack's too, and would be told by it as they were when its disk was full.
pub(in crate::drill) fn full_prometheus(drill: &Drill) -> Result<Fault<'_>, String> {
    let inspect = containers(&drill.stack)?.inspect("prometheus")?;
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    // Not over the folder of the image: runc would give it that one's mode, and nobody could write.
    let stored = |flag: String| flag.replace("--storage.tsdb.path=/prometheus", "--storage.tsdb.path=/full");
    let command: Vec<_> = texts(&inspect["Config"]["Cmd"]).into_iter().map(stored).collect();
    let mount = |from: PathBuf, inside: &str| format!("--volume={}:{inside}:ro", from.display());
    let mut options = vec![
        "--user=65534:65534".to_owned(),
        "--tmpfs=/full:size=16m,mode=1777".to_owned(),
        mount(source(drill, RULES)?.join("watchdog.yml"), &format!("{RULES}/watchdog.yml")),
    ];
    let config = "/etc/prometheus/prometheus.yml";
    // With its limits, whose absence would be an alert too.
    let limits = "/etc/prometheus/thresholds/active.yml";
    let targets = ("/etc/prometheus-kit/targets", "/etc/prometheus/targets");
    for (there, inside) in [(config, config), (limits, limits), targets] {
        options.push(mount(source(drill, there)?, inside));
    }
    // Where the links of its alerts lead.
    options.extend(texts(&inspect["Config"]["Env"]).iter().map(|variable| format!("--env={variable}")));
    let [options, command] =
        [&options, &command].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let prometheus = beside(drill, "prometheus", NAME, &options, &command)?;
    let id = container_of(drill, NAME)?;
    let run = move |script: &str| Containers::docker(&["exec", &id, "sh", "-c", script]);
    drill.wait("its first samples", Duration::from_mins(1), || {
        let appended = "wget -qO- http://127.0.0.1:9090/metrics | grep '^prometheus_tsdb_head_samples_appended_total.* [1-9]'";
        run(appended).map(drop)
    })?;
    // A file with holes that it has in its memory. One that has run for a while has filled them; one that has not ends when it cannot.
    run("dd if=/dev/zero of=/full/queries.active bs=1k count=20 conv=notrunc 2>/dev/null")?;
    // It ends with an error: there is no room left.
    run("dd if=/dev/zero of=/full/filler bs=1k 2>/dev/null || true")?;
    Ok(Fault::new(move || {
        run("rm -f /full/filler")?;
        // By itself, and it is the one to say so.
        let firing = "wget -qO- http://127.0.0.1:9090/api/v1/alerts";
        drill.wait("samples again", Duration::from_mins(2), || {
            let text = run(firing)?;
            if text.contains("PrometheusNotIngestingSamples") { Err("none".into()) } else { Ok(()) }
        })?;
        prometheus.off()
    }))
}
