//! What is drilled in which order, and what is not.

use super::scenarios::{
    ABSENT, ACCURACY, ALERTMANAGER, AUDIT_GAP, CALM, COMPLIANCE, CONFIG, CONNECTIONS, COPIES, COST, CRASHES,
    DOWN, ELASTICSEARCH, ELASTICSEARCH_DISK, ELASTICSEARCH_FULL, ERRORS, GRAFANA, JAEGER, LOG_WATCH,
    LOGSTASH, LOGSTASH_QUEUE, MACHINE, PROMETHEUS_FULL, PROVIDER, PUSH, PUSHGATEWAY, RATE_LIMITS, RED, RULE,
    SECOND, SLACK, SLOW, Scenario, TARGET, TENANT, UNSHIPPED, UNUSABLE,
};

/// The alerts that no scenario brings about, and why. A test holds these and the scenarios' against the rules.
pub const NOT_DRILLED: [(&str, &str); 23] = [
    ("AlertmanagerConfigsDiffer", "the kit runs one Alertmanager"),
    ("BackupOld", "a backup that is eight days late takes eight days"),
    (
        "DeadLettersLost",
        "Elasticsearch refuses a dead letter only where it can make no index, which would break the rest",
    ),
    (
        "DeadLettersWait",
        "the pipeline of the dead letters empties their queue unless Elasticsearch refuses everything",
    ),
    ("ElasticsearchHeapHigh", "a test that fills the memory of Elasticsearch may end it"),
    ("EstimatedCost", "the simulated provider reports its tokens"),
    ("FastBucketMissing", "the example agent has the bucket"),
    ("FileDescriptorsLow", "a test that opens all files of a process breaks it"),
    ("HostCpuSaturated", "whether more wants to run than there are processors is the machine's affair"),
    ("HostDiskReadOnly", "a test cannot make a disk of the machine read-only"),
    ("HostInodesLow", "a test cannot use up the inodes of the machine"),
    ("LogFilesRemoved", "a gibibyte of log lines takes longer than a drill"),
    (
        "PrometheusDataCorrupt",
        "a broken file would be repaired at the start of Prometheus, and the data lost",
    ),
    ("PrometheusHistoryShort", "five gigabytes of metrics take longer than a drill"),
    ("PrometheusStorageFails", "the disk of Prometheus would have to fail for a quarter of an hour"),
    ("RecentOutage", "nobody is told of it; its consequences are silenced in the drills that end an outage"),
    ("RuleEvaluationsMissed", "whether rules take longer than their interval is the affair of the machine"),
    ("ScrapeLimitExceeded", "the kit sets no limit for a target that it scrapes"),
    ("SpanQueueFull", "a full queue loses spans, and JaegerRefusesSpans is drilled"),
    (
        "StaleAnswerAccuracy",
        "an evaluation that is a day late takes a day, or an hour and a quarter on a fast stack",
    ),
    ("ThresholdMissing", "a stack without its limits cannot be drilled"),
    ("TokensPerCallHigh", "it compares with the day before"),
    ("Watchdog", "it always fires: the scenario `calm` sees it do so"),
];

/// What is run one after the other, or side by side.
pub struct Phase<T = &'static Scenario> {
    /// Side by side, each one after the other.
    pub lanes: Vec<Vec<T>>,
    /// Whether it begins when all that was before is over: it takes away what others are told by.
    pub alone: bool,
}

/// All scenarios, in phases; scenarios in the lanes of one phase do not disturb one another.
///
/// The calm hour comes first, because budgets of the day are exceeded afterwards. The gap in the audit trail comes before the agent that
/// loses events, whose alert would silence it. Slow and failing requests come after the calm hour, since they must be a large share of an
/// hour's requests.
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
            vec![&RATE_LIMITS, &COST, &SLOW, &TENANT, &ERRORS],
            vec![&ACCURACY, &PUSHGATEWAY, &PUSH],
            vec![&GRAFANA],
            vec![&SECOND],
            // They share Prometheus' configuration.
            vec![&RULE, &CONFIG, &PROVIDER, &ELASTICSEARCH_DISK, &LOGSTASH_QUEUE],
            // All but the first write to Elasticsearch, and the last keeps it from being written to: a Jaeger that is stopped
            // meanwhile loses what waits in it.
            vec![&JAEGER, &UNUSABLE, &RED, &COPIES, &UNSHIPPED, &ELASTICSEARCH_FULL],
            vec![&PROMETHEUS_FULL],
        ]),
        // A full disk silences what cannot be written.
        phase(vec![vec![&CRASHES], vec![&MACHINE]]),
    ]
}
