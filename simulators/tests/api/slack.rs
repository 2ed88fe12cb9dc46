use reqwest::Method;
use serde_json::{Value, json};
use simulators::settings::Slack;

use super::{client, slack, slack_settings};

const WEBHOOK: &str = "/services/T00000000/B00000000/simulated";

/// What Alertmanager 0.28 posts (notify/slack/slack.go): `text`, `fallback`, `callback_id` and `footer` always, the rest
/// unless empty.
const ALERTMANAGER: &str = include_str!("alertmanager.json");

async fn post(base: &str, content_type: &str, body: &str) -> (u16, String) {
    let request = client().post(format!("{base}{WEBHOOK}")).header("content-type", content_type);
    let response = request.body(body.to_owned()).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn get(base: &str, path: &str) -> String {
    let response = client().get(format!("{base}{path}")).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.unwrap()
}

async fn listing(base: &str) -> Value {
    serde_json::from_str(&get(base, "/api/messages").await).unwrap()
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

#[tokio::test]
async fn alertmanagers_message_is_accepted_kept_and_shown() {
    let base = slack(slack_settings()).await;
    assert_eq!(post(&base, "application/json", ALERTMANAGER).await, ok());
    let listing = listing(&base).await;
    let message = &listing["messages"][0];
    assert_eq!(message["webhook"], WEBHOOK);
    assert_eq!(message["payload"], serde_json::from_str::<Value>(ALERTMANAGER).unwrap());
    let received_at = message["received_at"].as_str().unwrap();
    assert!(received_at.ends_with('Z') && received_at.contains('T'), "{received_at}");
    let page = get(&base, "/").await;
    for part in [
        "[FIRING:1] HighAPICost &amp; &lt;more&gt;",
        "<b>12.42 USD</b>",
        "fill=\"#e01e5a\"",
        "<dd class=\"field-value\">critical</dd>",
        "href=\"http://localhost:9090/user/HighAPICost.md?a=1&amp;b=2\"",
        ">Dashboard</a>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[tokio::test]
async fn a_form_with_a_payload_is_accepted() {
    let base = slack(slack_settings()).await;
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post(&base, form, "payload=%7B%22text%22%3A%22a+b%26c%22%7D").await, ok());
    assert_eq!(listing(&base).await["messages"][0]["payload"], json!({"text": "a b&c"}));
    assert_eq!(post(&base, form, "text=hi").await, (400, "invalid_payload".to_owned()));
}

#[tokio::test]
async fn what_slack_refuses_is_refused_in_its_words_and_shown() {
    let base = slack(slack_settings()).await;
    let json = "application/json";
    for (content_type, body, answer) in [
        (json, "", "invalid_payload"),
        (json, "{\"text\": \"hi\"", "invalid_payload"),
        (json, "{\"text\": \"a\nb\"}", "invalid_payload"),
        (json, "[]", "invalid_payload"),
        (json, "{}", "no_text"),
        (json, r#"{"attachments": []}"#, "no_text"),
        (json, r#"{"attachments": [{"actions": [{"type": "button"}]}]}"#, "invalid_attachments"),
        (json, r#"{"blocks": [{"type": "header"}]}"#, "invalid_blocks"),
        ("text/plain", r#"{"text": "hi"}"#, "invalid_payload"),
        ("application/x-www-form-urlencoded", "payload=%7B", "invalid_payload"),
    ] {
        assert_eq!(post(&base, content_type, body).await, (400, answer.to_owned()), "{body}");
    }
    let many = json!({"attachments": vec![json!({"text": "a"}); 101]}).to_string();
    assert_eq!(post(&base, json, &many).await, (400, "too_many_attachments".to_owned()));
    let long = json!({"text": "x".repeat(300_000)}).to_string();
    assert_eq!(post(&base, json, &long).await.0, 413);
    let listing = listing(&base).await;
    assert_eq!(listing["messages"], json!([]));
    assert_eq!(listing["refused"], 12);
    assert!(get(&base, "/").await.contains("12 refused"));
}

#[tokio::test]
async fn only_post_is_taken() {
    let base = slack(slack_settings()).await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let response = client().request(method.clone(), format!("{base}{WEBHOOK}")).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn paths_and_tokens_are_told_apart() {
    let base = slack(Slack { token: Some("secret".to_owned()), ..slack_settings() }).await;
    for (path, status, answer) in [
        ("/services/T00000000/B00000000/secret", 200, "ok"),
        ("/services/T00000000/B00000000/guess", 403, "invalid_token"),
        ("/services/T00000000/B00000000", 404, "no_service"),
        ("/services/nobody/B00000000/secret", 404, "no_team"),
    ] {
        let response =
            client().post(format!("{base}{path}")).json(&json!({"text": "hi"})).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &*response.text().await.unwrap()),
            (status, answer),
            "{path}"
        );
    }
    let base = slack(slack_settings()).await;
    let archived = format!("{base}/services/T00000000/B00000000/archived");
    let response = client().post(archived).json(&json!({"text": "hi"})).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &*response.text().await.unwrap()), (410, "channel_is_archived"));
}

#[tokio::test]
async fn beyond_the_burst_callers_have_to_wait() {
    // Slow enough that no message is let in while the test runs.
    let base = slack(Slack { rate: 0.001, burst: 3, ..slack_settings() }).await;
    for _ in 0..3 {
        assert_eq!(post(&base, "application/json", r#"{"text": "hi"}"#).await, ok());
    }
    let response =
        client().post(format!("{base}{WEBHOOK}")).json(&json!({"text": "hi"})).send().await.unwrap();
    assert_eq!(response.status(), 429);
    let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((900..=1000).contains(&seconds), "{seconds}");
    assert_eq!(response.text().await.unwrap(), "rate_limited");
}

#[tokio::test]
async fn newest_messages_come_first_on_the_page_and_last_in_json() {
    let base = slack(slack_settings()).await;
    for text in ["first", "second"] {
        assert_eq!(post(&base, "application/json", &json!({"text": text}).to_string()).await, ok());
    }
    let page = get(&base, "/messages").await;
    assert!(page.find("second").unwrap() < page.find("first").unwrap());
    assert_eq!(listing(&base).await["messages"][1]["payload"]["text"], "second");
    let cleared = client().delete(format!("{base}/api/messages")).send().await.unwrap();
    assert_eq!(cleared.status(), 204);
    assert_eq!(listing(&base).await["messages"], json!([]));
}

#[tokio::test]
async fn an_empty_inbox_says_what_to_do() {
    let base = slack(slack_settings()).await;
    let page = get(&base, "/").await;
    assert!(page.contains("No messages yet"));
    assert!(page.contains(&format!("{base}{WEBHOOK}")));
    let response = client().get(&base).header("host", "\"><script>alert(1)</script>").send().await.unwrap();
    assert!(!response.text().await.unwrap().contains("<script>alert"));
}

#[tokio::test]
async fn the_page_lets_nothing_run_but_its_own_script() {
    let base = slack(slack_settings()).await;
    let evil = json!({"text": "<script>alert(1)</script> <javascript:alert(1)|x>"}).to_string();
    assert_eq!(post(&base, "application/json", &evil).await, ok());
    let response = client().get(&base).send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let page = response.text().await.unwrap();
    assert!(!page.contains("<script>") && !page.contains("href=\"javascript"), "{page}");
    assert!(page.contains("<script src=\"/inbox.js\" defer></script>"));
    for (path, content_type) in [("/inbox.js", "text/javascript"), ("/inbox.css", "text/css")] {
        let response = client().get(format!("{base}{path}")).send().await.unwrap();
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(content_type));
    }
}
