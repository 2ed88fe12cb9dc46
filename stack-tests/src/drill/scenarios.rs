//! What can be drilled.

use std::time::Duration;

use serde_json::json;

use super::{
    Drill, Expected, Seen, calm,
    faults::{self, Fault},
    inbox::{Mark, Way},
    traffic::Traffic,
};

type Afterwards = fn(&Drill, &Mark) -> Result<(), String>;

/// What of Prometheus' files is another while a fault is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    Nothing,
    /// Targets, rules, settings.
    Configuration,
    /// The limits, beyond which what is well then is. The machine may have given reason for such an alert before.
    Limits,
}

/// A fault, and the alerts that must come of it.
pub struct Scenario {
    /// Its name; that of one of its alerts works too.
    pub name: &'static str,
    /// What must come of it.
    pub alerts: &'static [Expected],
    /// The service without which there is nothing to break.
    pub service: Option<&'static str>,
    /// What it changes in Prometheus' files, of which only a stack of `FAST=1` has generated ones.
    pub(super) changes: Changes,
    /// Whether its fault has passed once it was brought about, so that the next in the lane need not wait for people to be told.
    pub(super) momentary: bool,
    /// Whether the end of its alerts, which look back far, disturbs nobody and is not waited for before the next phase.
    pub(super) lingers: bool,
    /// How long the slowest of its alerts takes with the real rules, and to end.
    pub(super) begins: Duration,
    pub(super) ends: Duration,
    pub(super) fault: for<'d> fn(&'d Drill) -> Result<Fault<'d>, String>,
    pub(super) traffic: Traffic,
    /// What must be seen once the fault is off.
    pub(super) afterwards: Option<Afterwards>,
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

pub(crate) const fn critical(alert: &'static str) -> Expected {
    Expected { alert, severity: "critical", seen: Seen::Notified, within: None }
}

pub(crate) const fn warning(alert: &'static str) -> Expected {
    Expected { severity: "warning", ..critical(alert) }
}

impl Expected {
    pub(crate) const fn seen(self, seen: Seen) -> Self {
        Self { seen, ..self }
    }

    /// With the real rules.
    const fn within(self, bound: Duration) -> Self {
        Self { within: Some(bound), ..self }
    }
}

const PLAIN: Scenario = Scenario {
    name: "",
    alerts: &[],
    service: None,
    changes: Changes::Nothing,
    momentary: false,
    lingers: false,
    begins: minutes(5),
    ends: minutes(15),
    fault: |_| Err("no fault".into()),
    traffic: Traffic::None,
    afterwards: None,
};

pub(super) const CALM: Scenario =
    Scenario { name: "calm", service: Some("load"), fault: calm::an_hour, ..PLAIN };

/// The ends of the day's budgets are not waited for: the one looks back over 24 hours (72 minutes on a fast stack), the other's
/// day is the calendar's, at any speed of the rules. `slow`, which comes next, spends so fast that `CostBudgetBurn` stays.
pub(super) const COST: Scenario = Scenario {
    name: "cost",
    alerts: &[
        critical("HighAPICost").within(Duration::from_mins(1)),
        critical("DailyBudgetExceeded").seen(Seen::NotifiedOnce),
        warning("TenantOverBudget").seen(Seen::NotifiedOnce),
        warning("CostBudgetBurn").seen(Seen::SilencedOnce("HighAPICost")),
    ],
    momentary: true,
    lingers: true,
    begins: minutes(25),
    ends: minutes(75),
    fault: faults::spending,
    ..PLAIN
};

pub(super) const SLOW: Scenario = Scenario {
    name: "slow",
    alerts: &[
        warning("SlowRequests"),
        critical("LatencyBudgetBurn"),
        warning("LowCacheHitRate"),
        warning("InjectedFaultActive"),
    ],
    begins: minutes(90),
    ends: minutes(45),
    fault: |drill| faults::agent(drill, json!({"extra_latency_seconds": 3, "cache_off": true})),
    traffic: Traffic::Fresh { tenant: "acme", callers: 24 },
    ..PLAIN
};

pub(super) const TENANT: Scenario = Scenario {
    name: "one-tenant",
    alerts: &[critical("ErrorBudgetBurn"), warning("TenantHighErrorRate")],
    begins: minutes(30),
    ends: minutes(60),
    lingers: true,
    fault: |drill| faults::all_but_known(drill, "acme"),
    traffic: Traffic::OneAmongMany { one: "hooli", many: "acme" },
    ..PLAIN
};

pub(super) const ERRORS: Scenario = Scenario {
    name: "errors",
    alerts: &[critical("HighErrorRate")],
    begins: minutes(15),
    fault: |drill| faults::agent(drill, json!({"error_ratio": 1})),
    traffic: Traffic::Fresh { tenant: "acme", callers: 4 },
    ..PLAIN
};

pub(super) const CONNECTIONS: Scenario = Scenario {
    name: "connections",
    alerts: &[warning("HighActiveConnections")],
    begins: minutes(10),
    fault: faults::connections,
    ..PLAIN
};

pub(super) const COMPLIANCE: Scenario = Scenario {
    name: "compliance",
    alerts: &[warning("ComplianceViolations")],
    ends: minutes(75),
    momentary: true,
    lingers: true,
    fault: faults::violations,
    ..PLAIN
};

pub(super) const ACCURACY: Scenario = Scenario {
    name: "accuracy",
    alerts: &[warning("LowAnswerAccuracy")],
    service: Some("pushgateway"),
    fault: faults::accuracy,
    ..PLAIN
};

pub(super) const PUSH: Scenario = Scenario {
    name: "push",
    alerts: &[warning("PushFailed")],
    service: Some("pushgateway"),
    begins: minutes(10),
    fault: faults::refused_push,
    ..PLAIN
};

/// The agent asks again, or another model, so that few requests fail.
pub(super) const RATE_LIMITS: Scenario = Scenario {
    name: "rate-limits",
    alerts: &[warning("ProviderRateLimits")],
    begins: minutes(25),
    fault: |drill| faults::provider(drill, &json!({"rate_limited_ratio": 0.15})),
    traffic: Traffic::Fresh { tenant: "hooli", callers: 4 },
    ..PLAIN
};

/// Limits that the provider and its prices exceed.
pub(super) const PROVIDER: Scenario = Scenario {
    name: "provider",
    alerts: &[warning("SlowFirstToken"), warning("PriceCatalogueOld")],
    changes: Changes::Limits,
    begins: minutes(75),
    fault: |drill| {
        faults::limits(drill, &[("first_token_seconds", "0"), ("price_catalogue_age_seconds", "-1")])
    },
    ..PLAIN
};

pub(super) const COPIES: Scenario = Scenario {
    name: "copies",
    alerts: &[warning("ElasticsearchShardsUnassigned")],
    service: Some("elasticsearch-exporter"),
    begins: minutes(40),
    fault: faults::no_replica,
    ..PLAIN
};

pub(super) const SECOND: Scenario = Scenario {
    name: "second-agent",
    alerts: &[
        warning("LogLinesDropped").seen(Seen::Silenced("AuditEventsLost")),
        critical("AuditEventsLost"),
        warning("UnpricedModelCalls"),
    ],
    changes: Changes::Configuration,
    begins: minutes(60),
    ends: minutes(75),
    lingers: true,
    fault: faults::second_agent,
    ..PLAIN
};

pub(super) const DOWN: Scenario = Scenario {
    name: "down",
    alerts: &[critical("AgentDown").within(Duration::from_secs(150))],
    fault: |drill| faults::stopped(drill, "example-agent"),
    ..PLAIN
};

pub(super) const ABSENT: Scenario = Scenario {
    name: "absent",
    alerts: &[critical("AgentAbsent")],
    changes: Changes::Configuration,
    begins: minutes(10),
    fault: faults::no_target,
    ..PLAIN
};

pub(super) const CRASHES: Scenario = Scenario {
    name: "crashes",
    alerts: &[warning("AgentRestartsOften")],
    ends: minutes(45),
    momentary: true,
    lingers: true,
    fault: faults::crashes,
    ..PLAIN
};

pub(super) const JAEGER: Scenario = Scenario {
    name: "jaeger",
    alerts: &[warning("JaegerDown"), warning("SpansDropped").seen(Seen::Silenced("JaegerDown"))],
    service: Some("jaeger"),
    begins: minutes(15),
    fault: |drill| faults::stopped(drill, "jaeger"),
    ..PLAIN
};

pub(super) const GRAFANA: Scenario = Scenario {
    name: "grafana",
    alerts: &[warning("GrafanaDown")],
    service: Some("grafana"),
    begins: minutes(10),
    fault: |drill| faults::stopped(drill, "grafana"),
    ..PLAIN
};

pub(super) const PUSHGATEWAY: Scenario = Scenario {
    name: "pushgateway",
    alerts: &[warning("PushgatewayDown")],
    service: Some("pushgateway"),
    begins: minutes(10),
    fault: |drill| faults::stopped(drill, "pushgateway"),
    ..PLAIN
};

pub(super) const TARGET: Scenario = Scenario {
    name: "target",
    alerts: &[warning("TargetDown")],
    service: Some("node-exporter"),
    begins: minutes(10),
    fault: |drill| faults::stopped(drill, "node-exporter"),
    ..PLAIN
};

pub(super) const RULE: Scenario = Scenario {
    name: "rule",
    alerts: &[critical("RuleFailures")],
    changes: Changes::Configuration,
    begins: minutes(15),
    fault: faults::bad_rule,
    ..PLAIN
};

pub(super) const CONFIG: Scenario = Scenario {
    name: "config",
    alerts: &[warning("ConfigReloadFailed")],
    changes: Changes::Configuration,
    begins: minutes(15),
    fault: faults::bad_config,
    ..PLAIN
};

/// Slack down during alerts: the mailbox hears of both, and Slack of what it missed, and of their end, once it is back.
pub(super) const SLACK: Scenario = Scenario {
    name: "slack",
    alerts: &[
        critical("NotificationsFail").seen(Seen::NotifiedByMail),
        warning("LowAnswerAccuracy").seen(Seen::NotifiedByMail),
    ],
    service: Some("pushgateway"),
    begins: minutes(15),
    fault: faults::no_slack,
    ..PLAIN
};

/// Alertmanager down during an alert: delivered once it is back, and over after that.
pub(super) const ALERTMANAGER: Scenario = Scenario {
    name: "alertmanager",
    alerts: &[critical("AlertsNotSent").seen(Seen::Late)],
    begins: minutes(15),
    fault: |drill| faults::stopped(drill, "alertmanager"),
    afterwards: Some(|drill, mark| {
        drill.told_late(&critical("AlertsNotSent"), mark, &[Way::Slack, Way::Mail])
    }),
    ..PLAIN
};

pub(super) const ELASTICSEARCH: Scenario = Scenario {
    name: "elasticsearch",
    alerts: &[critical("ElasticsearchDown")],
    service: Some("elasticsearch"),
    begins: minutes(20),
    ends: minutes(60),
    fault: |drill| faults::stopped(drill, "elasticsearch"),
    ..PLAIN
};

pub(super) const RED: Scenario = Scenario {
    name: "red",
    alerts: &[critical("ElasticsearchRed")],
    service: Some("elasticsearch"),
    begins: minutes(10),
    fault: faults::no_primary,
    ..PLAIN
};

pub(super) const AUDIT_GAP: Scenario = Scenario {
    name: "audit-gap",
    alerts: &[critical("AuditTrailGap")],
    service: Some("log-watch"),
    begins: minutes(15),
    fault: faults::audit_gap,
    ..PLAIN
};

pub(super) const UNUSABLE: Scenario = Scenario {
    name: "unusable-lines",
    alerts: &[warning("LogLinesUnusable")],
    service: Some("log-watch"),
    begins: minutes(10),
    fault: faults::unusable_lines,
    ..PLAIN
};

pub(super) const UNSHIPPED: Scenario = Scenario {
    name: "unshipped",
    alerts: &[warning("LogsStale"), warning("LogLinesMissing")],
    service: Some("log-watch"),
    changes: Changes::Configuration,
    // Two minutes of age are two minutes on a fast stack too.
    begins: minutes(60),
    ends: minutes(30),
    fault: faults::unshipped,
    ..PLAIN
};

/// It refuses what Jaeger would store.
pub(super) const ELASTICSEARCH_FULL: Scenario = Scenario {
    name: "elasticsearch-full",
    alerts: &[warning("JaegerRefusesSpans")],
    service: Some("elasticsearch"),
    begins: minutes(40),
    ends: minutes(30),
    fault: |drill| faults::read_only(drill),
    traffic: Traffic::Fresh { tenant: "acme", callers: 1 },
    ..PLAIN
};

pub(super) const LOGSTASH: Scenario = Scenario {
    name: "logstash",
    alerts: &[warning("LogstashDown")],
    service: Some("logstash"),
    begins: minutes(20),
    ends: minutes(60),
    fault: |drill| faults::stopped(drill, "logstash"),
    ..PLAIN
};

pub(super) const LOG_WATCH: Scenario = Scenario {
    name: "log-watch",
    alerts: &[critical("LogWatchDown")],
    service: Some("log-watch"),
    begins: minutes(10),
    fault: |drill| faults::stopped(drill, "log-watch"),
    ..PLAIN
};

pub(super) const LOGSTASH_QUEUE: Scenario = Scenario {
    name: "logstash-queue",
    alerts: &[warning("LogstashQueueFull")],
    service: Some("logstash"),
    changes: Changes::Limits,
    begins: minutes(15),
    fault: |drill| faults::limits(drill, &[("logstash_queue_ratio", "-1")]),
    ..PLAIN
};

/// The machine is as it is; the limits are not.
pub(super) const MACHINE: Scenario = Scenario {
    name: "machine",
    alerts: &[critical("HostDiskFillsUp"), warning("HostMemoryLow"), warning("HostClockSkew")],
    service: Some("node-exporter"),
    changes: Changes::Limits,
    begins: minutes(20),
    fault: |drill| {
        let limits =
            [("disk_free_ratio", "1.01"), ("memory_available_ratio", "1.01"), ("clock_skew_seconds", "-1")];
        faults::limits(drill, &limits)
    },
    ..PLAIN
};

/// A second Prometheus, beside the stack's, which has to go on watching.
pub(super) const PROMETHEUS_FULL: Scenario = Scenario {
    name: "prometheus-full",
    alerts: &[critical("PrometheusNotIngestingSamples").seen(Seen::Elsewhere)],
    begins: minutes(10),
    fault: faults::full_prometheus,
    ..PLAIN
};

pub(super) const ELASTICSEARCH_DISK: Scenario = Scenario {
    name: "elasticsearch-disk",
    alerts: &[warning("ElasticsearchDiskLow"), warning("ElasticsearchShardsLow")],
    service: Some("elasticsearch-exporter"),
    changes: Changes::Limits,
    begins: minutes(25),
    fault: |drill| {
        faults::limits(
            drill,
            &[("elasticsearch_disk_free_ratio", "1.01"), ("elasticsearch_shards_ratio", "-1")],
        )
    },
    ..PLAIN
};
