//! Callers, and an agent elsewhere, whose clocks are hours off: what they say of the time must not become the stack's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{
    Chaos,
    judgement::{Promise, SCRAPE_LATE, Seen, Told},
    load::{Epoch, Moment, now},
    parts::Role,
};
use crate::{
    clients::{client, send},
    containers::Containers,
    drill::{
        Drill,
        faults::{Fault, container_of, containers, second_log_watch},
    },
    stack::Stack,
    wait::{SOON, until},
};

/// More than any time zone's mistake within a day, and less than what traces are kept for.
const OFF: f64 = 6.0 * 3600.0;
/// By which a time of the stack's own may differ from now, in seconds: a request, and a busy machine.
const ABOUT: f64 = 60.0;

/// Asks as a caller whose clock is ahead, and as one whose clock is behind.
pub(super) fn of_a_caller(chaos: &Chaos<'_>, epoch: Epoch) -> Result<(Seen, Promise), String> {
    let drill = chaos.drill;
    let before = chaos.before(epoch)?;
    let began = now();
    let checked = [OFF, -OFF].into_iter().try_for_each(|off| caller(drill, off));
    let checked = checked.and_then(|()| line_from_the_future(drill));
    let well = checked.map(|()| 0.0);
    let told =
        Told::NotDue("HostClockSkew watches the stack's own clock: make drill SCENARIO=machine".into());
    let promise = Promise {
        role: Role::Watches,
        unseen: false,
        scrape_late: Some(chaos.scrape + SCRAPE_LATE),
        lines: false,
        spans: false,
        within: ABOUT,
    };
    let seen = chaos.seen(epoch, &before, began, None, &promise)?;
    Ok((Seen { told, well, ..seen }, promise))
}

/// A request with a `Date` that is off, under a span that its caller says has begun then.
fn caller(drill: &Drill, off: f64) -> Result<(), String> {
    let stack = &drill.stack;
    let (trace, span) = (format!("{:032x}", uuid::Uuid::new_v4().as_u128()), "00f067aa0ba902b7");
    let theirs = now() + off;
    let has_jaeger = !stack.missing.contains_key("jaeger");
    if has_jaeger {
        export(stack, &trace, span, theirs)?;
    }
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs_f64(theirs));
    let body = json!({"tenant_id": "globex", "query": format!("What time is it in {trace}?")});
    let request = client().post(format!("{}/v1/query", stack.agent)).json(&body);
    let request = request.header("date", date).header("traceparent", format!("00-{trace}-{span}-01"));
    let answer = send(request)?;
    if answer.status != 200 {
        return Err(format!("a caller {off} s off: {}: {:.200}", answer.status, answer.text));
    }
    let script = format!("grep -hF -e '{trace}' /var/log/agent/*.ndjson || true");
    until("its lines", SOON, || {
        let text = containers(stack)?.exec("example-agent", &["sh", "-c", &script])?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let audited = lines.iter().any(|line| line["msg"] == "access decision");
        if lines.len() < 3 || !audited {
            return Err(format!("{} lines", lines.len()));
        }
        Ok(lines.iter().try_for_each(|line| {
            let text = line["time"].as_str().unwrap_or_default();
            let time = humantime::parse_rfc3339(text).map_err(|e| format!("{text}: {e}"))?;
            about_now(&format!("time of `{}`", line["msg"]), since_1970(time))
        }))
    })??;
    if has_jaeger { in_jaeger(stack, &trace, span, off) } else { Ok(()) }
}

fn since_1970(time: SystemTime) -> Moment {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn about_now(what: &str, time: Moment) -> Result<(), String> {
    let off = time - now();
    if off.abs() < ABOUT { Ok(()) } else { Err(format!("{what} is {off:.0} s off")) }
}

/// The caller's own span, as its tracer hands it to the collector.
fn export(stack: &Stack, trace: &str, span: &str, start: Moment) -> Result<(), String> {
    let url = format!("{}/v1/traces", Containers::address(&containers(stack)?.id("jaeger")?, 4318)?);
    let nanos = |seconds: f64| ((seconds * 1e3) as u64 * 1_000_000).to_string();
    let service = json!({"key": "service.name", "value": {"stringValue": "caller"}});
    let body = json!({"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [{
        "traceId": trace, "spanId": span, "name": "ask", "kind": 3,
        "startTimeUnixNano": nanos(start), "endTimeUnixNano": nanos(start + 1.0)}]}]}]});
    let answer = send(client().post(url).json(&body))?;
    if answer.status == 200 { Ok(()) } else { Err(format!("the caller's span: {}", answer.status)) }
}

/// The agent's spans are in the caller's trace, below its span, at the time at which they were.
fn in_jaeger(stack: &Stack, trace: &str, span: &str, off: f64) -> Result<(), String> {
    let url = format!("{}/api/traces/{trace}", stack.jaeger);
    until(&format!("the trace of a caller {off} s off"), SOON, || {
        let answer = stack.get(&url)?;
        let spans: Vec<_> = answer["data"][0]["spans"].as_array().into_iter().flatten().collect();
        let named = |name: &str| spans.iter().find(|span| span["operationName"] == name);
        let root = named("process_request").ok_or_else(|| format!("{} spans", spans.len()))?;
        // Indices have days: a span of tomorrow is found tomorrow.
        if off < 0.0 && named("ask").is_none() {
            return Err("no span of the caller".into());
        }
        let references = root["references"].as_array().into_iter().flatten();
        if !references.into_iter().any(|reference| reference["spanID"] == span) {
            return Err(format!("not below the caller's span: {root}"));
        }
        Ok(about_now("start of process_request", root["startTime"].as_f64().unwrap_or(0.0) / 1e6))
    })?
}

/// A line of an agent elsewhere, hours ahead, must not hide that the lines of now are old: log-watch leaves it alone.
fn line_from_the_future(drill: &Drill) -> Result<(), String> {
    const NAME: &str = "chaos-log-watch";
    let stack = &drill.stack;
    if stack.missing.contains_key("elasticsearch") {
        return Ok(());
    }
    let lines = [line(stack, now() - 2.0)?, line(stack, now() + OFF)?];
    let watch = second_log_watch(drill, NAME, &["--publish=127.0.0.1::9598"], &["--shipping=off"])?;
    let id = container_of(drill, NAME)?;
    let url = format!("{}/metrics", Containers::address(&id, 9598)?);
    // From inside: a connection that comes before it listens may hang in the engine's own proxy.
    until("healthy", SOON, || Containers::docker(&["exec", &id, "log-watch", "healthcheck"]))?;
    let newest = until("the newest line", SOON, || {
        let text = send(client().get(&url))?.text;
        let series = "log_newest_line_timestamp_seconds{stream=\"app\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.and_then(|value| value.parse::<f64>().ok()).ok_or("none yet".to_owned())
    });
    watch.off()?;
    lines.into_iter().try_for_each(Fault::off)?;
    let newest = newest?;
    if newest > now() { Err(format!("the newest line is {:.0} s ahead", newest - now())) } else { Ok(()) }
}

/// A line in Elasticsearch with this time, until the fault is off.
fn line(stack: &Stack, time: Moment) -> Result<Fault<'_>, String> {
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_secs_f64(time)).to_string();
    let index = format!("agent-logs-{}", time[..10].replace('-', "."));
    let path = format!("/{index}/_doc/chaos-{}?refresh=true", uuid::Uuid::new_v4());
    let ask = move |request: &str, body: Option<&Value>| {
        let answer = stack.elasticsearch_as("elastic", request, body)?;
        let done = (200..300).contains(&answer.status);
        if done { Ok(()) } else { Err(format!("{request}: {}: {:.200}", answer.status, answer.text)) }
    };
    let off = {
        let path = path.clone();
        Fault::new(move || ask(&format!("DELETE {path}"), None))
    };
    let source = json!({"@timestamp": time, "message": "chaos", "log": {"level": "INFO"}});
    ask(&format!("PUT {path}"), Some(&source))?;
    Ok(off)
}
