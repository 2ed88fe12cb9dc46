//! The story as text for a terminal.
use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;

use super::{
    Story,
    lines::Line,
    trace::{Span, Trace},
};

/// Attributes of spans that tell something; the rest is in Jaeger.
const TAGS: [&str; 14] = [
    "http.route",
    "http.response.status_code",
    "tenant.id",
    "compliance.rule",
    "compliance.action",
    "cache.hit",
    "rag.passages",
    "llm.attempt",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "error.type",
    "step.cancelled",
];
/// The event that says what a call of the model has cost.
const CALL: &str = "llm call completed";

/// All of it.
pub fn text(id: &str, story: &Story) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_story(&mut out, id, story);
    out
}

fn write_story(out: &mut String, id: &str, story: &Story) -> std::fmt::Result {
    writeln!(out, "Story of {id}")?;
    for (what, names) in [
        ("request", &["request_id"][..]),
        ("tenant", &["tenant_id"]),
        ("trace", &["trace_id"]),
        ("endpoint", &["endpoint"]),
    ] {
        let said: BTreeSet<_> = story.lines.iter().filter_map(|line| line.text(names[0])).collect();
        if !said.is_empty() {
            writeln!(out, "  {what:<9}{}", said.into_iter().collect::<Vec<_>>().join(", "))?;
        }
    }

    if story.lines.is_empty() {
        writeln!(out, "\nNo lines: looked in {}", story.looked.join(", in "))?;
    } else {
        writeln!(out, "\nLines ({}, {})", story.lines.len(), story.from)?;
        for line in &story.lines {
            write_line(out, line)?;
        }
    }
    for trace in &story.traces {
        write_trace(out, trace)?;
    }
    if story.traces.is_empty() {
        let last = story.looked.last().map(String::as_str).unwrap_or_default();
        writeln!(out, "\nNo trace: looked in {last}")?;
    }
    write_cost(out, story)
}

fn write_line(out: &mut String, line: &Line) -> std::fmt::Result {
    writeln!(out, "  {}  {:<5}  {}", line.time, line.level, line.message)?;
    let details = line.details();
    if !details.is_empty() {
        writeln!(out, "      {}", details.join("  "))?;
    }
    Ok(())
}

fn write_trace(out: &mut String, trace: &Trace) -> std::fmt::Result {
    let start = trace.spans.iter().map(|span| span.start).min().unwrap_or_default();
    writeln!(out, "\nTrace {} ({} spans; start and duration in ms)", trace.id, trace.spans.len())?;
    for span in &trace.spans {
        let name = format!("{}{}", "  ".repeat(span.depth), span.name);
        let milliseconds = |micros: u64| micros as f64 / 1000.0;
        writeln!(
            out,
            "  {name:<28} {:>9.3} {:>9.3}  {:<14} {}",
            milliseconds(span.start.saturating_sub(start)),
            milliseconds(span.duration),
            span.service,
            tags(span)
        )?;
    }
    Ok(())
}

fn tags(span: &Span) -> String {
    let said = TAGS.iter().filter_map(|name| Some((name, span.tags.get(*name)?)));
    let said = said.map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    said.collect::<Vec<_>>().join(" ")
}

/// From the lines, which are exact; where they have no call, tokens from the spans.
fn write_cost(out: &mut String, story: &Story) -> std::fmt::Result {
    let calls: Vec<_> = story.lines.iter().filter(|line| line.message == CALL).collect();
    let of_lines = |name: &str| calls.iter().filter_map(|line| line.number(name)).sum::<f64>();
    let answered =
        |span: &&Span| span.name == "call_llm" && span.tags.contains_key("gen_ai.usage.output_tokens");
    let spans: Vec<_> = story.traces.iter().flat_map(|trace| &trace.spans).filter(answered).collect();
    let of_spans = |name: &str| spans.iter().filter_map(|span| span.tags.get(name)?.as_f64()).sum::<f64>();

    if !calls.is_empty() {
        let (input, output, cost) =
            (of_lines("input_tokens"), of_lines("output_tokens"), of_lines("cost_usd"));
        let number = calls.len();
        let models: BTreeSet<_> = calls.iter().filter_map(|line| line.text("model")).collect();
        let models = models.into_iter().collect::<Vec<_>>().join(", ");
        writeln!(
            out,
            "\nModel calls: {number} ({models}), {input} input + {output} output tokens, {cost:.6} USD"
        )
    } else if !spans.is_empty() {
        let (input, output) = (of_spans("gen_ai.usage.input_tokens"), of_spans("gen_ai.usage.output_tokens"));
        let number = spans.len();
        writeln!(
            out,
            "\nModel calls: {number}, {input} input + {output} output tokens; the cost is in the log lines only"
        )
    } else {
        writeln!(out, "\nModel calls: none that was answered, 0 USD")
    }
}
