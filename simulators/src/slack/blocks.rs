//! Slack's rules for Block Kit, as far as a webhook can send it: the limits of Slack's block reference.
use serde_json::Value;

use super::payload::check_url;

/// The most blocks of a message.
const MAX_BLOCKS: usize = 50;

/// The longest texts, in characters.
const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3000;
const MAX_SECTION_FIELD: usize = 2000;
const MAX_MARKDOWN: usize = 12_000;
const MAX_BUTTON: usize = 75;
const MAX_ALT_TEXT: usize = 2000;

/// Checks blocks. The error says where the mistake is.
pub(super) fn check(blocks: &[Value], path: &str) -> Result<(), String> {
    if blocks.len() > MAX_BLOCKS {
        return Err(format!("{path}: {} blocks; a message may have {MAX_BLOCKS}", blocks.len()));
    }
    blocks.iter().enumerate().try_for_each(|(index, block)| check_block(block, &format!("{path}[{index}]")))
}

fn check_block(block: &Value, path: &str) -> Result<(), String> {
    let Some(kind) = block.get("type").and_then(Value::as_str) else {
        return Err(format!("{path}.type is missing"));
    };
    match kind {
        "header" => check_text(&block["text"], &["plain_text"], MAX_HEADER, &format!("{path}.text")),
        "section" => check_section(block, path),
        "context" => {
            for (index, element) in elements(block, 10, path)?.iter().enumerate() {
                let path = format!("{path}.elements[{index}]");
                if element["type"] == "image" {
                    check_image(element, &path)?;
                } else {
                    check_text(element, &["plain_text", "mrkdwn"], MAX_SECTION, &path)?;
                }
            }
            Ok(())
        }
        "actions" => {
            let mut elements = elements(block, 25, path)?.iter().enumerate();
            elements
                .try_for_each(|(index, element)| check_element(element, &format!("{path}.elements[{index}]")))
        }
        "image" => check_image(block, path),
        "markdown" => match block["text"].as_str() {
            Some(text) if (1..=MAX_MARKDOWN).contains(&text.chars().count()) => Ok(()),
            _ => Err(format!("{path}.text must be a string of 1 to {MAX_MARKDOWN} characters")),
        },
        // The last four are built by Slack's own editor rather than by hand: accepted as they are.
        "divider" | "rich_text" | "table" | "video" | "file" => Ok(()),
        other => Err(format!(
            "{path}.type {:?} is no block for messages",
            other.chars().take(50).collect::<String>()
        )),
    }
}

fn check_section(block: &Value, path: &str) -> Result<(), String> {
    let kinds = ["plain_text", "mrkdwn"];
    if !block["text"].is_null() {
        check_text(&block["text"], &kinds, MAX_SECTION, &format!("{path}.text"))?;
    }
    match &block["fields"] {
        Value::Null if block["text"].is_null() => return Err(format!("{path} needs text or fields")),
        Value::Null => {}
        Value::Array(fields) if (1..=10).contains(&fields.len()) => {
            for (index, field) in fields.iter().enumerate() {
                check_text(field, &kinds, MAX_SECTION_FIELD, &format!("{path}.fields[{index}]"))?;
            }
        }
        _ => return Err(format!("{path}.fields must be an array of 1 to 10 texts")),
    }
    let accessory = &block["accessory"];
    let path = format!("{path}.accessory");
    match accessory["type"].as_str() {
        _ if accessory.is_null() => Ok(()),
        Some("image") => check_image(accessory, &path),
        _ => check_element(accessory, &path),
    }
}

fn check_element(element: &Value, path: &str) -> Result<(), String> {
    match element["type"].as_str() {
        Some("button") => {
            check_text(&element["text"], &["plain_text"], MAX_BUTTON, &format!("{path}.text"))?;
            match &element["url"] {
                Value::Null => Ok(()),
                Value::String(url) => check_url(url, &format!("{path}.url")),
                _ => Err(format!("{path}.url must be a string")),
            }
        }
        // Menus and pickers need an app that takes their answers; a webhook may send them all the same.
        Some(_) => Ok(()),
        None => Err(format!("{path}.type is missing")),
    }
}

fn check_image(image: &Value, path: &str) -> Result<(), String> {
    match image["alt_text"].as_str() {
        Some(text) if text.chars().count() <= MAX_ALT_TEXT => {}
        _ => return Err(format!("{path}.alt_text must be a string of up to {MAX_ALT_TEXT} characters")),
    }
    match &image["image_url"] {
        Value::String(url) => check_url(url, &format!("{path}.image_url")),
        _ if image["slack_file"].is_object() => Ok(()),
        _ => Err(format!("{path}.image_url is missing")),
    }
}

fn check_text(text: &Value, kinds: &[&str], max: usize, path: &str) -> Result<(), String> {
    match text["type"].as_str() {
        Some(kind) if kinds.contains(&kind) => {}
        _ => return Err(format!("{path}.type must be {}", kinds.join(" or "))),
    }
    match text["text"].as_str().map(|text| text.chars().count()) {
        Some(length) if (1..=max).contains(&length) => Ok(()),
        Some(length) => Err(format!("{path}.text has {length} characters; it must have 1 to {max}")),
        None => Err(format!("{path}.text must be a string")),
    }
}

fn elements<'a>(block: &'a Value, max: usize, path: &str) -> Result<&'a [Value], String> {
    match &block["elements"] {
        Value::Array(elements) if (1..=max).contains(&elements.len()) => Ok(elements),
        _ => Err(format!("{path}.elements must be an array of 1 to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_within_the_limits_pass() {
        let blocks = [
            json!({"type": "header", "text": {"type": "plain_text", "text": "HighAPICost"}}),
            json!({"type": "divider"}),
            json!({
                "type": "section",
                "text": {"type": "mrkdwn", "text": "*12 USD* in an hour"},
                "accessory": {
                    "type": "button",
                    "text": {"type": "plain_text", "text": "Runbook"},
                    "url": "https://example.com/runbook",
                },
            }),
            json!({"type": "section", "fields": [{"type": "mrkdwn", "text": "*Severity*\ncritical"}]}),
            json!({"type": "context", "elements": [{"type": "plain_text", "text": "agent"}]}),
            json!({"type": "actions", "elements": [{"type": "static_select"}]}),
            json!({"type": "image", "image_url": "https://example.com/a.png", "alt_text": "a graph"}),
            json!({"type": "markdown", "text": "# Title"}),
        ];
        assert_eq!(check(&blocks, "blocks"), Ok(()));
    }

    #[test]
    fn blocks_beyond_the_limits_are_refused() {
        let text = |kind: &str, length: usize| json!({"type": kind, "text": "x".repeat(length)});
        for block in [
            json!({}),
            json!("section"),
            json!({"type": "marquee"}),
            json!({"type": "header", "text": text("mrkdwn", 5)}),
            json!({"type": "header", "text": text("plain_text", 151)}),
            json!({"type": "section"}),
            json!({"type": "section", "text": text("mrkdwn", 0)}),
            json!({"type": "section", "text": text("mrkdwn", 3001)}),
            json!({"type": "section", "fields": []}),
            json!({"type": "section", "fields": vec![text("mrkdwn", 5); 11]}),
            json!({"type": "context", "elements": []}),
            json!({"type": "actions", "elements": [{"type": "button", "text": text("plain_text", 76)}]}),
            json!({"type": "actions", "elements": [
                {"type": "button", "text": text("plain_text", 5), "url": "javascript:alert(1)"},
            ]}),
            json!({"type": "image", "image_url": "https://example.com/a.png"}),
            json!({"type": "markdown", "text": ""}),
        ] {
            assert!(check(std::slice::from_ref(&block), "blocks").is_err(), "{block}");
        }
        assert!(check(&vec![json!({"type": "divider"}); 51], "blocks").is_err());
    }
}
