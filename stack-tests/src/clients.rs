//! Just enough of each service's HTTP API to ask what the stack knows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use command_line::http;
use reqwest::blocking::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::stack::Stack;

/// An HTTP answer, read whole.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// Says what the body was instead.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.text)
            .map_err(|e| format!("status {}: {e}: {:.200}", self.status, self.text))
    }

    /// A header's value, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// A client whose every request is bounded to 40 s: longer than the agent's own longest time-out.
pub fn client() -> Client {
    // Plain HTTP alone: every service of the stack is reached on loopback or on the stack's own network.
    http::blocking_client([])
        .timeout(Duration::from_secs(40))
        .no_proxy()
        .build()
        .expect("a client with no options that can fail")
}

/// Sends a request and reads the answer, whatever its status.
pub fn send(request: RequestBuilder) -> Result<Answer, String> {
    let answer = request.send().map_err(|e| format!("{e:?}"))?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().map_err(|e| format!("status {status}, then {e:?}"))?;
    Ok(Answer { status, headers, text })
}

fn get(url: &str) -> Result<Value, String> {
    let answer = send(client().get(url)).map_err(|e| format!("{url}: {e}"))?;
    if answer.status == 200 {
        answer.json()
    } else {
        Err(format!("{url}: {}: {:.200}", answer.status, answer.text))
    }
}

impl Stack {
    /// The JSON at an address that answers with 200.
    pub fn get(&self, url: &str) -> Result<Value, String> {
        get(url)
    }

    /// Asks the agent.
    pub fn query(&self, tenant: &str, query: &str) -> Result<Answer, String> {
        let body = json!({"tenant_id": tenant, "query": query});
        send(client().post(format!("{}/v1/query", self.agent)).json(&body))
    }

    /// Asks the agent something nobody has asked before, so that the model must be called.
    pub fn fresh_query(&self, tenant: &str) -> Result<Answer, String> {
        self.query(tenant, &format!("What does run {} say about slow requests?", uuid::Uuid::new_v4()))
    }

    /// The agent's metrics as text.
    pub fn metrics(&self) -> Result<String, String> {
        send(client().get(format!("{}/metrics", self.agent_admin))).map(|a| a.text)
    }

    /// The sum over all series of a metric in the agent's text that have all these `label="value"` parts.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64, String> {
        Ok(sum(&self.metrics()?, name, labels))
    }

    /// Sets the model simulator's faults; what is left out is as in fair weather.
    pub fn set_faults(&self, faults: &Value) -> Result<(), String> {
        let answer = send(client().put(format!("{}/faults", self.llm)).json(faults))?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("PUT /faults: {}: {}", answer.status, answer.text))
        }
    }

    /// The series that a PromQL expression gives now.
    pub fn promql(&self, expr: &str) -> Result<Vec<Value>, String> {
        let url =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.prometheus), [("query", expr)])
                .map_err(|e| format!("{expr}: {e}"))?;
        let answer = get(url.as_str())?;
        answer["data"]["result"].as_array().cloned().ok_or(format!("{expr}: {answer}"))
    }

    /// The value of an expression that gives one series.
    pub fn promql_value(&self, expr: &str) -> Result<f64, String> {
        let series = self.promql(expr)?;
        let value = series.first().and_then(|s| s["value"][1].as_str()).and_then(|v| v.parse().ok());
        value.ok_or(format!("{expr}: no series"))
    }

    /// The trace ids of a series' exemplars of the last ten minutes, oldest first.
    pub fn exemplars(&self, series: &str) -> Result<Vec<String>, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
        let (start, end) = ((now - 600).to_string(), (now + 1).to_string());
        let parameters = [("query", series), ("start", &start), ("end", &end)];
        let url = format!("{}/api/v1/query_exemplars", self.prometheus);
        let url = reqwest::Url::parse_with_params(&url, parameters).map_err(|e| format!("{series}: {e}"))?;
        let answer = get(url.as_str())?;
        let series = answer["data"].as_array().into_iter().flatten();
        let mut found: Vec<_> =
            series.flat_map(|s| s["exemplars"].as_array().cloned().unwrap_or_default()).collect();
        found.sort_by(|a, b| {
            a["timestamp"].as_f64().unwrap_or(0.0).total_cmp(&b["timestamp"].as_f64().unwrap_or(0.0))
        });
        Ok(found.iter().filter_map(|e| e["labels"]["trace_id"].as_str().map(str::to_owned)).collect())
    }

    /// The spans of a trace, as Jaeger's query API gives them.
    pub fn spans(&self, trace_id: &str) -> Result<Vec<Span>, String> {
        let answer = get(&format!("{}/api/traces/{trace_id}", self.jaeger))?;
        let trace = &answer["data"][0];
        let spans = trace["spans"].as_array().ok_or(format!("trace {trace_id}: {answer}"))?;
        Ok(spans.iter().map(|span| Span::from_jaeger(span, &trace["processes"])).collect())
    }

    /// The same once the agent's first span of the request is among them. It is the last of them to be exported, and the
    /// provider's, which come from another process, may be there long before it.
    pub fn request_spans(&self, trace_id: &str) -> Result<Vec<Span>, String> {
        let spans = self.spans(trace_id)?;
        let is_there = spans.iter().any(|span| span.name == "process_request");
        if is_there { Ok(spans) } else { Err(format!("no process_request in {trace_id}: {spans:?}")) }
    }

    /// The messages in the Slack simulator's inbox.
    pub fn slack_messages(&self) -> Result<Vec<Value>, String> {
        let answer = get(&format!("{}/api/messages", self.slack))?;
        answer["messages"].as_array().cloned().ok_or(format!("inbox: {answer}"))
    }

    /// The mails in MailDev's inbox.
    pub fn mails(&self) -> Result<Vec<Value>, String> {
        let answer = get(&format!("{}/api/email", self.maildev))?;
        let mails =
            answer.as_array().or_else(|| answer["items"].as_array()).or_else(|| answer["emails"].as_array());
        mails.cloned().ok_or(format!("mailbox: {answer}"))
    }

    /// The alerts that Alertmanager holds.
    pub fn alerts(&self) -> Result<Vec<Value>, String> {
        let answer = get(&format!("{}/api/v2/alerts", self.alertmanager))?;
        answer.as_array().cloned().ok_or(format!("alerts: {answer}"))
    }

    /// Rules as Prometheus has evaluated them, each with the `interval` of its group: all, or those that are left by parameters
    /// such as `type=alert`.
    pub fn rules(&self, parameters: &str) -> Result<Vec<Value>, String> {
        let answer = get(&format!("{}/api/v1/rules?{parameters}", self.prometheus))?;
        let groups = answer["data"]["groups"].as_array().ok_or(format!("rules: {answer}"))?;
        let of = |group: &Value| {
            let mut rules = group["rules"].as_array().cloned().unwrap_or_default();
            for rule in &mut rules {
                rule["interval"] = group["interval"].clone();
            }
            rules
        };
        Ok(groups.iter().flat_map(of).collect())
    }

    /// The alerting rules of this name.
    pub fn alert_rules(&self, name: &str) -> Result<Vec<Value>, String> {
        self.rules(&format!("type=alert&rule_name[]={name}"))
    }
}

/// One span, reduced to what the trials look at.
#[derive(Debug)]
pub struct Span {
    /// Its id, 16 hex digits.
    pub id: String,
    /// Its parent's id, where it has one.
    pub parent: Option<String>,
    /// The service that recorded it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub tags: Value,
}

impl Span {
    fn from_jaeger(span: &Value, processes: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let references = span["references"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tags = span["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            id: text(&span["spanID"]),
            parent: references.iter().find(|r| r["refType"] == "CHILD_OF").map(|r| text(&r["spanID"])),
            service: text(&processes[text(&span["processID"])]["serviceName"]),
            name: text(&span["operationName"]),
            tags: tags.iter().map(|tag| (text(&tag["key"]), tag["value"].clone())).collect(),
        }
    }
}

/// The sum over the samples of `name` that have all the given label parts.
fn sum(exposition: &str, name: &str, labels: &[&str]) -> f64 {
    let of_metric = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|part| line.contains(part))
    };
    exposition.lines().filter(of_metric).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_only_the_series_that_were_asked_for() {
        let text = "# TYPE a_total counter\na_total{t=\"x\",s=\"ok\"} 2\na_total{t=\"y\",s=\"ok\"} 3\na_total_more 9\nb 1\n";
        assert!((sum(text, "a_total", &[]) - 5.0).abs() < f64::EPSILON);
        assert!((sum(text, "a_total", &["t=\"y\""]) - 3.0).abs() < f64::EPSILON);
        assert!((sum(text, "b", &[]) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_span_knows_its_parent_and_its_service() {
        let span = json!({"spanID": "b", "processID": "p1", "operationName": "check_cache",
            "references": [{"refType": "CHILD_OF", "spanID": "a"}], "tags": [{"key": "cache.hit", "value": true}]});
        let span = Span::from_jaeger(&span, &json!({"p1": {"serviceName": "example-agent"}}));
        assert_eq!((span.parent.as_deref(), span.service.as_str()), (Some("a"), "example-agent"));
        assert_eq!(span.tags["cache.hit"], true);
    }
}
