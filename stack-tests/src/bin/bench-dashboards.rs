//! `make bench-dashboards`: what the first look costs where there are a thousand tenants.

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use stack_tests::{
    dashboards::{
        Asker, Dashboard, Query,
        ask::{Asking, Source, When, sources},
        load,
        many::Many,
        variables::Choice,
        walk::choose,
    },
    stack::Stack,
};

/// Back-fills a Prometheus with many tenants, and asks it again and again what a dashboard asks.
#[derive(Parser)]
#[command(name = "bench-dashboards", version)]
struct Arguments {
    /// How many tenants there are
    #[arg(long, default_value_t = 1000)]
    tenants: usize,
    /// How many hours of them
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    hours: u64,
    /// How often each query is asked
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The uid of the dashboard
    #[arg(long, default_value = "agent-overview")]
    dashboard: String,
    /// What 95 of 100 answers must not take longer than
    #[arg(long, default_value = "200ms", value_parser = humantime::parse_duration)]
    bound: Duration,
}

/// What the overview would ask for its P95 if nothing were recorded.
const UNRECORDED: &str = "histogram_quantile(0.95, sum by (le) (rate(agent_request_duration_seconds_bucket{tenant_id=~\".*\"}[5m])))";

fn main() -> ExitCode {
    let arguments = command_line::parse::<Arguments>();
    let _ = rustls::crypto::ring::default_provider().install_default();
    match bench(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => command_line::fail::<Arguments>(1, &error),
    }
}

#[allow(clippy::print_stdout)] // It is what a bench is run for.
fn bench(arguments: &Arguments) -> Result<bool, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dashboards = load(&repository.join("grafana/dashboards"))?;
    let known = dashboards.iter().find(|dashboard| dashboard.uid() == arguments.dashboard);
    let dashboard = known.ok_or(format!("there is no dashboard {}", arguments.dashboard))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
    let many = Many::of(&repository, arguments.tenants, arguments.hours, now, &|said| println!("{said}"))?;
    let mut stack = Stack::from_env();
    stack.prometheus.clone_from(&many.url);
    let asking = Asking::of(&stack, sources(&str::to_owned), false);
    println!("{:<46} {:>8} {:>8} {:>8} {:>8}", "query", "series", "p50 ms", "p95 ms", "max ms");
    let mut well = true;
    for range in [Duration::from_hours(1), Duration::from_hours(arguments.hours)] {
        // Up to the last sample that was back-filled.
        let when = When { from: now - 60 - range.as_secs(), to: now - 60, points: 600 };
        let mut all = Vec::new();
        println!("{} of the last {}", dashboard.uid(), humantime::format_duration(range));
        for (query, choice) in of_prometheus(&asking, dashboard)? {
            let (series, took) = asked(&asking, &query, &choice, when, arguments.rounds)?;
            println!("{}", line(&format!("  {} {}", query.title, query.reference), series, &took));
            all.extend(took);
        }
        println!("{}", line("  all of them", 0, &all));
        well &= percentile(&all, 95) <= arguments.bound;
        let unrecorded = unrecorded(&asking, dashboard);
        if let Some(query) = unrecorded {
            let (series, took) = asked(&asking, &query, &Choice::new(), when, 3)?;
            println!("{}", line("  P95 if nothing were recorded", series, &took));
        }
    }
    let verdict = if well { "within" } else { "NOT within" };
    println!("95 of 100 answers are {verdict} {}", humantime::format_duration(arguments.bound));
    Ok(well)
}

/// What it asks of Prometheus, for all tenants.
fn of_prometheus(asking: &Asking<'_>, dashboard: &Dashboard) -> Result<Vec<(Query, Choice)>, String> {
    let queries =
        dashboard.queries().into_iter().filter(|query| asking.source(query) == Some(Source::Prometheus));
    let choice = choose(asking, dashboard, false, &mut |_, _, _| {})?;
    Ok(queries.filter(|query| query.kind != "alertlist").map(|query| (query, choice.clone())).collect())
}

fn unrecorded(asking: &Asking<'_>, dashboard: &Dashboard) -> Option<Query> {
    let mut query =
        dashboard.queries().into_iter().find(|query| asking.source(query) == Some(Source::Prometheus))?;
    query.json = serde_json::json!({"expr": UNRECORDED, "instant": false});
    Some(query)
}

fn asked(
    asking: &Asking<'_>,
    query: &Query,
    choice: &Choice,
    when: When,
    rounds: u32,
) -> Result<(usize, Vec<Duration>), String> {
    let mut series = 0;
    let mut took = Vec::new();
    for _ in 0..rounds {
        let time;
        (series, time) = if query.asker == Asker::Variable {
            asking.values(query, choice).map(|(values, time)| (values.len(), time))?
        } else {
            asking.ask(query, choice, when).map(|(data, time)| (data.series, time))?
        };
        took.push(time);
    }
    Ok((series, took))
}

fn percentile(took: &[Duration], of_hundred: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort();
    sorted[(sorted.len() * of_hundred).div_ceil(100).saturating_sub(1)]
}

fn line(what: &str, series: usize, took: &[Duration]) -> String {
    let ms = |of_hundred| percentile(took, of_hundred).as_secs_f64() * 1000.0;
    format!("{what:<46} {series:>8} {:>8.1} {:>8.1} {:>8.1}", ms(50), ms(95), ms(100))
}
