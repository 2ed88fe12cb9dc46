//! What people get, and what they can do about it.

use std::collections::BTreeMap;

use regex::Regex;
use reqwest::Url;
use serde_json::{Value, json};

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{client, send},
    containers::Containers,
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("notifications::the_silence_button_silences", &[], silence_button_silences),
    Case::new(
        "notifications::two_prometheus_replicas_are_one_message",
        &[Need::Containers, Need::Fast, Need::Service("pushgateway")],
        two_replicas_are_one_message,
    ),
];

/// An alert of nobody's, with a label that must be quoted wherever it goes.
fn alert(ends: bool) -> Value {
    let labels = json!({"alertname": "SilenceTrial", "job": "a \"quoted\" job & co", "severity": "critical"});
    let ends_at = if ends { "2026-01-01T00:00:00Z" } else { "2099-01-01T00:00:00Z" };
    json!([{"labels": labels, "startsAt": "2025-12-31T00:00:00Z", "endsAt": ends_at}])
}

fn silence_button_silences(stack: &Stack) -> Result<(), String> {
    let post = |path: &str, body: &Value| {
        let answer = send(client().post(format!("{}/api/v2/{path}", stack.alertmanager)).json(body))?;
        expect(&format!("POST {path}: {}", answer.text), answer.status, 200).map(|()| answer)
    };
    post("alerts", &alert(false))?;
    let silenced = until("the message's silence button", 2 * SOON, || {
        let messages = stack.slack_messages()?;
        let actions = messages
            .iter()
            .filter(|m| m["payload"]["attachments"][0]["title"].to_string().contains("SilenceTrial"))
            .flat_map(|m| m["payload"]["attachments"][0]["actions"].as_array().into_iter().flatten());
        let button = actions.filter(|a| a["text"] == "Silence").find_map(|a| a["url"].as_str());
        button.map(str::to_owned).ok_or_else(|| "none yet".to_owned())
    })
    .and_then(|url| silenced_by(stack, &url, &post));
    post("alerts", &alert(true))?;
    silenced
}

/// Makes the silence that the page behind `url` would fill in, and sees the alert silenced, and no other.
fn silenced_by(
    stack: &Stack,
    url: &str,
    post: &impl Fn(&str, &Value) -> Result<crate::clients::Answer, String>,
) -> Result<(), String> {
    let fragment =
        Url::parse(url).map_err(|e| format!("{url}: {e}"))?.fragment().unwrap_or_default().to_owned();
    let (page, query) = fragment.split_once('?').ok_or(format!("no filter in {url}"))?;
    expect("page", page, "/silences/new")?;
    let query = Url::parse(&format!("http://localhost/?{query}")).map_err(|e| e.to_string())?;
    let filter = query.query_pairs().find(|(name, _)| name == "filter").map(|(_, value)| value.into_owned());
    let filter = filter.ok_or(format!("no filter in {url}"))?;

    let matcher = Regex::new(r#"([A-Za-z_]+)=("(?:[^"\\]|\\.)*")"#).expect("a valid expression");
    let mut matchers = BTreeMap::new();
    for found in matcher.captures_iter(&filter) {
        let value: String = serde_json::from_str(&found[2]).map_err(|e| format!("{filter}: {e}"))?;
        matchers.insert(found[1].to_owned(), value);
    }
    let matchers: Vec<_> = matchers
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value, "isRegex": false, "isEqual": true}))
        .collect();
    let silence = json!({"matchers": matchers, "startsAt": "2025-12-31T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z",
        "createdBy": "stack-tests", "comment": "the silence button's trial"});
    let id = post("silences", &silence)?.json()?["silenceID"].as_str().unwrap_or_default().to_owned();
    let seen = until("silenced", SOON, || {
        let alerts = stack.alerts()?;
        let by = |alert: &&Value| {
            alert["status"]["silencedBy"]
                .as_array()
                .is_some_and(|all| all.iter().any(|by| *by == id.as_str()))
        };
        let silenced: Vec<_> = alerts.iter().filter(by).map(|a| a["labels"]["alertname"].clone()).collect();
        ensure(silenced == ["SilenceTrial"], || format!("silenced: {silenced:?} by {filter}"))
    });
    send(client().delete(format!("{}/api/v2/silence/{id}", stack.alertmanager)))?;
    seen
}

/// A second Prometheus with the same files sends the same alerts.
fn two_replicas_are_one_message(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let prometheus = containers.inspect("prometheus")?;
    let image = prometheus["Config"]["Image"].as_str().unwrap_or_default();
    let networks = prometheus["NetworkSettings"]["Networks"].as_object().and_then(|n| n.keys().next());
    let network = networks.ok_or("Prometheus is on no network")?;
    let from = format!("--volumes-from={}:ro", containers.id("prometheus")?);
    let id = Containers::docker(&[
        "run",
        "--detach",
        "--network",
        network,
        &from,
        "--tmpfs=/tmp:mode=1777",
        // As in docker-compose.yml: the targets of what runs are picked there.
        "--tmpfs=/etc/prometheus/targets:uid=65534,gid=65534",
        "--publish=127.0.0.1::9090",
        "--entrypoint=/bin/sh",
        image,
        "/etc/prometheus-kit/start.sh",
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/tmp/replica",
        "--rules.alert.resend-delay=5s",
    ])?;
    let id = id.trim();
    let url = format!("{}/metrics/job/replicas", stack.pushgateway);
    let result = (|| {
        let port = Containers::docker(&["port", id, "9090"])?;
        let replica = Stack {
            prometheus: format!("http://{}", port.lines().next().unwrap_or_default()),
            ..Stack::from_env()
        };
        let text = "# TYPE agent_answer_accuracy_ratio gauge\nagent_answer_accuracy_ratio 0.1\n";
        expect("push", send(client().put(&url).body(text))?.status, 200)?;
        let sent = |stack: &Stack| stack.promql_value("sum(prometheus_notifications_sent_total)");
        let firing = "ALERTS{alertname=\"LowAnswerAccuracy\",job=\"replicas\",alertstate=\"firing\"}";
        for stack in [stack, &replica] {
            until("firing in both", 2 * SOON, || stack.promql_value(firing))?;
        }
        // Both scrape both, or rather: the one address that both call localhost is the replica's own for the replica.
        until("sent by the replica too", 2 * SOON, || {
            let sent = sent(&replica)?;
            ensure(sent > 0.0, || "nothing".into())
        })?;
        until("one message of it", 2 * SOON, || {
            let messages = stack.slack_messages()?;
            let ours = messages.iter().filter(|m| {
                let attachment = &m["payload"]["attachments"][0];
                attachment["title"].to_string().contains("[ALERT] LowAnswerAccuracy")
                    && attachment["text"].to_string().contains("replicas")
            });
            expect("messages", ours.count(), 1)
        })?;
        let held = stack.alerts()?;
        let held = held.iter().filter(|a| a["labels"]["job"] == "replicas").count();
        expect("alerts in Alertmanager", held, 1)
    })();
    send(client().delete(&url))?;
    Containers::docker(&["rm", "--force", "--volumes", id])?;
    result
}
