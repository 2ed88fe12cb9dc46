//! Grafana itself: who gets in, whom it calls, what it reaches, and what it keeps.

use serde_json::{Value, json};

use super::{Case, Need, ensure, expect};
use crate::{
    clients::{Answer, client, send},
    stack::Stack,
    wait::{SOON, until},
};

const HERE: Need = Need::Service("grafana");

pub(super) const CASES: &[Case] = &[
    Case::new("grafana::lets_nobody_in_uninvited", &[HERE], lets_nobody_in),
    Case::new("grafana::calls_nobody_outside", &[HERE], calls_nobody),
    Case::new("grafana::reaches_each_data_source", &[HERE], reaches_each_source),
    Case::new(
        "grafana::keeps_users_and_preferences_over_a_restart",
        &[HERE, Need::Containers],
        keeps_what_people_made,
    ),
];

/// Asks Grafana as its administrator, and wants a 200.
pub(super) fn api(stack: &Stack, request: &str, body: Option<&Value>) -> Result<Value, String> {
    let answer = ask(stack, request, body, Some(("admin", &stack.grafana_password)))?;
    expect(&format!("{request}: {:.300}", answer.text), answer.status, 200)?;
    answer.json()
}

/// `METHOD /path`, as somebody or as nobody.
fn ask(
    stack: &Stack,
    request: &str,
    body: Option<&Value>,
    user: Option<(&str, &str)>,
) -> Result<Answer, String> {
    let (method, path) = request.split_once(' ').ok_or(format!("no method in {request}"))?;
    let method = method.parse().map_err(|e| format!("{method}: {e}"))?;
    let mut sent = client().request(method, format!("{}{path}", stack.grafana));
    if let Some((name, password)) = user {
        sent = sent.basic_auth(name, Some(password));
    }
    if let Some(body) = body {
        sent = sent.json(body);
    }
    send(sent).map_err(|e| format!("{request}: {e}"))
}

fn lets_nobody_in(stack: &Stack) -> Result<(), String> {
    for path in
        ["/api/search", "/api/dashboards/uid/agent-overview", "/api/datasources", "/api/admin/settings"]
    {
        expect(&format!("{path} by nobody"), ask(stack, &format!("GET {path}"), None, None)?.status, 401)?;
    }
    let someone =
        json!({"email": "someone@example.com", "username": "someone", "password": "a-long-password"});
    let answer = ask(stack, "POST /api/user/signup", Some(&someone), None)?;
    ensure([401, 403, 404].contains(&answer.status), || {
        format!("signing up: {}: {:.200}", answer.status, answer.text)
    })
}

fn calls_nobody(stack: &Stack) -> Result<(), String> {
    let settings = api(stack, "GET /api/admin/settings", None)?;
    for (section, name, wanted) in [
        ("analytics", "reporting_enabled", "false"),
        ("analytics", "check_for_updates", "false"),
        ("analytics", "check_for_plugin_updates", "false"),
        ("news", "news_feed_enabled", "false"),
        ("security", "disable_gravatar", "true"),
        ("snapshots", "external_enabled", "false"),
        ("plugins", "preinstall_disabled", "true"),
        ("plugins", "public_key_retrieval_disabled", "true"),
        ("plugins", "plugin_admin_enabled", "false"),
        ("users", "allow_sign_up", "false"),
        ("auth.anonymous", "enabled", "false"),
    ] {
        expect(&format!("[{section}] {name}"), settings[section][name].as_str(), Some(wanted))?;
    }
    Ok(())
}

fn reaches_each_source(stack: &Stack) -> Result<(), String> {
    let sources = api(stack, "GET /api/datasources", None)?;
    let sources: Vec<_> = sources.as_array().into_iter().flatten().collect();
    ensure(!sources.is_empty(), || "Grafana has no data source".into())?;
    for source in sources {
        let uid = source["uid"].as_str().unwrap_or_default();
        if uid.starts_with("elasticsearch") && stack.missing.contains_key("elasticsearch") {
            continue;
        }
        // The Alertmanager's has no back end that could be asked for its health.
        let path = match uid {
            "alertmanager" => "/api/alertmanager/alertmanager/api/v2/status".to_owned(),
            _ => format!("/api/datasources/uid/{uid}/health"),
        };
        until(uid, SOON, || api(stack, &format!("GET {path}"), None))?;
    }
    Ok(())
}

fn keeps_what_people_made(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let name = format!("trial-{}", uuid::Uuid::new_v4().simple());
    let password = "kept-over-a-restart";
    let made = api(
        stack,
        "POST /api/admin/users",
        Some(&json!({"login": name, "name": name, "password": password})),
    )?;
    let result = (|| {
        let as_them =
            |request: &str, body: Option<&Value>| ask(stack, request, body, Some((&name, password)));
        let preferences = json!({"theme": "light", "timezone": "utc", "weekStart": "monday"});
        let set = as_them("PUT /api/user/preferences", Some(&preferences))?;
        expect(&format!("preferences: {:.200}", set.text), set.status, 200)?;
        containers.each("restart", "grafana")?;
        until("Grafana is back", 4 * SOON, || containers.healthy("grafana"))?;
        let kept = as_them("GET /api/user/preferences", None)?;
        expect("the user after the restart", kept.status, 200)?;
        expect("their theme", kept.json()?["theme"].as_str(), Some("light"))
    })();
    api(stack, &format!("DELETE /api/admin/users/{}", made["id"]), None)?;
    result
}
