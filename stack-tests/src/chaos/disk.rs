//! The disk of an agent's logs is full, of a second agent beside the stack's: nobody waits, each line that is lost is counted, and
//! the audit log waits for the disk.

use std::{thread, time::Duration};

use super::{
    Chaos,
    judgement::{Promise, Seen, Told},
    lines::{Account, by_trace},
    load::{CALM, Epoch, Load, now},
    parts::Role,
    users::Users,
};
use crate::{
    containers::Containers,
    drill::faults::{Fault, beside, container_of},
    stack::Stack,
    wait::SOON,
};

const NAME: &str = "chaos-agent";
const FULL: Epoch = Epoch(1);
/// Requests before the disk is full, to compare with.
const CALM_REQUESTS: usize = 60;
/// How long it is full.
const HOLD: Duration = Duration::from_secs(6);
/// From when there is room again until the audit log has everything: it tries each second.
const WITHIN: f64 = 10.0;

/// What a command prints in the second agent's container.
fn run(id: &str, script: &str) -> Result<String, String> {
    Containers::docker(&["exec", id, "sh", "-c", script])
}

/// Fills the disk, and looks at what came of it.
pub(super) fn full(chaos: &Chaos<'_>) -> Result<(Seen, Promise), String> {
    let drill = chaos.drill;
    let options = [
        "--env=AGENT_API_ADDR=0.0.0.0:8080",
        "--env=AGENT_ADMIN_ADDR=0.0.0.0:8000",
        "--env=AGENT_LLM_BASE_URL=http://simulators-llm:8081/v1",
        // Not over a folder of the image: runc would give it that one's mode, and nobody could write.
        "--env=AGENT_LOG_DIR=/logs",
        "--tmpfs=/logs:size=8m,mode=1777",
        "--publish=127.0.0.1::8080",
        "--publish=127.0.0.1::8000",
    ];
    let container = beside(drill, "example-agent", NAME, &options, &[])?;
    let id = container_of(drill, NAME)?;
    let url = |port| Containers::address(&id, port);
    let agent = Stack { agent: url(8080)?, agent_admin: url(8000)?, ..Stack::from_env() };
    // From inside: a connection that comes before the agent may hang in the engine's own proxy.
    let healthy = || Containers::docker(&["exec", &id, "example-agent", "healthcheck"]);
    drill.wait("the second agent healthy", SOON, healthy)?;
    let load = Load::begin(&agent.agent)?;
    drill.wait("its calm load", Duration::from_mins(1), || {
        let ended = load.asked(CALM).iter().filter(|asked| asked.ended.is_some()).count();
        if ended >= CALM_REQUESTS { Ok(()) } else { Err(format!("{ended} requests")) }
    })?;
    let dropped = || agent.metric("agent_log_lines_dropped_total", &[]);
    load.enter(FULL);
    let calm_p95 = Users::of(&load.settle(CALM)).p95;
    // It ends with an error: there is no room left.
    run(&id, "dd if=/dev/zero of=/logs/filler bs=1k 2>/dev/null || true")?;
    let began = now();
    drill.note(NAME, "fault on");
    let room = Fault::new(|| run(&id, "rm -f /logs/filler").map(drop));
    drill.wait(
        "lines counted as lost",
        SOON,
        || if dropped()? > 0.0 { Ok(()) } else { Err("none".into()) },
    )?;
    let held = now();
    while now() - held < HOLD.as_secs_f64() && !drill.is_ended() {
        thread::sleep(Duration::from_millis(100));
    }
    room.off()?;
    drill.note(NAME, "fault off");
    let ended = now();
    load.enter(CALM);
    let asked = load.settle(FULL);
    let account = || {
        let script = format!("grep -hF -e '{}' /logs/*.ndjson || true", load.prefix(FULL));
        run(&id, &script).map(|text| Account::of(&asked, &by_trace(&text), None))
    };
    let well = drill.wait("all events in the audit log", SOON, || {
        let account = account()?;
        if account.events_lost == 0 { Ok(()) } else { Err(format!("{} missing", account.events_lost)) }
    });
    let well = well.map(|()| now() - ended);
    let account = account()?;
    // No line may be on its way while they are counted.
    drop(load);
    let uncounted = || -> Result<i64, String> {
        let said = Containers::docker(&["logs", &id])?.lines().count();
        let file = run(&id, "cat /logs/agent.*.ndjson")?;
        let file =
            file.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
        let [said, file] = [said, file].map(|lines| i64::try_from(lines).unwrap_or(i64::MAX));
        Ok(said - file - dropped()? as i64)
    };
    let all = drill.wait("each lost line counted", SOON, || match uncounted()? {
        0 => Ok(0),
        some => Err(some.to_string()),
    });
    let uncounted = all.or_else(|_| uncounted())?;
    let lines_dropped = dropped()?;
    container.off()?;
    let seen = Seen {
        users: Users::of(&asked),
        calm_p95,
        account,
        gaps: 0,
        lines_dropped,
        uncounted,
        spans_dropped: 0.0,
        traces_missing: None,
        unshipped: None,
        gap: None,
        outage: ended - began,
        told: Told::NotDue("LogLinesDropped and AuditEventsLost: make drill SCENARIO=second-agent".into()),
        well,
    };
    let promise = Promise {
        role: Role::Watches,
        unseen: false,
        scrape_late: None,
        lines: true,
        spans: false,
        within: WITHIN,
    };
    Ok((seen, promise))
}
