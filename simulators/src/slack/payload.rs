//! Slack's rules for a message. Where Slack is known to be lenient (colours it does not know, links it cannot follow,
//! fields without a value), so is this.
use reqwest::Url;
use serde_json::{Map, Value};

use super::blocks;

/// The most attachments of a message, as Slack documents.
const MAX_ATTACHMENTS: usize = 100;

/// The most buttons of an attachment.
const MAX_ACTIONS: usize = 5;

/// A broken rule: what Slack answers, and where the mistake is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) error: &'static str,
    pub(super) detail: String,
}

/// Checks a message. All of Slack's answers here go with the status 400.
pub(super) fn check(payload: &Value) -> Result<(), Broken> {
    let Value::Object(message) = payload else {
        return Err(invalid_payload("the payload must be a JSON object"));
    };
    let keys = ["text", "channel", "username", "icon_emoji", "icon_url", "thread_ts"];
    strings(message, &keys, "").map_err(|detail| invalid_payload(&detail))?;
    let attachments = match message.get("attachments") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(attachments)) => attachments,
        Some(_) => return Err(invalid_attachments("attachments must be an array".to_owned())),
    };
    if attachments.len() > MAX_ATTACHMENTS {
        let detail = format!("{} attachments; a message may have {MAX_ATTACHMENTS}", attachments.len());
        return Err(Broken { error: "too_many_attachments", detail });
    }
    for (index, attachment) in attachments.iter().enumerate() {
        check_attachment(attachment, &format!("attachments[{index}]")).map_err(invalid_attachments)?;
    }
    let blocks = match message.get("blocks") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(blocks)) => blocks,
        Some(_) => {
            let detail = "blocks must be an array".to_owned();
            return Err(Broken { error: "invalid_blocks_format", detail });
        }
    };
    blocks::check(blocks, "blocks").map_err(|detail| Broken { error: "invalid_blocks", detail })?;
    if blocks.is_empty() && !has_text(message, "text") && !attachments.iter().any(shows_something) {
        let detail = "neither text nor blocks, and no attachment with anything to show".to_owned();
        return Err(Broken { error: "no_text", detail });
    }
    Ok(())
}

fn invalid_payload(detail: &str) -> Broken {
    Broken { error: "invalid_payload", detail: detail.to_owned() }
}

fn invalid_attachments(detail: String) -> Broken {
    Broken { error: "invalid_attachments", detail }
}

fn check_attachment(attachment: &Value, path: &str) -> Result<(), String> {
    let Value::Object(attachment) = attachment else { return Err(format!("{path} must be an object")) };
    let keys = [
        "author_icon",
        "author_link",
        "author_name",
        "callback_id",
        "color",
        "fallback",
        "footer",
        "footer_icon",
        "image_url",
        "pretext",
        "text",
        "thumb_url",
        "title",
        "title_link",
    ];
    strings(attachment, &keys, path)?;
    match attachment.get("ts") {
        None | Some(Value::Null | Value::Number(_)) => {}
        Some(Value::String(ts)) if ts.parse::<f64>().is_ok() => {}
        Some(_) => return Err(format!("{path}.ts must be a time in Unix seconds")),
    }
    for (index, name) in array(attachment, "mrkdwn_in", path)?.iter().enumerate() {
        if !name.is_string() {
            return Err(format!("{path}.mrkdwn_in[{index}] must be a string"));
        }
    }
    for (index, field) in array(attachment, "fields", path)?.iter().enumerate() {
        let path = format!("{path}.fields[{index}]");
        let Value::Object(field) = field else { return Err(format!("{path} must be an object")) };
        strings(field, &["title", "value"], &path)?;
        if !matches!(field.get("short"), None | Some(Value::Null | Value::Bool(_))) {
            return Err(format!("{path}.short must be true or false"));
        }
    }
    let actions = array(attachment, "actions", path)?;
    if actions.len() > MAX_ACTIONS {
        return Err(format!(
            "{path}.actions: {} buttons; an attachment may have {MAX_ACTIONS}",
            actions.len()
        ));
    }
    for (index, action) in actions.iter().enumerate() {
        check_action(action, &format!("{path}.actions[{index}]"))?;
    }
    blocks::check(array(attachment, "blocks", path)?, &format!("{path}.blocks"))
}

fn check_action(action: &Value, path: &str) -> Result<(), String> {
    let Value::Object(action) = action else { return Err(format!("{path} must be an object")) };
    strings(action, &["type", "text", "url", "name", "value", "style"], path)?;
    match action.get("type").and_then(Value::as_str) {
        Some("button") => {}
        // A menu needs an app that takes its answer; Slack accepts it all the same.
        Some("select") => return Ok(()),
        Some(other) => return Err(format!("{path}.type must be button or select, got {:?}", clipped(other))),
        None => return Err(format!("{path}.type is missing; it must be button or select")),
    }
    if !has_text(action, "text") {
        return Err(format!("{path}.text is missing: a button needs one"));
    }
    match action.get("url").and_then(Value::as_str) {
        Some(url) => check_url(url, &format!("{path}.url")),
        None if has_text(action, "name") => Ok(()),
        None => Err(format!("{path} needs a url, or a name for an app to act on")),
    }
}

/// A link that a button may have.
pub(super) fn check_url(url: &str, path: &str) -> Result<(), String> {
    if http_url(url).is_some() {
        return Ok(());
    }
    Err(format!("{path} must be an http or https URL, got {:?}", clipped(url)))
}

/// `url`, if it is one that may be followed.
pub(super) fn http_url(url: &str) -> Option<Url> {
    url.parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https"))
}

/// Whether an attachment has anything that Slack would show, or say in a notification.
fn shows_something(attachment: &Value) -> bool {
    let Value::Object(attachment) = attachment else { return false };
    let texts = ["text", "fallback", "pretext", "title", "image_url", "author_name", "footer"];
    let lists = ["fields", "blocks", "actions"];
    texts.iter().any(|key| has_text(attachment, key))
        || lists
            .iter()
            .any(|key| attachment.get(*key).and_then(Value::as_array).is_some_and(|l| !l.is_empty()))
}

fn has_text(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty())
}

/// Each of `keys` is a string, null or absent.
fn strings(object: &Map<String, Value>, keys: &[&str], path: &str) -> Result<(), String> {
    let dot = if path.is_empty() { "" } else { "." };
    match keys.iter().find(|key| !matches!(object.get(**key), None | Some(Value::Null | Value::String(_)))) {
        Some(key) => Err(format!("{path}{dot}{key} must be a string")),
        None => Ok(()),
    }
}

/// The array under `key`; none is an empty one.
fn array<'a>(object: &'a Map<String, Value>, key: &str, path: &str) -> Result<&'a [Value], String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(array)) => Ok(array),
        Some(_) => Err(format!("{path}.{key} must be an array")),
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(payload: &Value) -> Option<&'static str> {
        check(payload).err().map(|broken| broken.error)
    }

    #[test]
    fn a_message_needs_something_to_show() {
        for payload in [
            json!({}),
            json!({"text": ""}),
            json!({"text": " \n"}),
            json!({"text": null}),
            json!({"attachments": []}),
            json!({"attachments": [{}]}),
            // What Alertmanager sends when every template gives nothing.
            json!({"attachments": [{"text": "", "fallback": "", "callback_id": "", "footer": ""}]}),
            json!({"username": "alertmanager", "blocks": []}),
        ] {
            assert_eq!(error(&payload), Some("no_text"), "{payload}");
        }
        assert_eq!(error(&json!({"text": "hi"})), None);
        assert_eq!(error(&json!({"attachments": [{"fallback": "hi"}]})), None);
        assert_eq!(error(&json!({"blocks": [{"type": "divider"}]})), None);
    }

    #[test]
    fn types_are_checked() {
        for payload in
            [json!([]), json!("hi"), json!(null), json!({"text": 5}), json!({"text": "a", "channel": []})]
        {
            assert_eq!(error(&payload), Some("invalid_payload"), "{payload}");
        }
        for attachment in [
            json!("hi"),
            json!({"text": ["hi"]}),
            json!({"text": "a", "color": 5}),
            json!({"text": "a", "fields": {}}),
            json!({"text": "a", "fields": ["b"]}),
            json!({"text": "a", "fields": [{"title": "t", "value": 5}]}),
            json!({"text": "a", "fields": [{"title": "t", "value": "v", "short": "yes"}]}),
            json!({"text": "a", "ts": "yesterday"}),
            json!({"text": "a", "mrkdwn_in": [1]}),
        ] {
            let payload = json!({"attachments": [attachment]});
            assert_eq!(error(&payload), Some("invalid_attachments"), "{payload}");
        }
        assert_eq!(error(&json!({"attachments": {}})), Some("invalid_attachments"));
        assert_eq!(error(&json!({"text": "a", "blocks": {}})), Some("invalid_blocks_format"));
    }

    #[test]
    fn buttons_need_a_text_and_somewhere_to_go() {
        let with = |action: Value| json!({"attachments": [{"text": "a", "actions": [action]}]});
        for action in [
            json!({"type": "button", "url": "https://example.com"}),
            json!({"type": "button", "text": "Runbook"}),
            json!({"type": "button", "text": "Runbook", "url": ""}),
            json!({"type": "button", "text": "Runbook", "url": "runbook"}),
            json!({"type": "button", "text": "Runbook", "url": "javascript:alert(1)"}),
            json!({"text": "Runbook", "url": "https://example.com"}),
            json!({"type": "link", "text": "Runbook", "url": "https://example.com"}),
        ] {
            assert_eq!(error(&with(action.clone())), Some("invalid_attachments"), "{action}");
        }
        for action in [
            json!({"type": "button", "text": "Runbook", "url": "http://localhost:9090/x?y=z"}),
            json!({"type": "button", "text": "Silence", "name": "silence", "style": "danger"}),
        ] {
            assert_eq!(error(&with(action.clone())), None, "{action}");
        }
        let six = vec![json!({"type": "button", "text": "a", "name": "b"}); 6];
        assert_eq!(error(&json!({"attachments": [{"actions": six}]})), Some("invalid_attachments"));
    }

    #[test]
    fn slack_is_lenient_about_colours_links_and_empty_fields() {
        let attachment = json!({
            "text": "a",
            "color": "mauve",
            "title_link": "not a link",
            "ts": "1700000000.5",
            "fields": [{"short": true}, {"title": "only a title"}],
            "unheard_of": {},
        });
        assert_eq!(error(&json!({"attachments": [attachment]})), None);
    }

    #[test]
    fn a_hundred_attachments_are_enough() {
        let attachments = |count| json!({"attachments": vec![json!({"text": "a"}); count]});
        assert_eq!(error(&attachments(100)), None);
        assert_eq!(error(&attachments(101)), Some("too_many_attachments"));
    }

    #[test]
    fn the_detail_says_where() {
        let payload = json!({"attachments": [{"text": "a"}, {"actions": [{"type": "button", "text": "x", "url": "y"}]}]});
        let detail = check(&payload).unwrap_err().detail;
        assert_eq!(detail, "attachments[1].actions[0].url must be an http or https URL, got \"y\"");
    }
}
