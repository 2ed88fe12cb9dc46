//! Log lines, beside `docs/logs.md`.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    pages::{names, page, plain, rows},
    service::{Kind, Service},
    surroundings::Provider,
};

/// What an answered request says, and one that failed.
const ANSWERED: [&str; 3] = ["request started", "llm call completed", "request completed"];
const FAILED: [&str; 3] = ["request started", "request failed", "request completed"];

/// Each line has the fields of the page, and no others; each event is on the page, with its level.
pub(crate) fn are_as_documented(kind: &Kind) {
    let provider = Provider::start();
    let service = Service::start(kind, &provider, None);
    let question = "Ein \"langer\" Text \\ mit Zeilen\nund Ümlauten. ".repeat(20);
    let answered = id(&service.ask("acme", &question, 0xA1));
    let refused = id(&service.ask("nobody-we-know", "A text.", 0xA2));
    provider.fail();
    let failed = id(&service.ask("globex", "A text.", 0xA3));

    let contract = page("logs.md");
    let column = |title: &str| -> BTreeSet<String> {
        rows(&contract, title).iter().map(|row| plain(&row[0])).collect()
    };
    let everywhere: BTreeSet<_> = column("common field").union(&column("request field")).cloned().collect();
    let events: BTreeMap<_, _> =
        rows(&contract, "event").into_iter().map(|row| (plain(&row[0]), row)).collect();
    let lines = service.lines(3);
    for line in &lines {
        let event = line["msg"].as_str().unwrap();
        let row = events.get(event).unwrap_or_else(|| panic!("docs/logs.md does not have {line}"));
        assert!(row[1].split(", ").any(|known| known == level(line)), "{line}");
        let (always, sometimes) = names(&row[2]);
        let fields: BTreeSet<_> = line.as_object().unwrap().keys().cloned().collect();
        let missing: Vec<_> =
            everywhere.iter().chain(&always).filter(|name| !fields.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?} missing: {line}");
        let known =
            |name: &&String| everywhere.contains(*name) || always.contains(name) || sometimes.contains(name);
        let unknown: Vec<_> = fields.iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?} unknown: {line}");
        assert_eq!(
            (&line["v"], &line["name"], &line["endpoint"]),
            (&0.into(), &"summaries".into(), &"/v1/summaries".into())
        );
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "UTC: {line}");
    }
    let of = |id: &str| -> Vec<&Value> { lines.iter().filter(|line| line["request_id"] == id).collect() };
    let events =
        |id: &str| -> Vec<&str> { of(id).iter().map(|line| line["msg"].as_str().unwrap()).collect() };
    assert_eq!((events(&answered), events(&failed)), (ANSWERED.to_vec(), FAILED.to_vec()));
    assert_eq!(events(&refused), ["request completed"]);

    let [started, called, completed] = of(&answered)[..] else { unreachable!("three, as above") };
    assert_eq!(started["query_preview"], question.chars().take(100).collect::<String>());
    assert_eq!(started["query_length"], question.chars().count());
    assert_eq!((&completed["status"], &completed["cost_usd"]), (&"success".into(), &called["cost_usd"]));
    for line in [started, called, completed] {
        assert_eq!((&line["tenant_id"], &line["tenant_tier"]), (&"acme".into(), &"vip".into()));
        assert_eq!(line["trace_id"], format!("{:032x}", 0xA1));
    }
    assert_eq!(
        (&of(&refused)[0]["tenant_id"], &of(&refused)[0]["status"]),
        (&"other".into(), &"rejected".into())
    );
    let last = of(&failed)[2];
    assert_eq!((&last["status"], &last["error_type"]), (&"error".into(), &"upstream_error".into()));
}

fn id(response: &reqwest::blocking::Response) -> String {
    response.headers()["x-request-id"].to_str().unwrap().to_owned()
}

/// The name of a level, by bunyan's number.
fn level(line: &Value) -> &'static str {
    match line["level"].as_u64() {
        Some(20) => "DEBUG",
        Some(30) => "INFO",
        Some(40) => "WARN",
        Some(50) => "ERROR",
        other => panic!("no level: {other:?}"),
    }
}
