//! Spans, beside `docs/traces.md`.
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    common::v1::any_value::Value as Any,
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};

use crate::{
    pages::{page, plain, rows},
    service::{Kind, Service},
    surroundings::{Collector, Provider, eventually},
};

/// Names, parents, kinds and attributes are those of the page; the caller's trace goes on; a failure is on both spans.
pub(crate) fn are_as_documented(kind: &Kind) {
    let (provider, collector) = (Provider::start(), Collector::start(false));
    let service = Service::start(kind, &provider, Some(&collector));
    assert_eq!(service.ask("acme", "A long text.", 0xB1).status(), 200);
    provider.fail();
    assert_eq!(service.ask("acme", "A long text.", 0xB2).status(), 502);

    let contract = page("traces.md");
    let tree: Vec<_> = rows(&contract, "span");
    let attributes: BTreeSet<_> = rows(&contract, "attribute of")
        .iter()
        .map(|row| (plain(&row[0]), plain(&row[1]), plain(&row[2])))
        .collect();
    for trace in [0xB1_u128, 0xB2] {
        let spans = trace_of(&collector, trace);
        assert_eq!(names(&spans), BTreeSet::from(["call_llm", "process_request"]));
        for span in &spans {
            let row = tree.iter().find(|row| plain(&row[0]) == span.name).unwrap();
            let parent = spans.iter().find(|other| other.span_id == span.parent_span_id);
            assert_eq!(
                parent.map_or("the caller's, or none", |parent| &parent.name),
                plain(&row[1]),
                "{span:?}"
            );
            let kind = SpanKind::try_from(span.kind).unwrap().as_str_name().to_lowercase();
            assert_eq!(kind, format!("span_kind_{}", row[2]), "{span:?}");
            for attribute in &span.attributes {
                let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
                let seen = (span.name.clone(), attribute.key.clone(), type_of(value).to_owned());
                assert!(attributes.contains(&seen), "docs/traces.md does not have {seen:?}");
            }
        }
        let request = spans.iter().find(|span| span.name == "process_request").unwrap();
        assert_eq!(
            request.parent_span_id,
            0xb7ad_6b71_6920_3331_u64.to_be_bytes(),
            "below the caller's span"
        );
        for name in ["request.id", "http.route", "http.response.status_code", "tenant.id", "query.length"] {
            assert!(
                request.attributes.iter().any(|attribute| attribute.key == name),
                "no {name}: {request:?}"
            );
        }
    }
    for span in trace_of(&collector, 0xB2) {
        let exception = span.events.iter().any(|event| event.name == "exception");
        let status = span.status.as_ref().map(Status::code);
        assert!(exception && status == Some(StatusCode::Error), "{span:?}");
    }
}

/// A collector that takes requests and never answers costs no request time.
pub(crate) fn nobody_waits(kind: &Kind) {
    let (provider, collector) = (Provider::start(), Collector::start(true));
    let service = Service::start(kind, &provider, Some(&collector));
    for number in 0..50 {
        let started = Instant::now();
        assert_eq!(service.ask("acme", &format!("Text {number}."), number + 1).status(), 200);
        // The exporters give up after ten seconds.
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

fn trace_of(collector: &Collector, trace: u128) -> Vec<Span> {
    eventually("the trace has arrived", || {
        let mut spans = collector.spans();
        spans.retain(|span| span.trace_id == trace.to_be_bytes());
        spans.iter().any(|span| span.name == "process_request").then_some(spans)
    })
}

fn names(spans: &[Span]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn type_of(value: &Any) -> &'static str {
    match value {
        Any::StringValue(_) => "string",
        Any::BoolValue(_) => "bool",
        Any::IntValue(_) => "int",
        other => panic!("{other:?}"),
    }
}
