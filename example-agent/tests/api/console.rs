//! The console's page and files, and who may use the admin port from a browser. `tests/console` clicks through it.
use std::path::Path;

use axum::http::Method;
use reqwest::{RequestBuilder, Response};
use serde_json::json;

use crate::helpers::{Provider, TestApp, parts, spawn_app};

const PAGE: &str = include_str!("../../src/console/index.html");
const SCRIPT: &str = include_str!("../../src/console/console.js");
const STYLE: &str = include_str!("../../src/console/console.css");

async fn app() -> TestApp {
    spawn_app(&Provider::absent(), &["--console-origins=http://console.example"]).await
}

fn from_page(request: RequestBuilder, origin: &str) -> RequestBuilder {
    request.header("origin", origin)
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_page_may_load_nothing_but_its_own_files_and_is_not_counted() {
    let app = app().await;
    let page = app.http.get(format!("{}/", app.api)).send().await.unwrap();
    assert_eq!((page.status().as_u16(), header(&page, "content-type")), (200, "text/html; charset=utf-8"));
    let policy = header(&page, "content-security-policy");
    let admin_port = app.admin.rsplit_once(':').unwrap().1;
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(policy.contains(&format!("connect-src 'self' http://localhost:{admin_port};")), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (path, content_type) in [
        ("console.js", "text/javascript; charset=utf-8"),
        ("console.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("settings.json", "application/json"),
    ] {
        let file = app.http.get(format!("{}/console/{path}", app.api)).send().await.unwrap();
        assert_eq!((file.status().as_u16(), header(&file, "content-type")), (200, content_type));
    }
    let metrics = app.metrics().await;
    assert!(!metrics.contains("method=\"GET\""), "looking at the console is no request: {metrics}");
    for (name, text) in [("page", PAGE), ("style", STYLE)] {
        assert!(!text.contains("://"), "the {name} wants something from elsewhere");
    }
    for way_to_markup in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
    {
        assert!(!SCRIPT.contains(way_to_markup), "{way_to_markup}");
    }
}

#[tokio::test]
async fn only_the_console_may_use_the_admin_port_from_a_browser() {
    let app = app().await;
    let faults = format!("{}/faults", app.admin);
    for path in ["/faults", "/metrics", "/tenants"] {
        let request = from_page(app.http.get(format!("{}{path}", app.admin)), "http://console.example");
        let allowed = request.send().await.unwrap();
        assert_eq!(allowed.status(), 200, "{path}");
        assert_eq!(header(&allowed, "access-control-allow-origin"), "http://console.example");
        assert!(allowed.headers().get_all("vary").iter().any(|vary| vary == "origin"));
    }
    let preflight = |origin: &'static str| {
        from_page(app.http.request(Method::OPTIONS, &faults), origin)
            .header("access-control-request-method", "PUT")
    };
    let allowed = preflight("http://console.example").send().await.unwrap();
    assert_eq!(
        (allowed.status().as_u16(), header(&allowed, "access-control-allow-methods")),
        (204, "GET, PUT, DELETE")
    );
    // A name that an attacker has rebound to this address comes with its own origin, too.
    for origin in ["http://evil.example", "null", "http://console.example.evil", "http://localhost:8080"] {
        for request in
            [preflight(origin), from_page(app.http.put(&faults), origin).body("{\"cache_off\": true}")]
        {
            let (status, headers, body) = parts(request.send().await.unwrap()).await;
            assert_eq!(
                (status.as_u16(), &body["error"]["type"]),
                (403, &json!("forbidden_origin")),
                "{origin}"
            );
            assert!(!headers.contains_key("access-control-allow-origin"));
        }
    }
    assert_eq!(app.metric("agent_fault_active{fault=\"cache_off\"}").await.as_deref(), Some("0"));
    let policy = from_page(app.http.get(format!("{}/log-policy", app.admin)), "http://console.example");
    let policy = policy.send().await.unwrap();
    assert_eq!(header(&policy, "access-control-allow-origin"), "", "the console does not need it");
    let unknown = app.http.patch(&faults).send().await.unwrap();
    assert_eq!(unknown.status(), 405);
}

#[tokio::test]
async fn the_tenants_are_told_on_the_admin_port_only() {
    let app = app().await;
    let (_, _, body) = parts(app.http.get(format!("{}/tenants", app.admin)).send().await.unwrap()).await;
    assert_eq!(body["tenants"][0], json!({ "id": "acme", "tier": "vip" }));
    assert_eq!(body["tenants"].as_array().unwrap().len(), 5, "the stand-in is not one of them");
}

#[test]
fn the_alerts_and_their_times_are_those_of_the_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../prometheus/rules");
    let read = |file| std::fs::read_to_string(folder.join(file)).unwrap();
    let rules = ["agent.yml", "agent-business.yml"].map(read).concat();
    let attribute = |text: &str| text.split('"').next().unwrap().to_owned();
    let mut promised = 0;
    for promise in PAGE.split("data-alert=\"").skip(1) {
        let (alert, time) = (attribute(promise), attribute(promise.split("data-for=\"").nth(1).unwrap()));
        let rule = rules.split(&format!("- alert: {alert}\n")).nth(1).unwrap_or_else(|| panic!("no {alert}"));
        let rule = rule.split("annotations:").next().unwrap();
        let expected = rule.lines().find_map(|line| line.trim().strip_prefix("for: ")).unwrap_or("0m");
        assert_eq!(time, expected, "{alert}");
        let words = expected.strip_suffix('m').filter(|minutes| *minutes != "0");
        let words = words.map_or("at once".to_owned(), |minutes| format!("{minutes} minutes"));
        assert!(promise.split("</p>").next().unwrap().contains(&words), "{alert}: {words}");
        promised += 1;
    }
    assert_eq!(promised, 6);
}
