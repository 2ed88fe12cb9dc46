use std::collections::BTreeMap;

use super::*;
use crate::edit::apply;

fn names_of() -> Names {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect::<BTreeMap<_, _>>()
    };
    Names {
        metrics: map(&[("a_total", "x_total"), ("h_bucket", "g_bucket"), ("status", "state_metric")]),
        labels: map(&[("tenant_id", "customer"), ("status", "outcome"), ("a_total", "no")]),
        jobs: map(&[("jaeger", "tracing")]),
        ..Names::default()
    }
}

#[test]
fn names_are_renamed_for_what_they_are() {
    for (expr, wanted) in [
        (
            r#"sum by (tenant_id, status) (rate(a_total{status="error"}[5m]))"#,
            r#"sum by (customer, outcome) (rate(x_total{outcome="error"}[5m]))"#,
        ),
        ("sum(a_total) without (tenant_id)", "sum(x_total) without (customer)"),
        ("a_total / on (tenant_id) group_left (status) b", "x_total / on (customer) group_left (outcome) b"),
        ("a_total * ignoring(status) group_right b", "x_total * ignoring(outcome) group_right b"),
        // A metric and a label of one name are two names.
        (r#"status{status=~"a"}"#, r#"state_metric{outcome=~"a"}"#),
        (r#"{__name__="a_total", tenant_id!="b"}"#, r#"{__name__="x_total", customer!="b"}"#),
        (r#"{"a_total", "tenant_id"="b"}"#, r#"{"x_total", "customer"="b"}"#),
        (r#"{__name__=~"a_total|h_bucket|c"}"#, r#"{__name__=~"x_total|g_bucket|c"}"#),
        (
            r#"up{job="jaeger"} or up{job!~"jaeger|grafana"}"#,
            r#"up{job="tracing"} or up{job!~"tracing|grafana"}"#,
        ),
        (
            r#"label_replace(a_total, "tenant_id", "$1", "tenant_id", "tenant_id")"#,
            r#"label_replace(x_total, "customer", "$1", "customer", "tenant_id")"#,
        ),
        (
            r#"label_join(a_total, "d", "status", "status")"#,
            r#"label_join(x_total, "d", "status", "outcome")"#,
        ),
        (
            r#"count by (status) (count_values without (tenant_id) ("status", a_total))"#,
            r#"count by (outcome) (count_values without (customer) ("outcome", x_total))"#,
        ),
        (r#"sort_by_label(a_total, "status")"#, r#"sort_by_label(x_total, "outcome")"#),
        ("label_values(a_total{status=\"e\"}, tenant_id)", "label_values(x_total{outcome=\"e\"}, customer)"),
        ("label_values(tenant_id)", "label_values(customer)"),
        ("query_result(a_total)", "query_result(x_total)"),
        ("topk(10, a_total @ end()) offset 5m", "topk(10, x_total @ end()) offset 5m"),
        (
            "a_total{tenant_id=~\"$t\"}[$__range] + ${s}:a_total",
            "x_total{customer=~\"$t\"}[$__range] + ${s}:a_total",
        ),
        // A template's printf fills it in.
        ("max(a_total{tenant_id=%q, status=%status})", "max(x_total{customer=%q, outcome=%status})"),
        ("a_total # a_total, not tenant_id\n+ a_total", "x_total # x_total, not tenant_id\n+ x_total"),
    ] {
        assert_eq!(apply(expr, edits(expr, &names_of())), wanted);
    }
}

#[test]
fn what_only_looks_like_a_name_stays() {
    for expr in [
        // Values, longer names, recorded series, functions, durations, words.
        r#"b{x="a_total", y=~"status|tenant_id"}"#,
        "my_a_total + a_total_sum + a_total:rate5m + job:a_total",
        "status(b) + rate(b[5m:1m])",
        r#"label_replace(b, "x", "a_total", "y", "tenant_id")"#,
        r#"up{instance="jaeger"}"#,
        "\"a_total\" 'tenant_id' `status`",
        "tenant_id + b{status_code=\"1\"}",
    ] {
        assert_eq!(apply(expr, edits(expr, &names_of())), expr);
    }
}

#[test]
fn a_metric_needs_what_it_is_selected_and_summed_by() {
    for (expr, wanted) in [
        (r#"sum by (t) (rate(a{s="e"}[5m]))"#, "a:t,s"),
        (r#"sum(rate(a{s="e"}[5m])) by (t)"#, "a:s,t"),
        ("sum by (t) (a) / sum by (u) (b)", "a:t b:u"),
        ("max by (x) (sum by (x, y) (a) + on (z) b)", "a:x,x,y b:x"),
        ("label_values(a, t)", "a:t"),
        ("a and on (t) b unless ignoring (u) c", "a: b: c:"),
    ] {
        let said: Vec<_> = names(expr)
            .into_iter()
            .filter_map(|found| match found.kind {
                Kind::Metric { needs } => Some(format!("{}:{}", &expr[found.range], needs.join(","))),
                _ => None,
            })
            .collect();
        assert_eq!(said.join(" "), wanted, "{expr}");
    }
}
