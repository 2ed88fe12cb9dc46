//! What can be drilled.

use std::time::Duration;

use serde_json::json;

use super::{
    Drill, Expected, Seen,
    faults::{self, Fault},
    inbox::Mark,
    traffic::Traffic,
};

type Afterwards = fn(&Drill, &Mark) -> Result<(), String>;

/// A fault, and the alerts that must come of it.
pub struct Scenario {
    /// Its name; that of one of its alerts works too.
    pub name: &'static str,
    /// What must come of it.
    pub alerts: &'static [Expected],
    /// The service without which there is nothing to break.
    pub service: Option<&'static str>,
    /// Whether it changes files that only a stack of `FAST=1` has.
    pub generated: bool,
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

const fn critical(alert: &'static str) -> Expected {
    Expected { alert, severity: "critical", seen: Seen::Notified }
}

const fn warning(alert: &'static str) -> Expected {
    Expected { alert, severity: "warning", seen: Seen::Notified }
}

const PLAIN: Scenario = Scenario {
    name: "",
    alerts: &[],
    service: None,
    generated: false,
    begins: minutes(5),
    ends: minutes(15),
    fault: |_| Err("no fault".into()),
    traffic: Traffic::None,
    afterwards: None,
};

const COST: Scenario = Scenario {
    name: "cost",
    alerts: &[
        critical("HighAPICost"),
        Expected { alert: "DailyBudgetExceeded", severity: "critical", seen: Seen::NotifiedOnce },
        Expected { alert: "TenantOverBudget", severity: "warning", seen: Seen::NotifiedOnce },
        Expected { alert: "CostBudgetBurn", severity: "warning", seen: Seen::Silenced("HighAPICost") },
    ],
    begins: minutes(25),
    ends: minutes(75),
    fault: faults::spending,
    ..PLAIN
};

const SLOW: Scenario = Scenario {
    name: "slow",
    alerts: &[warning("SlowRequests"), critical("LatencyBudgetBurn"), warning("LowCacheHitRate")],
    begins: minutes(90),
    ends: minutes(45),
    fault: |drill| faults::agent(drill, json!({"extra_latency_seconds": 3, "cache_off": true})),
    traffic: Traffic::Fresh { tenant: "acme", callers: 24 },
    ..PLAIN
};

const TENANT: Scenario = Scenario {
    name: "one-tenant",
    alerts: &[critical("ErrorBudgetBurn"), warning("TenantHighErrorRate")],
    begins: minutes(30),
    ends: minutes(60),
    fault: |drill| faults::all_but_known(drill, "acme"),
    traffic: Traffic::OneAmongMany { one: "hooli", many: "acme" },
    ..PLAIN
};

const ERRORS: Scenario = Scenario {
    name: "errors",
    alerts: &[critical("HighErrorRate")],
    begins: minutes(15),
    fault: |drill| faults::agent(drill, json!({"error_ratio": 1})),
    traffic: Traffic::Fresh { tenant: "acme", callers: 4 },
    ..PLAIN
};

const CONNECTIONS: Scenario = Scenario {
    name: "connections",
    alerts: &[warning("HighActiveConnections")],
    begins: minutes(10),
    fault: faults::connections,
    ..PLAIN
};

const COMPLIANCE: Scenario = Scenario {
    name: "compliance",
    alerts: &[warning("ComplianceViolations")],
    ends: minutes(75),
    fault: faults::violations,
    ..PLAIN
};

const ACCURACY: Scenario = Scenario {
    name: "accuracy",
    alerts: &[warning("LowAnswerAccuracy")],
    service: Some("pushgateway"),
    fault: faults::accuracy,
    ..PLAIN
};

const SECOND: Scenario = Scenario {
    name: "second-agent",
    alerts: &[warning("LogLinesDropped"), critical("AuditEventsLost"), warning("UnpricedModelCalls")],
    generated: true,
    begins: minutes(60),
    ends: minutes(75),
    fault: faults::second_agent,
    ..PLAIN
};

const DOWN: Scenario = Scenario {
    name: "down",
    alerts: &[critical("AgentDown")],
    fault: |drill| faults::stopped(drill, "example-agent"),
    ..PLAIN
};

const ABSENT: Scenario = Scenario {
    name: "absent",
    alerts: &[critical("AgentAbsent")],
    generated: true,
    begins: minutes(10),
    fault: faults::no_target,
    ..PLAIN
};

const CRASHES: Scenario = Scenario {
    name: "crashes",
    alerts: &[warning("AgentRestartsOften")],
    ends: minutes(45),
    fault: faults::crashes,
    ..PLAIN
};

const JAEGER: Scenario = Scenario {
    name: "jaeger",
    alerts: &[
        warning("JaegerDown"),
        Expected { alert: "SpansDropped", severity: "warning", seen: Seen::Silenced("JaegerDown") },
    ],
    service: Some("jaeger"),
    begins: minutes(15),
    fault: |drill| faults::stopped(drill, "jaeger"),
    ..PLAIN
};

const GRAFANA: Scenario = Scenario {
    name: "grafana",
    alerts: &[warning("GrafanaDown")],
    service: Some("grafana"),
    begins: minutes(10),
    fault: |drill| faults::stopped(drill, "grafana"),
    ..PLAIN
};

const PUSHGATEWAY: Scenario = Scenario {
    name: "pushgateway",
    alerts: &[warning("PushgatewayDown")],
    service: Some("pushgateway"),
    begins: minutes(10),
    fault: |drill| faults::stopped(drill, "pushgateway"),
    ..PLAIN
};

const TARGET: Scenario = Scenario {
    name: "target",
    alerts: &[warning("TargetDown")],
    service: Some("node-exporter"),
    begins: minutes(10),
    fault: |drill| faults::stopped(drill, "node-exporter"),
    ..PLAIN
};

const RULE: Scenario = Scenario {
    name: "rule",
    alerts: &[critical("RuleFailures")],
    generated: true,
    begins: minutes(15),
    fault: faults::bad_rule,
    ..PLAIN
};

const CONFIG: Scenario = Scenario {
    name: "config",
    alerts: &[warning("ConfigReloadFailed")],
    generated: true,
    begins: minutes(15),
    fault: faults::bad_config,
    ..PLAIN
};

/// Slack down during an alert: the mailbox hears of both, and Slack of both once it is back.
const SLACK: Scenario = Scenario {
    name: "slack",
    alerts: &[Expected { alert: "NotificationsFail", severity: "critical", seen: Seen::NotifiedByMail }],
    begins: minutes(15),
    fault: faults::no_slack,
    ..PLAIN
};

/// Alertmanager down during an alert: delivered once it is back, and over after that.
const ALERTMANAGER: Scenario = Scenario {
    name: "alertmanager",
    alerts: &[Expected { alert: "AlertsNotSent", severity: "critical", seen: Seen::Late }],
    begins: minutes(15),
    fault: |drill| faults::stopped(drill, "alertmanager"),
    afterwards: Some(|drill, mark| {
        let expected = critical("AlertsNotSent");
        drill.told_late(&expected, mark)
    }),
    ..PLAIN
};

const ELASTICSEARCH: Scenario = Scenario {
    name: "elasticsearch",
    alerts: &[critical("ElasticsearchDown")],
    service: Some("elasticsearch"),
    begins: minutes(20),
    ends: minutes(60),
    fault: |drill| faults::stopped(drill, "elasticsearch"),
    ..PLAIN
};

const LOGSTASH: Scenario = Scenario {
    name: "logstash",
    alerts: &[warning("LogstashDown")],
    service: Some("logstash"),
    begins: minutes(20),
    ends: minutes(60),
    fault: |drill| faults::stopped(drill, "logstash"),
    ..PLAIN
};

/// All of them, in phases: those in the lanes of one phase leave each other alone.
pub fn all() -> Vec<Vec<Vec<&'static Scenario>>> {
    vec![
        vec![
            // They share the agent's faults, and the cache's rate.
            vec![&COST, &SLOW, &TENANT, &ERRORS],
            vec![&CONNECTIONS],
            vec![&COMPLIANCE],
            vec![&JAEGER],
            vec![&ACCURACY, &PUSHGATEWAY],
            vec![&GRAFANA],
            vec![&TARGET],
            vec![&SECOND],
            vec![&RULE, &CONFIG],
        ],
        vec![vec![&DOWN, &ABSENT, &CRASHES]],
        vec![vec![&SLACK]],
        vec![vec![&ALERTMANAGER]],
        vec![vec![&LOGSTASH, &ELASTICSEARCH]],
    ]
}
