//! Anti-noise: an hour's worth of ordinary traffic, and nobody is told anything.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{Drill, faults::Fault};

/// An hour of the base traffic, one request a second, goes through in what the stack's rules take for an hour.
const HOUR: Duration = Duration::from_hours(1);
/// The same requests each time.
const SEED: &str = "--seed=20261124";

/// Alerts that fire, but for Watchdog, which always does, and those about the machine: how full its disk is and what else
/// it does is not what is tested.
fn selector(state: &str) -> String {
    const OURS: &str = "alertname!~\"Watchdog|ElasticsearchDiskLow\", job!=\"node-exporter\"";
    format!("ALERTS{{alertstate=~\"{state}\", {OURS}}}")
}

/// Watches for an hour of the rules' time. There is no fault to switch off afterwards.
pub(super) fn an_hour(drill: &Drill) -> Result<Fault<'_>, String> {
    // What was before, be it only half a reason, is not of this hour.
    drill.wait("an hour that begins quietly", drill.scaled(Duration::from_mins(75)), || {
        let noise = names(drill, &selector("pending|firing"))?;
        if noise.is_empty() { Ok(()) } else { Err(format!("{noise:?}")) }
    })?;
    let messages = drill.stack.slack_messages()?.len();
    let rate = format!("--rate={}", drill.factor);
    let command = ["base", "--url=http://example-agent:8080", SEED, &rate];
    let traffic = super::faults::beside(drill, "load", "drill-load", &[], &command)?;
    let (started, hour) = (Instant::now(), HOUR / drill.factor);
    let noise = |elapsed: u64| {
        // All since the beginning, so that none is missed that comes and goes between two questions.
        names(drill, &format!("max_over_time({}[{elapsed}s])", selector("firing")))
    };
    let watched = drill.wait("an hour of ordinary traffic", hour + Duration::from_mins(1), || {
        let elapsed = started.elapsed();
        match noise(elapsed.as_secs().max(1))? {
            noise if !noise.is_empty() => Ok(Err(format!("ordinary traffic brought {noise:?}"))),
            _ if elapsed < hour => Err(format!("{} s", elapsed.as_secs())),
            _ => Ok(Ok(())),
        }
    });
    let asked =
        drill.stack.promql_value(&format!("sum(increase(agent_requests_total[{}s]))", hour.as_secs()));
    traffic.off()?;
    watched??;
    // A quiet that nobody disturbs proves nothing.
    let (asked, least) = (asked?, HOUR.as_secs_f64() / 2.0);
    if asked < least {
        return Err(format!("only {asked:.0} requests in this hour, not {least}"));
    }
    let watchdog = drill.stack.alerts()?.iter().any(|alert| alert["labels"]["alertname"] == "Watchdog");
    if !watchdog {
        return Err("Alertmanager does not hear Watchdog: nobody could be told of anything".into());
    }
    let now = drill.stack.slack_messages()?;
    let titles = now[messages.min(now.len())..]
        .iter()
        .filter_map(|message| message["payload"]["attachments"][0]["title"].as_str());
    let told: Vec<_> = titles.collect();
    let told = if told.is_empty() { "nothing".to_owned() } else { told.join("; ") };
    drill.note(
        "calm",
        &format!("{asked:.0} requests, no alert but Watchdog and the machine's; Slack: {told}"),
    );
    Ok(Fault::none())
}

fn names(drill: &Drill, query: &str) -> Result<BTreeSet<String>, String> {
    let series = drill.stack.promql(query)?;
    Ok(series.iter().map(|s| s["metric"]["alertname"].as_str().unwrap_or_default().to_owned()).collect())
}
