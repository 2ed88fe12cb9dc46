//! A message as HTML, laid out as Slack would.
use std::time::SystemTime;

use serde_json::Value;

use super::{
    mrkdwn::{escape, html, plain},
    payload::http_url,
};

/// One message.
pub(super) fn message(payload: &Value, received_at: SystemTime) -> String {
    let sender = text(payload, "username").unwrap_or("incoming-webhook");
    let initial = sender.chars().find(|c| c.is_alphanumeric()).unwrap_or('#').to_uppercase().to_string();
    let mut out = format!(
        "<article class=\"message\"><div class=\"avatar\" aria-hidden=\"true\">{}</div><div class=\"content\">\
         <header><span class=\"sender\">{}</span><span class=\"app\">APP</span>{}{}</header>",
        escape(&initial),
        plain(sender),
        text(payload, "channel").map(|channel| tag("span", "channel", &plain(channel))).unwrap_or_default(),
        time(received_at),
    );
    let blocks = list(payload, "blocks");
    // Where there are blocks, the text is only for notifications.
    if let Some(text) = text(payload, "text").filter(|_| blocks.is_empty()) {
        out.push_str(&tag("div", "text", &html(text, payload["mrkdwn"] != false)));
    }
    out.extend(blocks.iter().map(block));
    out.extend(list(payload, "attachments").iter().map(attachment));
    out.push_str("</div></article>");
    out
}

/// A moment, readable as it stands; the page's script turns it into local time.
pub(super) fn time(time: SystemTime) -> String {
    let machine = humantime::format_rfc3339_seconds(time).to_string();
    let readable = machine.replace('T', " ").replace('Z', " UTC");
    format!("<time datetime=\"{machine}\">{readable}</time>")
}

fn attachment(attachment: &Value) -> String {
    let formatted = |key: &str| list(attachment, "mrkdwn_in").iter().any(|name| name == key);
    let pretext = text(attachment, "pretext")
        .map(|pretext| tag("div", "text", &html(pretext, formatted("pretext"))))
        .unwrap_or_default();
    let mut body = String::new();
    if let Some(author) = text(attachment, "author_name") {
        body.push_str(&tag("div", "author", &link_or_text(text(attachment, "author_link"), author)));
    }
    if let Some(title) = text(attachment, "title") {
        body.push_str(&tag("div", "title", &link_or_text(text(attachment, "title_link"), title)));
    }
    if let Some(text) = text(attachment, "text") {
        body.push_str(&tag("div", "text", &html(text, formatted("text"))));
    }
    let fields: String =
        list(attachment, "fields").iter().map(|field| self::field(field, formatted("fields"))).collect();
    body.push_str(&tag_unless_empty("div", "fields", &fields));
    body.extend(list(attachment, "blocks").iter().map(block));
    for key in ["image_url", "thumb_url"] {
        body.push_str(&text(attachment, key).map(image).unwrap_or_default());
    }
    let actions: String = list(attachment, "actions")
        .iter()
        .map(|action| button(text(action, "text").unwrap_or("…"), text(action, "url"), text(action, "style")))
        .collect();
    body.push_str(&tag_unless_empty("div", "actions", &actions));
    let footer = [text(attachment, "footer").map(plain), timestamp(&attachment["ts"])];
    let footer = footer.into_iter().flatten().collect::<Vec<_>>().join(" | ");
    body.push_str(&tag_unless_empty("div", "footer", &footer));
    if body.is_empty() {
        body =
            tag_unless_empty("div", "fallback", &text(attachment, "fallback").map(plain).unwrap_or_default());
    }
    if body.is_empty() {
        return pretext;
    }
    // The colour is an SVG attribute because the page's policy allows no style in the document.
    let colour = colour(text(attachment, "color").unwrap_or(""));
    format!(
        "{pretext}<section class=\"attachment\"><svg class=\"bar\" aria-hidden=\"true\"><rect width=\"4\" \
         height=\"100%\" fill=\"{colour}\"/></svg><div>{body}</div></section>"
    )
}

/// The bar's colour. Slack's names, or six hexadecimal digits; what it does not know is grey.
fn colour(name: &str) -> String {
    match name {
        "good" => "#2eb67d".to_owned(),
        "warning" => "#ecb22e".to_owned(),
        "danger" => "#e01e5a".to_owned(),
        _ => match name.strip_prefix('#').unwrap_or(name) {
            hex if hex.len() == 6 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()) => format!("#{hex}"),
            _ => "#dddddd".to_owned(),
        },
    }
}

fn field(field: &Value, formatted: bool) -> String {
    let title = text(field, "title").map(|title| tag("dt", "field-title", &plain(title)));
    let value = text(field, "value").map(|value| tag("dd", "field-value", &html(value, formatted)));
    let class = if field["short"] == true { "field short" } else { "field" };
    tag_unless_empty("dl", class, &(title.unwrap_or_default() + &value.unwrap_or_default()))
}

fn block(block: &Value) -> String {
    let elements = list(block, "elements").iter();
    match block["type"].as_str().unwrap_or("") {
        "header" => tag("h2", "header", &block_text(&block["text"])),
        "divider" => "<hr>".to_owned(),
        "section" => {
            let fields: String = list(block, "fields")
                .iter()
                .map(|field| tag("div", "field short", &block_text(field)))
                .collect();
            tag_unless_empty("div", "text", &block_text(&block["text"]))
                + &tag_unless_empty("div", "fields", &fields)
                + &element(&block["accessory"])
        }
        "context" => tag("div", "footer", &elements.map(element).collect::<Vec<_>>().join(" ")),
        "actions" => tag("div", "actions", &elements.map(element).collect::<String>()),
        "image" => element(block),
        "markdown" => tag("div", "text", &html(block["text"].as_str().unwrap_or(""), false)),
        other => tag("div", "fallback", &format!("[{} block]", escape(other))),
    }
}

fn element(element: &Value) -> String {
    match element["type"].as_str().unwrap_or("") {
        "" => String::new(),
        "plain_text" | "mrkdwn" => block_text(element),
        "button" => {
            let label = element["text"]["text"].as_str().unwrap_or("…");
            button(label, text(element, "url"), text(element, "style"))
        }
        "image" => text(element, "image_url").map(image).unwrap_or_default(),
        other => tag("span", "fallback", &format!("[{}]", escape(other))),
    }
}

fn block_text(text: &Value) -> String {
    html(text["text"].as_str().unwrap_or(""), text["type"] == "mrkdwn")
}

/// A button: a link where it leads somewhere, dead where it needs an app.
fn button(label: &str, url: Option<&str>, style: Option<&str>) -> String {
    let class = match style {
        Some("primary") => "button primary",
        Some("danger") => "button danger",
        _ => "button",
    };
    match url.and_then(http_url) {
        Some(url) => format!(
            "<a class=\"{class}\" href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer\">{}</a>",
            escape(url.as_str()),
            plain(label)
        ),
        None => tag("span", class, &plain(label)),
    }
}

/// An image is linked rather than shown: the page loads nothing from elsewhere.
fn image(url: &str) -> String {
    tag("div", "image", &link_or_text(Some(url), "image"))
}

fn link_or_text(url: Option<&str>, label: &str) -> String {
    match url.and_then(http_url) {
        Some(url) => format!(
            "<a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer\">{}</a>",
            escape(url.as_str()),
            plain(label)
        ),
        None => plain(label),
    }
}

/// A time in Unix seconds, as a number or as a string.
fn timestamp(ts: &Value) -> Option<String> {
    let seconds = ts.as_f64().or_else(|| ts.as_str()?.parse().ok())?;
    // Up to the year 9999: humantime writes no later one.
    let seconds = Some(seconds).filter(|seconds| (0.0..253_402_300_800.0).contains(seconds))?;
    Some(time(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds as u64)))
}

fn tag(name: &str, class: &str, inner: &str) -> String {
    format!("<{name} class=\"{class}\">{inner}</{name}>")
}

fn tag_unless_empty(name: &str, class: &str, inner: &str) -> String {
    if inner.is_empty() { String::new() } else { tag(name, class, inner) }
}

/// The text under `key`, unless it is empty.
fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object[key].as_str().filter(|text| !text.is_empty())
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(payload: &Value) -> String {
        message(payload, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn an_attachment_has_bar_title_text_fields_buttons_and_footer() {
        let html = render(&json!({
            "channel": "#alerts",
            "username": "Alertmanager",
            "attachments": [{
                "color": "danger",
                "title": "[FIRING:1] HighAPICost",
                "title_link": "http://localhost:9093/#/alerts",
                "text": "*12.5 USD* in the last hour",
                "mrkdwn_in": ["text"],
                "fields": [
                    {"title": "Severity", "value": "critical", "short": true},
                    {"title": "Detail", "value": "*not formatted*", "short": false},
                ],
                "actions": [{"type": "button", "text": "Runbook", "url": "https://example.com/r", "style": "primary"}],
                "footer": "agent",
                "ts": 1_700_000_000,
            }],
        }));
        for part in [
            "<span class=\"sender\">Alertmanager</span>",
            "<span class=\"channel\">#alerts</span>",
            "fill=\"#e01e5a\"",
            "<div class=\"title\"><a href=\"http://localhost:9093/#/alerts\"",
            "<b>12.5 USD</b> in the last hour",
            "<dl class=\"field short\"><dt class=\"field-title\">Severity</dt><dd class=\"field-value\">critical</dd></dl>",
            "<dl class=\"field\"><dt class=\"field-title\">Detail</dt><dd class=\"field-value\">*not formatted*</dd></dl>",
            "<a class=\"button primary\" href=\"https://example.com/r\"",
            "agent | <time datetime=\"2023-11-14T22:13:20Z\">",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
    }

    #[test]
    fn every_text_is_escaped_wherever_it_stands() {
        let evil = "</div><script>alert('1')</script>\"onclick=\"x";
        let texts = json!({
            "username": evil, "channel": evil, "text": evil,
            "attachments": [{
                "color": evil, "pretext": evil, "author_name": evil, "author_link": evil, "title": evil,
                "title_link": format!("https://example.com/{evil}"), "text": evil, "fallback": evil,
                "footer": evil, "image_url": format!("https://example.com/{evil}"), "thumb_url": evil, "ts": evil,
                "mrkdwn_in": ["text", "pretext", "fields"],
                "fields": [{"title": evil, "value": evil, "short": true}],
                "actions": [{"type": evil, "text": evil, "url": format!("https://example.com/{evil}"), "style": evil}],
            }],
        });
        let blocks = json!({"blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": evil}},
            {"type": "section", "text": {"type": "mrkdwn", "text": evil}, "accessory": {"type": evil}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": evil}]},
            {"type": "actions", "elements": [{"type": "button", "text": {"text": evil}, "url": evil}]},
            {"type": "image", "image_url": evil, "title": evil},
            {"type": "markdown", "text": evil},
            {"type": evil},
        ]});
        for payload in [texts, blocks] {
            let html = render(&payload);
            assert!(!html.contains("<script"), "{html}");
            assert!(!html.contains("\"onclick"), "{html}");
            assert_eq!(html.matches("<div").count(), html.matches("</div>").count(), "{html}");
        }
    }

    #[test]
    fn unknown_colours_are_grey_and_hex_needs_no_hash() {
        assert_eq!(colour("439FE0"), "#439FE0");
        assert_eq!(colour("#439FE0"), "#439FE0");
        for odd in ["", "mauve", "#12345", "#12345g", "red\"/>"] {
            assert_eq!(colour(odd), "#dddddd", "{odd}");
        }
    }

    #[test]
    fn odd_times_are_left_out() {
        for odd in [json!(-1), json!(1e300), json!("soon"), json!(null), json!({})] {
            assert_eq!(timestamp(&odd), None, "{odd}");
        }
    }
}
