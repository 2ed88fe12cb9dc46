//! The ways on which people are told, and what has arrived there.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::{Expected, Seen};
use crate::stack::Stack;

/// What was in the inboxes before.
pub(crate) struct Mark {
    messages: Vec<String>,
    mails: Vec<String>,
}

fn id(message: &Value) -> String {
    ["id", "messageId", "received_at", "time"].iter().map(|key| message[*key].to_string()).collect()
}

impl Mark {
    pub(crate) fn set(stack: &Stack) -> Result<Self, String> {
        Ok(Self {
            messages: stack.slack_messages()?.iter().map(id).collect(),
            mails: stack.mails()?.iter().map(id).collect(),
        })
    }
}

/// What the alert's rules are, as Prometheus has evaluated them: `firing`, `pending` or `inactive`. Not what it wrote to `ALERTS`,
/// where the alerts of a Prometheus that was killed are still to be seen for five minutes.
///
/// # Errors
/// That there is no such rule, or one that has not been evaluated yet, or could not be.
pub(crate) fn states(stack: &Stack, expected: &Expected) -> Result<Vec<String>, String> {
    let rules = expected.rules(stack)?;
    let states = rules.iter().map(|rule| match rule["state"].as_str() {
        Some(state) if rule["health"] == "ok" => Ok(state.to_owned()),
        _ => Err(format!("{} is not evaluated: {} {}", expected.alert, rule["health"], rule["lastError"])),
    });
    states.collect()
}

/// Whether the alert fires.
pub(crate) fn fires(stack: &Stack, expected: &Expected) -> Result<bool, String> {
    Ok(states(stack, expected)?.iter().any(|state| state == "firing"))
}

/// Where an alert can be seen.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Prometheus,
    Alertmanager,
    Silenced,
    Slack,
    Mail,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prometheus => "in Prometheus",
            Self::Alertmanager => "in Alertmanager",
            Self::Silenced => "silenced in Alertmanager",
            Self::Slack => "in Slack",
            Self::Mail => "in the mailbox",
        })
    }
}

pub(crate) fn ways(seen: Seen) -> Vec<Way> {
    match seen {
        Seen::Notified | Seen::NotifiedOnce => {
            vec![Way::Prometheus, Way::Alertmanager, Way::Slack, Way::Mail]
        }
        Seen::Elsewhere => vec![Way::Alertmanager, Way::Slack, Way::Mail],
        Seen::NotifiedByMail => vec![Way::Prometheus, Way::Alertmanager, Way::Mail],
        Seen::Silenced(_) | Seen::SilencedOnce(_) => vec![Way::Prometheus, Way::Silenced],
        Seen::Late => vec![Way::Prometheus],
    }
}

pub(crate) fn ways_back(seen: Seen) -> Vec<Way> {
    match seen {
        Seen::Notified | Seen::NotifiedByMail | Seen::Late => vec![Way::Prometheus, Way::Slack, Way::Mail],
        Seen::Elsewhere => vec![Way::Slack, Way::Mail],
        Seen::Silenced(_) => vec![Way::Prometheus],
        Seen::NotifiedOnce | Seen::SilencedOnce(_) => Vec::new(),
    }
}

impl Way {
    /// Whether the alert has arrived here.
    pub(crate) fn firing(self, stack: &Stack, expected: &Expected, mark: &Mark) -> Result<(), String> {
        match self {
            Self::Prometheus => fires(stack, expected)?.then_some(()).ok_or("does not fire".into()),
            Self::Alertmanager => in_alertmanager(stack, expected).map(drop),
            Self::Silenced => {
                let alert = in_alertmanager(stack, expected)?;
                let by = alert["status"]["inhibitedBy"].as_array().is_some_and(|all| !all.is_empty());
                if by { Ok(()) } else { Err(format!("not silenced: {}", alert["status"])) }
            }
            Self::Slack => slack(stack, expected, mark, "ALERT"),
            Self::Mail => mail(stack, expected, mark, "ALERT"),
        }
    }

    /// Whether its end has arrived here.
    pub(crate) fn resolved(self, stack: &Stack, expected: &Expected, mark: &Mark) -> Result<(), String> {
        match self {
            Self::Slack => slack(stack, expected, mark, "RESOLVED"),
            Self::Mail => mail(stack, expected, mark, "RESOLVED"),
            Self::Prometheus | Self::Alertmanager | Self::Silenced => {
                (!fires(stack, expected)?).then_some(()).ok_or("still fires".into())
            }
        }
    }
}

/// The alerts that silence this one, as the end of a sentence. Empty where none does.
pub(crate) fn silenced_by(stack: &Stack, expected: &Expected) -> String {
    let Ok(alert) = in_alertmanager(stack, expected) else { return String::new() };
    let all = stack.alerts().unwrap_or_default();
    let names = alert["status"]["inhibitedBy"].as_array().into_iter().flatten().map(|by| {
        let source = all.iter().find(|alert| alert["fingerprint"] == *by);
        source.map_or_else(|| by.to_string(), |alert| alert["labels"]["alertname"].to_string())
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() { String::new() } else { format!(", silenced by {}", names.join(", ")) }
}

/// The alerts that people were told of in Slack and whose end they have not been told of, each once.
pub(crate) fn open_in_slack(stack: &Stack) -> Result<BTreeSet<String>, String> {
    let mut open = BTreeSet::new();
    let mut messages = stack.slack_messages()?;
    messages.sort_by_key(|message| message["received_at"].to_string());
    for message in &messages {
        let title = message["payload"]["attachments"][0]["title"].as_str().unwrap_or_default();
        let Some((state, rest)) = title.strip_prefix('[').and_then(|title| title.split_once("] ")) else {
            continue;
        };
        let name = rest.split([':', ' ']).next().unwrap_or_default().to_owned();
        if state == "RESOLVED" {
            open.remove(&name);
        } else {
            open.insert(name);
        }
    }
    Ok(open)
}

fn in_alertmanager(stack: &Stack, expected: &Expected) -> Result<Value, String> {
    let is_it = |alert: &Value| {
        alert["labels"]["alertname"] == expected.alert && alert["labels"]["severity"] == expected.severity
    };
    stack.alerts()?.into_iter().find(is_it).ok_or("not there".into())
}

/// A message since the mark whose title says so, of the severity that its field says.
fn slack(stack: &Stack, expected: &Expected, mark: &Mark, state: &str) -> Result<(), String> {
    let title = format!("[{state}] {}", expected.alert);
    let all = stack.slack_messages()?;
    let ours = |message: &&Value| {
        let attachment = &message["payload"]["attachments"][0];
        let titled = attachment["title"].as_str().is_some_and(|t| {
            t.strip_prefix(title.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        let severity = |field: &Value| field["title"] == "Severity" && field["value"] == expected.severity;
        titled
            && attachment["fields"].as_array().is_some_and(|fields| fields.iter().any(severity))
            && !mark.messages.contains(&id(message))
    };
    let message = all.iter().find(ours).ok_or(format!("no `{title}` of {} messages", all.len()))?;
    let attachment = &message["payload"]["attachments"][0];
    let part = |list: &str, name: &str, title: &str, value: &str, holds: fn(&str) -> bool| {
        let is_it = |part: &Value| part[name] == title && part[value].as_str().is_some_and(holds);
        let found = attachment[list].as_array().is_some_and(|parts| parts.iter().any(is_it));
        if found { Ok(()) } else { Err(format!("no {title} in {message}")) }
    };
    part("fields", "title", "Time", "value", |text| !text.is_empty())?;
    for button in ["Runbook", "Dashboard"] {
        part("actions", "text", button, "url", |url| url.starts_with("http"))?;
    }
    let colour = match (state, expected.severity) {
        ("RESOLVED", _) => "good",
        (_, "critical") => "danger",
        _ => "warning",
    };
    if attachment["color"] != colour {
        return Err(format!("{title} is {}, not {colour}", attachment["color"]));
    }
    whole(message)
}

fn mail(stack: &Stack, expected: &Expected, mark: &Mark, state: &str) -> Result<(), String> {
    let subject = format!("[{state}] {}", expected.alert);
    let all = stack.mails()?;
    let ours = |mail: &&Value| {
        mail["subject"] == subject.as_str()
            && mail.to_string().contains(expected.severity)
            && !mark.mails.contains(&id(mail))
    };
    let mail = all.iter().find(ours).ok_or(format!("no `{subject}` of {} mails", all.len()))?;
    whole(mail)
}

/// People must not read of a hole in a template.
fn whole(message: &Value) -> Result<(), String> {
    let text = message.to_string();
    if text.contains("no value") || text.contains("<error") {
        Err(format!("a hole in {text}"))
    } else {
        Ok(())
    }
}
