//! What a drill breaks, each with how it is made whole again.

use std::{
    fs, io,
    io::Read as _,
    net::TcpStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Drill, pipeline::Pipeline, traffic::KNOWN};
use crate::{
    clients::{client, send},
    containers::Containers,
    stack::Stack,
};

type Off<'d> = Box<dyn FnOnce() -> Result<(), String> + Send + 'd>;

/// Something that is broken until this is dropped.
pub(super) struct Fault<'d> {
    off: Option<Off<'d>>,
}

impl<'d> Fault<'d> {
    fn new(off: impl FnOnce() -> Result<(), String> + Send + 'd) -> Self {
        Self { off: Some(Box::new(off)) }
    }

    /// Makes it whole, and says whether that has worked.
    pub(super) fn off(mut self) -> Result<(), String> {
        self.off.take().map_or(Ok(()), |off| off())
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        // There is nobody left to tell: the drill has failed already.
        if let Some(off) = self.off.take() {
            let _ = off();
        }
    }
}

fn ok(what: &str, status: u16, text: &str) -> Result<(), String> {
    if (200..300).contains(&status) { Ok(()) } else { Err(format!("{what}: {status}: {text:.200}")) }
}

/// A fault of the agent itself. It ends by itself after two hours, should this process be killed.
pub(super) fn agent(drill: &Drill, mut faults: Value) -> Result<Fault<'_>, String> {
    let url = format!("{}/faults", drill.stack.agent_admin);
    faults["expires_in_seconds"] = json!(7200);
    let off = {
        let url = url.clone();
        Fault::new(move || {
            let answer = send(client().delete(&url))?;
            ok("DELETE /faults", answer.status, &answer.text)
        })
    };
    let answer = send(client().put(&url).json(&faults))?;
    ok("PUT /faults", answer.status, &answer.text)?;
    Ok(off)
}

/// The model fails, and this tenant's question is one that the cache has known since before.
pub(super) fn all_but_known<'d>(drill: &'d Drill, tenant: &str) -> Result<Fault<'d>, String> {
    drill.wait("a known question", Duration::from_mins(1), || {
        let answer = drill.stack.query(tenant, KNOWN)?;
        if answer.json()?["cached"] == true { Ok(()) } else { Err(format!("not yet: {:.200}", answer.text)) }
    })?;
    agent(drill, json!({"error_ratio": 1}))
}

/// A fault of the model provider's simulator.
pub(super) fn provider<'d>(drill: &'d Drill, faults: &Value) -> Result<Fault<'d>, String> {
    let off = Fault::new(|| drill.stack.set_faults(&json!({})));
    drill.stack.set_faults(faults)?;
    Ok(off)
}

fn containers(stack: &Stack) -> Result<&Containers, String> {
    stack.containers.as_ref().ok_or("STACK_COMPOSE_PROJECT is not set: make drill sets it".into())
}

/// A service that is stopped.
pub(super) fn stopped<'d>(drill: &'d Drill, service: &'static str) -> Result<Fault<'d>, String> {
    let containers = containers(&drill.stack)?;
    let off = Fault::new(move || {
        containers.each("start", service)?;
        // Some need minutes on a machine that does other things too.
        let well = format!("{service} well again");
        drill.wait(&well, Duration::from_mins(5), || containers.healthy(service))
    });
    containers.each("stop", service)?;
    Ok(off)
}

/// The agent, ended three times by force; the engine starts it again each time.
pub(super) fn crashes(drill: &Drill) -> Result<Fault<'_>, String> {
    let containers = containers(&drill.stack)?;
    for _ in 0..3 {
        let before = containers.restarts("example-agent")?;
        containers.signal("example-agent", "KILL")?;
        drill.wait("started again", Duration::from_mins(1), || {
            let now = containers.restarts("example-agent")?;
            if now > before { Ok(()) } else { Err(format!("{now} restarts")) }
        })?;
        containers.wait_healthy("example-agent")?;
        // Each start must be seen by a scrape.
        let started = drill.stack.metric("process_start_time_seconds", &[])?;
        drill.wait("its start scraped", Duration::from_mins(1), || {
            let seen = drill.stack.promql_value("max(process_start_time_seconds{job=\"example-agent\"})")?;
            if (seen - started).abs() < 0.01 { Ok(()) } else { Err(format!("{seen}, not {started}")) }
        })?;
    }
    Ok(Fault::new(|| Ok(())))
}

/// More connections to the agent than an instance should have, held open. The agent closes those that ask nothing for ten
/// seconds, so they are opened one after the other, never all at once, and each is replaced as it goes.
pub(super) fn connections(drill: &Drill) -> Result<Fault<'_>, String> {
    const CONNECTIONS: usize = 1_300;
    const AT_ONCE: usize = 60;
    let address = drill.stack.agent.trim_start_matches("http://").to_owned();
    let connect = move || -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&address)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let mut held = vec![connect().map_err(|e| format!("cannot connect to the agent: {e}"))?];
    let done = Arc::new(AtomicBool::new(false));
    let holder = {
        let done = Arc::clone(&done);
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                // Nothing to read yet: it is open.
                held.retain_mut(|stream: &mut TcpStream| {
                    stream.read(&mut [0; 64]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
                });
                let missing = CONNECTIONS.saturating_sub(held.len()).min(AT_ONCE);
                held.extend((0..missing).filter_map(|_| connect().ok()));
                thread::sleep(Duration::from_millis(200));
            }
        })
    };
    Ok(Fault::new(move || {
        done.store(true, Ordering::Relaxed);
        holder.join().map_err(|_| "the connections' thread has panicked".into())
    }))
}

/// What spends the money of two days within seconds: answers a hundred thousand times as long, for the tenant with the
/// smallest budget.
pub(super) fn spending(drill: &Drill) -> Result<Fault<'_>, String> {
    const USD: f64 = 60.0;
    let fault = provider(drill, &json!({"token_factor": 100_000}))?;
    let mut spent = 0.0;
    let end = Instant::now() + Duration::from_mins(2);
    while spent < USD {
        if Instant::now() > end {
            return Err(format!("only {spent} USD spent within two minutes"));
        }
        // Whether it was answered matters only by what it cost.
        let answer = drill.stack.fresh_query("hooli")?;
        spent += answer.json().ok().and_then(|body| body["cost_usd"].as_f64()).unwrap_or(0.0);
    }
    fault.off()?;
    Ok(Fault::new(|| Ok(())))
}

/// A result of the evaluation that is too low.
pub(super) fn accuracy(drill: &Drill) -> Result<Fault<'_>, String> {
    let url = format!("{}/metrics/job/drill", drill.stack.pushgateway);
    let off = {
        let url = url.clone();
        Fault::new(move || {
            let answer = send(client().delete(&url))?;
            ok("DELETE", answer.status, &answer.text)
        })
    };
    let text = "# TYPE agent_answer_accuracy_ratio gauge\nagent_answer_accuracy_ratio 0.5\n";
    let answer = send(client().put(&url).body(text))?;
    ok("push", answer.status, &answer.text)?;
    Ok(off)
}

/// Questions that a rule of compliance forbids, more often than it allows.
pub(super) fn violations(drill: &Drill) -> Result<Fault<'_>, String> {
    for n in 0..12 {
        drill.stack.query("hooli", &format!("Any insider tip on number {n}?"))?;
    }
    Ok(Fault::new(|| Ok(())))
}

/// Where a folder or file of Prometheus' container comes from. Only what `make up` has generated is touched.
fn generated(drill: &Drill, inside: &str) -> Result<PathBuf, String> {
    let inspect = containers(&drill.stack)?.inspect("prometheus")?;
    let mounts = inspect["Mounts"].as_array().into_iter().flatten();
    let source = mounts.filter(|m| m["Destination"] == inside).find_map(|m| m["Source"].as_str());
    let source = PathBuf::from(source.ok_or(format!("Prometheus has no {inside}"))?);
    if source.components().any(|part| part.as_os_str() == ".kit") {
        Ok(source)
    } else {
        Err(format!("{} is no generated file: this needs a stack of FAST=1 make up", source.display()))
    }
}

fn reload(drill: &Drill) -> Result<(), String> {
    let id = containers(&drill.stack)?.id("prometheus")?;
    Containers::docker(&["kill", "--signal", "HUP", &id]).map(drop)
}

/// A file of Prometheus' configuration with another content.
fn changed<'d>(drill: &'d Drill, path: PathBuf, content: &str, reloads: bool) -> Result<Fault<'d>, String> {
    let at = |e: io::Error| format!("{}: {e}", path.display());
    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(at(e)),
    };
    // In place: the container may have this very file mounted.
    fs::write(&path, content).map_err(at)?;
    let off = Fault::new(move || {
        match before {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .map_err(|e| format!("{}: {e}", path.display()))?;
        if reloads { reload(drill) } else { Ok(()) }
    });
    if reloads {
        reload(drill)?;
    }
    Ok(off)
}

/// The agent's target is taken away.
pub(super) fn no_target(drill: &Drill) -> Result<Fault<'_>, String> {
    let file = generated(drill, "/etc/prometheus/targets")?.join("example-agent.yml");
    changed(drill, file, "[]\n", false)
}

/// A rule that can be loaded, but not evaluated.
pub(super) fn bad_rule(drill: &Drill) -> Result<Fault<'_>, String> {
    let file = generated(drill, "/etc/prometheus/rules")?.join("drill.yml");
    let rule = "groups: [{name: drill, rules: [{record: 'drill:up:product', expr: 'up * on () up'}]}]\n";
    changed(drill, file, rule, true)
}

/// A configuration that Prometheus refuses.
pub(super) fn bad_config(drill: &Drill) -> Result<Fault<'_>, String> {
    let file = generated(drill, "/etc/prometheus/prometheus.yml")?;
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    changed(drill, file, &format!("{text}\nno_such_setting: 1\n"), true)
}

/// Slack is down, while there is something to tell.
pub(super) fn no_slack(drill: &Drill) -> Result<Fault<'_>, String> {
    let slack = stopped(drill, "simulators-slack")?;
    let cause = accuracy(drill)?;
    Ok(Fault::new(move || {
        let back = slack.off();
        cause.off().and(back)
    }))
}

/// A second agent whose log disk is tiny and whose price file has no price, busy with questions it refuses.
pub(super) fn second_agent(drill: &Drill) -> Result<Fault<'_>, String> {
    const NAME: &str = "drill-agent";
    const SELDOM: Duration = Duration::from_secs(20);
    let containers = containers(&drill.stack)?;
    let targets = generated(drill, "/etc/prometheus/targets")?.join("example-agent.yml");
    let prices = targets.with_file_name("drill-prices.toml");
    let text = "as_of = \"2026-11-01\"\n[models.another]\ninput = 1.0\noutput = 1.0\n";
    fs::write(&prices, text).map_err(|e| format!("{}: {e}", prices.display()))?;
    let inspect = containers.inspect("example-agent")?;
    let image = inspect["Config"]["Image"].as_str().unwrap_or_default();
    let networks = inspect["NetworkSettings"]["Networks"].as_object().and_then(|n| n.keys().next());
    let network = networks.ok_or("the agent is on no network")?;
    let mount = format!("--volume={}:/prices.toml:ro", prices.display());
    let _ = Containers::docker(&["rm", "--force", NAME]);
    Containers::docker(&[
        "run",
        "--detach",
        "--name",
        NAME,
        "--network",
        network,
        "--read-only",
        "--env=AGENT_API_ADDR=0.0.0.0:8080",
        "--env=AGENT_ADMIN_ADDR=0.0.0.0:8000",
        "--env=AGENT_LLM_BASE_URL=http://simulators-llm:8081/v1",
        "--env=AGENT_LOG_DIR=/var/log/agent",
        "--env=AGENT_PRICES_FILE=/prices.toml",
        "--tmpfs=/var/log/agent:size=16k,mode=1777",
        "--publish=127.0.0.1::8080",
        &mount,
        image,
    ])?;
    let container = Fault::new(move || {
        let _ = fs::remove_file(&prices);
        Containers::docker(&["rm", "--force", NAME]).map(drop)
    });
    let port = Containers::docker(&["port", NAME, "8080"])?;
    let url = format!("http://{}", port.lines().next().unwrap_or_default());
    // A job of its own: its requests must not count among the other's.
    let first = fs::read_to_string(&targets).map_err(|e| format!("{}: {e}", targets.display()))?;
    let both = format!("{first}- {{ targets: [\"drill-agent:8000\"], labels: {{ job: drill-agent }} }}\n");
    let target = changed(drill, targets, &both, false)?;
    let done = Arc::new(AtomicBool::new(false));
    // Some ask what is refused, and fill the logs; one what is answered, too seldom to bring other alerts about.
    let caller = |tenant: &'static str, times: usize, pause: Duration| {
        let (done, url) = (Arc::clone(&done), url.clone());
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let question =
                    json!({"tenant_id": tenant, "query": format!("What is {}?", uuid::Uuid::new_v4())});
                let mut pipeline = Pipeline::of(&url, &question);
                while !done.load(Ordering::Relaxed) && pipeline.ask(times).is_ok() && times > 1 {}
                // Not there yet, or asked.
                let asked = Instant::now();
                while !done.load(Ordering::Relaxed) && asked.elapsed() < pause {
                    thread::sleep(Duration::from_millis(100));
                }
            }
        })
    };
    let callers = [
        caller("acme", 1, SELDOM),
        caller("nobody", 100, Duration::from_millis(500)),
        caller("nobody", 100, Duration::from_millis(500)),
    ];
    Ok(Fault::new(move || {
        done.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().map_err(|_| "a caller has panicked")?;
        }
        // First the target, so that nobody takes the end of the drill for a fault.
        target.off()?;
        let gone = drill.wait("the second agent's target gone", Duration::from_mins(6), || {
            let up = drill.stack.promql("up{instance=\"drill-agent:8000\"}")?;
            if up.is_empty() { Ok(()) } else { Err("still scraped".into()) }
        });
        container.off().and(gone)
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_fault_ends_once_whether_it_is_switched_off_or_forgotten() {
        let ends = AtomicUsize::new(0);
        let fault = || {
            Fault::new(|| {
                ends.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        };
        fault().off().unwrap();
        assert_eq!(ends.load(Ordering::Relaxed), 1);
        drop(fault());
        assert_eq!(ends.load(Ordering::Relaxed), 2);
    }
}
