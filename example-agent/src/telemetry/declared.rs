//! Every metric of the agent, declared once: name, kind, labels, buckets and help. `docs/metrics.md` lists them, and a
//! test compares the two with what a running agent shows.
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Counts whole things.
    Counter,
    /// A counter with fractions, kept in billionths because counters count in whole numbers.
    NanoCounter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with these upper bounds, and `+Inf`.
    Histogram(&'static [f64]),
}

/// A metric as `/metrics` shows it.
#[derive(Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels. One whose value is empty is left out of a series.
    pub labels: &'static [&'static str],
}

macro_rules! declare {
    ($($id:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Declared =
            Declared { name: $name, help: $help, kind: $kind, labels: &[$($label),*] };)*
        /// All of them.
        pub const ALL: &[Declared] = &[$($id),*];
    };
}

/// Upper bounds in seconds of the request durations: 2 is there for the alert on the 95th percentile.
pub const DURATION_BUCKETS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0];
/// Upper bounds in seconds that OpenTelemetry's conventions for generative AI ask for: 0.01·2ⁿ.
pub const GEN_AI_SECONDS_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Upper bounds in tokens that the same conventions ask for: 4ⁿ.
pub const GEN_AI_TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

declare! {
    REQUESTS = "agent_requests_total", Kind::Counter, ["method", "endpoint", "status", "tenant_id"],
        "Requests by outcome: success, error (the agent's or its provider's fault), rejected (the caller's).";
    DURATION = "agent_request_duration_seconds", Kind::Histogram(&DURATION_BUCKETS),
        ["method", "endpoint", "status", "tenant_id"],
        "Wall time of a request in seconds, also when the caller hangs up.";
    ERRORS = "agent_errors_total", Kind::Counter, ["error_type", "tenant_id"],
        "Requests with status error, by what went wrong.";
    CACHE_HIT_RATE = "agent_cache_hit_rate", Kind::Gauge, ["cache_type"],
        "Cache hits in percent (0 to 100) of the look-ups of the last five minutes. Absent without look-ups.";
    CACHE_REQUESTS = "agent_cache_requests_total", Kind::Counter, ["cache_type", "result", "tenant_id"],
        "Cache look-ups by result: hit or miss.";
    API_COST = "agent_api_cost_usd_total", Kind::NanoCounter, ["model", "tenant_id"],
        "Cost of the model provider's calls in US dollars, at the list prices of the price file.";
    LLM_TOKENS = "agent_llm_tokens_total", Kind::Counter, ["model", "tenant_id", "direction"],
        "Tokens as the model provider reports them, or estimated, by direction: input or output.";
    LLM_TOKEN_DETAILS = "agent_llm_token_details_total", Kind::Counter, ["model", "tenant_id", "detail"],
        "Tokens read from the provider's cache, written to it, or used for reasoning: parts of the input and the output, not to be added to them.";
    LLM_FINISH = "agent_llm_finish_total", Kind::Counter, ["model", "reason"],
        "Answers of the model by the reason why they end; none where the provider gives no reason.";
    LLM_FALLBACKS = "agent_llm_fallbacks_total", Kind::Counter, ["from", "to"],
        "Calls that another model took over from one that failed or refused.";
    LLM_SUBSTITUTED_CALLS = "agent_llm_substituted_calls_total", Kind::Counter, ["model"],
        "Calls that another model answered than the one asked for. They cost what that one costs, if it has a price.";
    PRICE_CATALOGUE_TIMESTAMP = "agent_price_catalogue_timestamp_seconds", Kind::Gauge, [],
        "The day of the built-in price catalogue, in Unix seconds.";
    ACTIVE_CONNECTIONS = "agent_active_connections", Kind::Gauge, [],
        "Open connections to the API.";
    REQUESTS_IN_FLIGHT = "agent_requests_in_flight", Kind::Gauge, [],
        "Questions that are worked on.";
    LLM_RETRIES = "agent_llm_retries_total", Kind::Counter, ["reason"],
        "Calls of the model that were made again, by why the one before failed.";
    LLM_UNPRICED_CALLS = "agent_llm_unpriced_calls_total", Kind::Counter, ["model"],
        "Calls of a model that the price file does not have: their cost is missing from the cost metric.";
    LLM_ESTIMATED_CALLS = "agent_llm_estimated_calls_total", Kind::Counter, ["model"],
        "Calls of the model whose tokens, and so whose cost, are estimated: the answer was not finished, or the provider reports none.";
    COMPLIANCE_VIOLATIONS = "agent_compliance_violations_total", Kind::Counter, ["rule", "tenant_id"],
        "Questions and answers that break a rule of the compliance file, blocked or flagged.";
    TENANT_BUDGET = "agent_tenant_budget_usd", Kind::Gauge, ["tenant_id"],
        "What a tenant may spend on the model in a day (UTC), in US dollars. Absent without a budget.";
    TENANT_SPENT = "agent_tenant_spent_today_usd", Kind::Gauge, ["tenant_id"],
        "What a tenant with a budget has spent on the model today (UTC) since the start of the process, in US dollars.";
    FEEDBACK = "agent_feedback_total", Kind::Counter, ["rating"],
        "Ratings of answers by their callers: up or down.";
    GEN_AI_DURATION = "gen_ai_client_operation_duration_seconds", Kind::Histogram(&GEN_AI_SECONDS_BUCKETS),
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model",
         "error_type"],
        "Time of a call of the model until its answer was complete or it failed.";
    GEN_AI_TOKENS = "gen_ai_client_token_usage", Kind::Histogram(&GEN_AI_TOKEN_BUCKETS),
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model",
         "gen_ai_token_type"],
        "Tokens of a call of the model as its provider reports them, by type: input or output.";
    GEN_AI_FIRST_CHUNK = "gen_ai_client_operation_time_to_first_chunk_seconds",
        Kind::Histogram(&GEN_AI_SECONDS_BUCKETS),
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model"],
        "Time from the call of the model to the first chunk of its answer, where the answer is streamed.";
    FAULT_ACTIVE = "agent_fault_active", Kind::Gauge, ["fault"],
        "1 while the fault is switched on by /faults of the admin side, else 0.";
    LOG_LINES_DROPPED = "agent_log_lines_dropped_total", Kind::Counter, [],
        "Log lines lost because a queue was full or a write failed.";
    LOG_LINES_WRITTEN = "agent_log_lines_written_total", Kind::Counter, ["stream"],
        "Lines in the files of the log directory, by stream: app or audit. What has to arrive where logs are kept.";
    LOG_FILES_REMOVED = "agent_log_files_removed_total", Kind::Counter, ["reason"],
        "Files of log lines that were removed: for their age, or for the size of all of them, then whether or not they were read.";
    SPANS_DROPPED = "agent_spans_dropped_total", Kind::Counter, [],
        "Spans lost because the queue was full or the collector did not take them.";
    AUDIT_EVENTS = "agent_audit_events_total", Kind::Counter, ["action"],
        "Events for the audit log: questions asked, answers rated, log policies and faults changed, starts and stops of the agent.";
    AUDIT_EVENTS_LOST = "agent_audit_events_lost_total", Kind::Counter, [],
        "Events that are missing in the audit log because its queue was full or its disk refused to the end.";
    BUILD_INFO = "agent_build_info", Kind::Gauge, ["version"],
        "Always 1; the version is in the label.";
}

fn key(metric: &Declared, values: &[SharedString]) -> Key {
    assert_eq!(metric.labels.len(), values.len(), "{} takes other labels", metric.name);
    let labels = metric.labels.iter().zip(values).filter(|(_, value)| !value.is_empty());
    let labels = labels.map(|(name, value)| Label::new(*name, value.clone()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

/// The counter with these label values.
pub(super) fn counter(recorder: &dyn Recorder, metric: &Declared, values: &[SharedString]) -> Counter {
    recorder.register_counter(&key(metric, values), &METADATA)
}

/// The gauge with these label values.
pub(super) fn gauge(recorder: &dyn Recorder, metric: &Declared, values: &[SharedString]) -> Gauge {
    recorder.register_gauge(&key(metric, values), &METADATA)
}

/// The histogram with these label values.
pub(super) fn histogram(recorder: &dyn Recorder, metric: &Declared, values: &[SharedString]) -> Histogram {
    recorder.register_histogram(&key(metric, values), &METADATA)
}
