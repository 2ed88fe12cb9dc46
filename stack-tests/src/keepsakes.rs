//! Something in each place where the stack keeps things, to see that it is still there after all that happens to it.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::{
    clients::{client, send},
    stack::Stack,
    wait::{SOON, until},
};

/// A silence in Alertmanager, a value pushed to the Pushgateway and scraped by Prometheus, a trace in Jaeger, a user of
/// Elasticsearch, and an event in the agent's audit log.
pub struct Keepsakes {
    run: String,
    request: String,
    trace: Option<String>,
    pushed: String,
    points: f64,
}

impl Keepsakes {
    /// Leaves them. The trace only where Elasticsearch keeps traces: in memory they end with Jaeger.
    ///
    /// # Errors
    /// Which place did not take its own.
    pub fn leave(stack: &Stack) -> Result<Self, String> {
        let run = uuid::Uuid::new_v4().to_string();
        silence(stack, &run)?;
        let pushed = push(stack, &run)?;
        let answer = stack.fresh_query("globex")?;
        let request = answer.header("x-request-id").to_owned();
        until("the event to keep", SOON, || has_event(stack, &request))?;
        let trace = answer.header("x-trace-id").to_owned();
        let trace = if is_kept(stack) {
            until("the trace to keep", SOON, || stack.request_spans(&trace))?;
            is_user(stack)?;
            Some(trace)
        } else {
            None
        };
        let mut all = Self { run, request, trace, pushed, points: 0.0 };
        all.points = all.points_now(stack)?;
        Ok(all)
    }

    /// Which of them are gone; those that take a while to come back are waited for.
    pub fn lost(&self, stack: &Stack) -> Vec<String> {
        let silence = until("the silence", SOON, || match has_silence(stack, &self.run) {
            Ok(true) => Ok(()),
            Ok(false) => Err("gone".to_owned()),
            Err(error) => Err(error),
        });
        // What was scraped before, and what is pushed on.
        let history = until("the history of the pushed value", 3 * SOON, || {
            let points = self.points_now(stack)?;
            if points > self.points {
                Ok(())
            } else {
                Err(format!("{points} points, {} before", self.points))
            }
        });
        let event = until("the audit event", SOON, || has_event(stack, &self.request));
        let (trace, user) = match &self.trace {
            Some(trace) => (
                until("the trace", 2 * SOON, || stack.request_spans(trace)).map(drop),
                until("the user of Elasticsearch", SOON, || is_user(stack)),
            ),
            None => (Ok(()), Ok(())),
        };
        [silence, history, event, trace, user].into_iter().filter_map(Result::err).collect()
    }

    fn points_now(&self, stack: &Stack) -> Result<f64, String> {
        stack.promql_value(&format!("count_over_time({}[1h])", self.pushed))
    }

    /// Takes away what would stay.
    ///
    /// # Errors
    /// What the Pushgateway said.
    pub fn remove(&self, stack: &Stack) -> Result<(), String> {
        let answer = send(client().delete(push_url(stack, &self.run)))?;
        if answer.status == 202 {
            Ok(())
        } else {
            Err(format!("deleting what was pushed: {}", answer.status))
        }
    }
}

/// Whether there is an Elasticsearch, which keeps traces and users.
fn is_kept(stack: &Stack) -> bool {
    let services = stack.containers.as_ref().and_then(|containers| containers.services().ok());
    services.is_some_and(|services| services.iter().any(|service| service == "elasticsearch"))
}

/// Who reads logs is known by the password that he had.
fn is_user(stack: &Stack) -> Result<(), String> {
    let answer = stack.elasticsearch_as("agent_logs_reader", "GET /_security/_authenticate", None)?;
    if answer.status == 200 { Ok(()) } else { Err(format!("agent_logs_reader: {}", answer.status)) }
}

fn has_event(stack: &Stack, request: &str) -> Result<(), String> {
    let containers = stack.containers.as_ref().ok_or("STACK_COMPOSE_PROJECT is not set")?;
    let script = format!("grep -hF -e '{request}' /var/log/agent/audit.*.ndjson");
    containers.exec("example-agent", &["sh", "-c", &script]).map(drop)
}

/// Where a run's value is pushed, and deleted.
pub fn push_url(stack: &Stack, run: &str) -> String {
    format!("{}/metrics/job/keepsake/run/{run}", stack.pushgateway)
}

/// Pushes a value and waits until Prometheus has it; the selector of its series.
///
/// # Errors
/// That one of the two has not taken it.
pub fn push(stack: &Stack, run: &str) -> Result<String, String> {
    let series = format!("push_of_a_trial{{run=\"{run}\"}}");
    let body = "# TYPE push_of_a_trial gauge\npush_of_a_trial 1\n";
    let answer = send(client().put(push_url(stack, run)).body(body))?;
    if answer.status != 200 {
        return Err(format!("push: {}: {}", answer.status, answer.text));
    }
    // Once a minute on a stack of the real rules.
    until("the pushed value is in Prometheus", 3 * SOON, || stack.promql_value(&series))?;
    Ok(series)
}

/// A silence of an hour that hurts nobody, by its comment.
///
/// # Errors
/// What Alertmanager said.
pub fn silence(stack: &Stack, comment: &str) -> Result<(), String> {
    let [from, to] = [0, 3600].map(|seconds| {
        let time = SystemTime::now() + Duration::from_secs(seconds);
        humantime::format_rfc3339_seconds(time).to_string()
    });
    let matcher = json!({"name": "alertname", "value": "NoSuchAlert", "isRegex": false, "isEqual": true});
    let body = json!({"matchers": [matcher], "startsAt": from, "endsAt": to, "createdBy": "trial",
        "comment": comment});
    let answer = send(client().post(format!("{}/api/v2/silences", stack.alertmanager)).json(&body))?;
    if answer.status == 200 { Ok(()) } else { Err(format!("silence: {}: {}", answer.status, answer.text)) }
}

/// Whether there is a silence with this comment.
///
/// # Errors
/// What Alertmanager said.
pub fn has_silence(stack: &Stack, comment: &str) -> Result<bool, String> {
    let silences = stack.get(&format!("{}/api/v2/silences", stack.alertmanager))?;
    Ok(silences.as_array().into_iter().flatten().any(|silence| silence["comment"] == comment))
}
