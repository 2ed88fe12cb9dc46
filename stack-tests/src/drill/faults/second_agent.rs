//! A second agent, beside the stack's.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Fault, beside,
    configuration::{changed, generated, no_longer_scraped},
    container_of,
};
use crate::{
    containers::Containers,
    drill::{Drill, pipeline::Pipeline},
};

/// A second agent whose log disk is tiny and whose price file has no price, busy with questions it refuses.
pub(in crate::drill) fn second_agent(drill: &Drill) -> Result<Fault<'_>, String> {
    const NAME: &str = "drill-agent";
    const SELDOM: Duration = Duration::from_secs(20);
    let targets = generated(drill, "/etc/prometheus-kit/targets")?.join("example-agent.yml");
    let prices = targets.with_file_name("drill-prices.toml");
    let text = "as_of = \"2026-11-01\"\n[models.another]\ninput = 1.0\noutput = 1.0\n";
    fs::write(&prices, text).map_err(|e| format!("{}: {e}", prices.display()))?;
    let mount = format!("--volume={}:/prices.toml:ro", prices.display());
    let options = [
        "--env=AGENT_API_ADDR=0.0.0.0:8080",
        "--env=AGENT_ADMIN_ADDR=0.0.0.0:8000",
        "--env=AGENT_LLM_BASE_URL=http://simulators-llm:8081/v1",
        "--env=AGENT_LOG_DIR=/logs",
        "--env=AGENT_PRICES_FILE=/prices.toml",
        "--tmpfs=/logs:size=16k,mode=1777",
        "--publish=127.0.0.1::8080",
        &mount,
    ];
    let agent = beside(drill, "example-agent", NAME, &options, &[])?;
    let container = Fault::new(move || {
        let _ = fs::remove_file(&prices);
        agent.off()
    });
    let url = Containers::address(&container_of(drill, NAME)?, 8080)?;
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
        let gone = no_longer_scraped(drill, "drill-agent:8000");
        container.off().and(gone)
    }))
}
