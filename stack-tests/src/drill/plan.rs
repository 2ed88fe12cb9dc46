//! What is drilled in which order, and what is not.

use super::scenarios::{
    ABSENT, ACCURACY, ALERTMANAGER, AUDIT_GAP, CALM, COMPLIANCE, CONFIG, CONNECTIONS, COST, CRASHES, DOWN,
    ELASTICSEARCH, ELASTICSEARCH_DISK, ELASTICSEARCH_FULL, ERRORS, GRAFANA, JAEGER, LOG_WATCH, LOGSTASH,
    LOGSTASH_QUEUE, MACHINE, PROMETHEUS_FULL, PUSHGATEWAY, RED, RULE, SECOND, SLACK, SLOW, Scenario, TARGET,
    TENANT, UNSHIPPED, UNUSABLE,
};

/// The alerts that no scenario brings about, and why. A test holds these and the scenarios' against the rules.
pub const NOT_DRILLED: [(&str, &str); 7] = [
    (
        "DeadLettersLost",
        "Elasticsearch refuses a dead letter only where it can make no index, which would break the rest",
    ),
    ("HostDiskReadOnly", "a test cannot make a disk of the machine read-only"),
    ("RecentOutage", "nobody is told of it; its consequences are silenced in the drills that end an outage"),
    ("ThresholdMissing", "a stack without its limits cannot be drilled"),
    ("HostCpuSaturated", "whether more wants to run than there are processors is the machine's affair"),
    (
        "StaleAnswerAccuracy",
        "an evaluation that is a day late takes a day, or an hour and a quarter on a fast stack",
    ),
    ("Watchdog", "it always fires: the scenario `calm` sees it do so"),
];

/// What is run one after the other, or side by side.
pub struct Phase<T = &'static Scenario> {
    /// Side by side, each one after the other.
    pub lanes: Vec<Vec<T>>,
    /// Whether it begins when all that was before is over: it takes away what others are told by.
    pub alone: bool,
}

/// All of them, in phases: those in the lanes of one phase leave each other alone. The calm hour comes first, because the day's
/// budgets are overrun afterwards; the gap in the audit trail before the agent that loses events, which would explain it; what is slow or fails must be much of an hour's requests, so it comes when the calm hour is past.
pub fn all() -> Vec<Phase> {
    let phase = |lanes| Phase { lanes, alone: false };
    let alone = |scenario| Phase { lanes: vec![vec![scenario]], alone: true };
    vec![
        phase(vec![vec![&CALM]]),
        phase(vec![vec![&DOWN, &ABSENT], vec![&LOGSTASH, &ELASTICSEARCH, &LOG_WATCH, &AUDIT_GAP]]),
        alone(&SLACK),
        alone(&ALERTMANAGER),
        // HighErrorRate silences HighActiveConnections.
        phase(vec![vec![&CONNECTIONS], vec![&COMPLIANCE], vec![&TARGET]]),
        phase(vec![
            // They share the agent's faults, and the cache's rate.
            vec![&COST, &SLOW, &TENANT, &ERRORS],
            vec![&ACCURACY, &PUSHGATEWAY],
            vec![&GRAFANA],
            vec![&SECOND],
            // They share Prometheus' configuration.
            vec![&RULE, &CONFIG, &ELASTICSEARCH_DISK, &LOGSTASH_QUEUE],
            // All but the first write to Elasticsearch, and the last keeps it from being written to: a Jaeger that is stopped
            // meanwhile loses what waits in it.
            vec![&JAEGER, &UNUSABLE, &RED, &UNSHIPPED, &ELASTICSEARCH_FULL],
            vec![&PROMETHEUS_FULL],
        ]),
        // A full disk silences what cannot be written.
        phase(vec![vec![&CRASHES], vec![&MACHINE]]),
    ]
}
