//! The parts of the stack: whom a fault of each may hurt, which alert it must bring, and how soon it is well again.

use std::time::Duration;

use super::plan::Kind;
use crate::{
    drill::{Expected, Seen, scenarios},
    stack::Stack,
    wait::{SOON, until},
};

/// What users notice of a part's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It answers them: while it is gone nobody does.
    Serves,
    /// It is asked for their answers: while it is gone they are told so.
    Provides,
    /// It watches, keeps or tells: they must not notice.
    Watches,
}

/// An alert that an outage must bring, or why there is none.
pub(super) type Alert = Result<Expected, &'static str>;

/// A service of the stack.
pub struct Part {
    /// Its name in Compose.
    pub service: &'static str,
    /// What users notice of its faults.
    pub role: Role,
    /// Whether Prometheus has a job of its name.
    pub scraped: bool,
    /// What its outage brings.
    pub alert: Alert,
    /// From the end of a fault until all it does works again.
    pub within: Duration,
    /// What else must work until it is well, besides its own health, its scrapes and an answer of the agent.
    pub works: fn(&Stack) -> Result<(), String>,
}

/// What comes of an Elasticsearch whose disk is full: it answers, and stores nothing.
const FULL: Alert = Ok(scenarios::warning("JaegerRefusesSpans"));

impl Part {
    /// The alert that such a fault of it must bring.
    pub(super) fn alert_of(&self, kind: Kind) -> &Alert {
        if kind == Kind::Full { &FULL } else { &self.alert }
    }
}

const PART: Part = Part {
    service: "",
    role: Role::Watches,
    scraped: true,
    alert: Err(""),
    within: Duration::from_mins(1),
    works: |_| Ok(()),
};

/// Needs a minute or two to start on a busy machine, as all that runs on Java does.
const SLOW_START: Duration = Duration::from_mins(4);

/// All of them. A test holds them against `docker-compose.yml` and the page.
pub const PARTS: &[Part] = &[
    Part {
        service: "example-agent",
        role: Role::Serves,
        alert: Ok(scenarios::critical("AgentDown")),
        ..PART
    },
    Part {
        service: "simulators-llm",
        role: Role::Provides,
        scraped: false,
        alert: Ok(scenarios::critical("HighErrorRate")),
        works: keeps_traces,
        ..PART
    },
    Part {
        service: "evaluate",
        scraped: false,
        alert: Err("StaleAnswerAccuracy tells of it once no evaluation has run for a day"),
        ..PART
    },
    Part { service: "load", scraped: false, alert: Err("nobody waits for the base traffic"), ..PART },
    Part {
        service: "prometheus",
        alert: Err("it is what alerts; the Watchdog's silence tells whoever waits for it elsewhere"),
        ..PART
    },
    Part {
        service: "alertmanager",
        alert: Ok(scenarios::critical("AlertsNotSent").seen(Seen::Late)),
        works: hears_watchdog,
        ..PART
    },
    Part {
        service: "simulators-slack",
        scraped: false,
        alert: Err("only where there is something to tell: make drill SCENARIO=slack"),
        ..PART
    },
    Part {
        service: "maildev",
        scraped: false,
        alert: Err("only where there is something to tell, by NotificationsFail"),
        ..PART
    },
    Part { service: "pushgateway", alert: Ok(scenarios::warning("PushgatewayDown")), ..PART },
    Part { service: "jaeger", alert: Ok(scenarios::warning("JaegerDown")), works: keeps_traces, ..PART },
    Part { service: "grafana", alert: Ok(scenarios::warning("GrafanaDown")), ..PART },
    Part { service: "node-exporter", alert: Ok(scenarios::warning("TargetDown")), ..PART },
    Part {
        service: "elasticsearch",
        scraped: false,
        alert: Ok(scenarios::critical("ElasticsearchDown")),
        within: SLOW_START,
        works: keeps_traces,
        ..PART
    },
    Part {
        service: "logstash",
        scraped: false,
        alert: Ok(scenarios::warning("LogstashDown")),
        within: SLOW_START,
        ..PART
    },
    Part {
        service: "kibana",
        scraped: false,
        alert: Err("its users see it, and nothing is lost"),
        within: SLOW_START,
        ..PART
    },
    Part { service: "elasticsearch-exporter", alert: Ok(scenarios::warning("TargetDown")), ..PART },
    Part { service: "log-watch", alert: Ok(scenarios::critical("LogWatchDown")), ..PART },
];

/// The part of this name.
pub(super) fn part(service: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.service == service)
}

/// A request of now has its trace, from the agent to the model, wherever traces are kept.
fn keeps_traces(stack: &Stack) -> Result<(), String> {
    if stack.missing.contains_key("jaeger") {
        return Ok(());
    }
    let answer = stack.fresh_query("globex")?;
    until("its trace", SOON / 3, || {
        let spans = stack.spans(answer.header("x-trace-id"))?;
        let called = spans.iter().any(|span| span.name == "call_llm");
        if called { Ok(()) } else { Err(format!("{} spans", spans.len())) }
    })
}

/// Alerts arrive: the one that always fires is there, and has been sent since.
fn hears_watchdog(stack: &Stack) -> Result<(), String> {
    let watchdog = stack.alerts()?.iter().any(|alert| alert["labels"]["alertname"] == "Watchdog");
    if watchdog { Ok(()) } else { Err("Alertmanager does not hear Watchdog".into()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Services of the compose file: two spaces, a name, a colon, below `services:`.
    fn services(compose: &str) -> BTreeSet<&str> {
        let (_, services) = compose.split_once("\nservices:\n").expect("it has services");
        let (services, _) = services.split_once("\nnetworks:\n").expect("networks come next");
        let names = services.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
        names.filter(|name| !name.starts_with([' ', '#'])).collect()
    }

    #[test]
    fn every_service_that_runs_on_has_its_promise() {
        let services = services(include_str!("../../../docker-compose.yml"));
        // They do one thing and end.
        let one_shots = ["elasticsearch-setup", "kibana-setup", "kit", "secrets", "story"];
        let parts: BTreeSet<_> = PARTS.iter().map(|part| part.service).chain(one_shots).collect();
        assert_eq!(parts, services);
    }

    #[test]
    fn the_page_says_what_is_promised_of_each_part() {
        let page = include_str!("../../../docs/faults.md");
        for part in PARTS {
            let users = match part.role {
                Role::Serves => "it is down",
                Role::Provides => "errors that say so",
                Role::Watches => "nothing",
            };
            let alert = match &part.alert {
                Ok(expected) => format!("[{0}](runbooks/{0}.md)", expected.alert),
                Err(why) => format!("none: {why}"),
            };
            let row = format!("| {} | {users} | {alert} | {} s |", part.service, part.within.as_secs());
            assert!(page.lines().any(|line| line == row), "docs/faults.md has no row\n{row}");
        }
    }
}
