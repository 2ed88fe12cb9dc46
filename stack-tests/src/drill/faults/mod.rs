//! What a drill breaks, each with how it is made whole again.

mod configuration;
mod log_path;
mod second_agent;
mod second_prometheus;

use std::{
    io,
    io::Read as _,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::{
    Drill,
    inbox::{Mark, Way},
    scenarios::warning,
    traffic::KNOWN,
};
use crate::{
    clients::{client, send},
    containers::Containers,
    stack::Stack,
};

pub(super) use configuration::{bad_config, bad_rule, limits, no_target};
pub(super) use log_path::{audit_gap, no_primary, no_replica, unshipped, unusable_lines};
pub(crate) use log_path::{read_only, second_log_watch};
pub(super) use second_agent::second_agent;
pub(super) use second_prometheus::full_prometheus;

type Off<'d> = Box<dyn FnOnce() -> Result<(), String> + Send + 'd>;

/// Something that is broken until this is dropped.
pub(crate) struct Fault<'d> {
    off: Option<Off<'d>>,
}

impl<'d> Fault<'d> {
    pub(crate) fn new(off: impl FnOnce() -> Result<(), String> + Send + 'd) -> Self {
        Self { off: Some(Box::new(off)) }
    }

    /// Nothing that would have to be made whole.
    pub(crate) fn none() -> Self {
        Self { off: None }
    }

    /// Makes it whole, and says whether that has worked.
    pub(crate) fn off(mut self) -> Result<(), String> {
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

pub(crate) fn containers(stack: &Stack) -> Result<&Containers, String> {
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
    Ok(Fault::none())
}

/// More connections to the agent than an instance should have, held open. The agent closes those that ask nothing for ten
/// seconds, so they are opened some at a time, never all at once, and each is replaced as it goes. By several threads, because
/// on a busy machine one would open them more slowly than they go.
pub(super) fn connections(drill: &Drill) -> Result<Fault<'_>, String> {
    const HOLDERS: usize = 8;
    const EACH: usize = 200;
    const AT_ONCE: usize = 20;
    allow_open_files((HOLDERS * EACH) as u64 + 200)?;
    let address = drill.stack.agent.trim_start_matches("http://").to_owned();
    let connect = move || -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&address)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    connect().map_err(|e| format!("cannot connect to the agent: {e}"))?;
    let done = Arc::new(AtomicBool::new(false));
    let hold = |_| {
        let (done, connect) = (Arc::clone(&done), connect.clone());
        thread::spawn(move || {
            let mut held = Vec::new();
            while !done.load(Ordering::Relaxed) {
                // Nothing to read yet: it is open.
                held.retain_mut(|stream: &mut TcpStream| {
                    stream.read(&mut [0; 64]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
                });
                let missing = EACH.saturating_sub(held.len()).min(AT_ONCE);
                held.extend((0..missing).filter_map(|_| connect().ok()));
                thread::sleep(Duration::from_millis(200));
            }
        })
    };
    let holders: Vec<_> = (0..HOLDERS).map(hold).collect();
    Ok(Fault::new(move || {
        done.store(true, Ordering::Relaxed);
        let ended =
            holders.into_iter().map(|holder| holder.join().map_err(|_| "a holder has panicked".into()));
        ended.collect()
    }))
}

/// Raises what this process may have open at a time: many systems begin with 1024, or 256.
fn allow_open_files(files: u64) -> Result<(), String> {
    let limit = |e| format!("the limit of open files: {e}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(limit)?;
    if hard < files {
        return Err(format!("this needs {files} open files, and {hard} are allowed: see `ulimit -Hn`"));
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(files), hard).map_err(limit)
}

/// What spends the money of two days within seconds: answers a hundred thousand times as long, for the tenant with the
/// smallest budget.
pub(super) fn spending(drill: &Drill) -> Result<Fault<'_>, String> {
    const USD: f64 = 60.0;
    let fault = provider(drill, &json!({"token_factor": 100_000}))?;
    let mut spent = 0.0;
    let end = Instant::now() + Duration::from_mins(2);
    while spent < USD {
        if drill.is_ended() {
            return Err("broken off".into());
        }
        if Instant::now() > end {
            return Err(format!("only {spent} USD spent within two minutes"));
        }
        // Whether it was answered matters only by what it cost.
        let answer = drill.stack.fresh_query("hooli")?;
        spent += answer.json().ok().and_then(|body| body["cost_usd"].as_f64()).unwrap_or(0.0);
    }
    fault.off()?;
    Ok(Fault::none())
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

/// A push that the Pushgateway refuses, because the metric has another type in what was pushed before.
pub(super) fn refused_push(drill: &Drill) -> Result<Fault<'_>, String> {
    let off = accuracy(drill)?;
    let url = format!("{}/metrics/job/drill-refused", drill.stack.pushgateway);
    let off = {
        let url = url.clone();
        Fault::new(move || {
            let answer = send(client().delete(&url))?;
            ok("DELETE", answer.status, &answer.text).and(off.off())
        })
    };
    let text = "# TYPE agent_answer_accuracy_ratio counter\nagent_answer_accuracy_ratio 1\n";
    let answer = send(client().put(&url).body(text))?;
    if answer.status == 400 { Ok(off) } else { Err(format!("the push is answered with {}", answer.status)) }
}

/// Questions that a rule of compliance forbids, more often than it allows.
pub(super) fn violations(drill: &Drill) -> Result<Fault<'_>, String> {
    for n in 0..12 {
        drill.stack.query("hooli", &format!("Any insider tip on number {n}?"))?;
    }
    Ok(Fault::none())
}

/// Slack is down, while there is something to tell. What it missed must be there once it is back.
pub(super) fn no_slack(drill: &Drill) -> Result<Fault<'_>, String> {
    let mark = Mark::set(&drill.stack)?;
    let slack = stopped(drill, "simulators-slack")?;
    let cause = accuracy(drill)?;
    Ok(Fault::new(move || {
        let missed =
            slack.off().and_then(|()| drill.told_late(&warning("LowAnswerAccuracy"), &mark, &[Way::Slack]));
        cause.off().and(missed)
    }))
}

/// A container in the image and the network of a service, known there as `name`, until this is dropped.
pub(crate) fn beside<'d>(
    drill: &'d Drill,
    service: &str,
    name: &str,
    options: &[&str],
    command: &[&str],
) -> Result<Fault<'d>, String> {
    let containers = containers(&drill.stack)?;
    let inspect = containers.inspect(service)?;
    let image = inspect["Config"]["Image"].as_str().ok_or(format!("{service} has no image"))?;
    let networks = inspect["NetworkSettings"]["Networks"].as_object().and_then(|n| n.keys().next());
    let network = networks.ok_or(format!("{service} is on no network"))?;
    let container = container_of(drill, name)?;
    // Of a drill that was killed.
    let _ = Containers::docker(&["rm", "--force", &container]);
    let fixed = [
        "run",
        "--detach",
        "--read-only",
        "--name",
        &container,
        "--network",
        network,
        "--network-alias",
        name,
    ];
    Containers::docker(&[&fixed, options, &[image], command].concat())?;
    Ok(Fault::new(move || Containers::docker(&["rm", "--force", &container]).map(drop)))
}

/// What a container beside the stack is called: several stacks may be drilled at a time.
pub(crate) fn container_of(drill: &Drill, name: &str) -> Result<String, String> {
    Ok(format!("{}-{name}", containers(&drill.stack)?.project()))
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
