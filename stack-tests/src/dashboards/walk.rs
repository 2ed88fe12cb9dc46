//! The walk through all dashboards: no dead panel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use super::{
    Asker, Dashboard, Query,
    ask::{Asking, Data, Source, When},
    metrics::{named, teller},
    text,
    variables::{self, Choice},
};
use crate::stack::Stack;

/// People notice that they wait.
const SLOW: Duration = Duration::from_millis(200);
/// One slow answer can be the machine's; three are the query's.
const TRIES: usize = 3;

/// How to walk.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How far back to look; without it, as far as the dashboard does when it is opened.
    pub last: Option<Duration>,
    /// All has happened that panels show: those that may be empty must not be.
    pub drilled: bool,
}

/// What became of a query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It has data.
    Data,
    /// It has none, and says when that is right.
    RightlyEmpty,
    /// Nobody here could tell: the service is not there.
    NotHad(String),
    /// What is wrong.
    Wrong(String),
}

/// A query and its answer.
pub struct Asked {
    /// What was asked.
    pub query: Query,
    /// How much came back.
    pub data: Data,
    /// How long it took.
    pub took: Duration,
    /// What that means.
    pub outcome: Outcome,
}

/// Asks every query of some dashboards. `absent` are services that are not there, with the reason.
pub fn walk(
    asking: &Asking<'_>,
    dashboards: &[Dashboard],
    manner: Manner,
    absent: &BTreeMap<String, String>,
) -> Vec<Asked> {
    dashboards.iter().flat_map(|dashboard| walk_one(asking, dashboard, manner, absent)).collect()
}

fn walk_one(
    asking: &Asking<'_>,
    dashboard: &Dashboard,
    manner: Manner,
    absent: &BTreeMap<String, String>,
) -> Vec<Asked> {
    let queries = dashboard.queries();
    let mut all: Vec<Asked> = Vec::new();
    let chosen = choose(asking, dashboard, false, &mut |query, data, took| {
        all.push(Asked { query: query.clone(), data, took, outcome: judged(query, data, took, manner) });
    });
    let chosen = chosen.and_then(|first| Ok((first, choose(asking, dashboard, true, &mut |_, _, _| {})?)));
    let (first, narrowed) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            // Nothing of the dashboard can be asked.
            let wrong = |query| Asked {
                query,
                data: Data::default(),
                took: Duration::ZERO,
                outcome: Outcome::Wrong(error.clone()),
            };
            return queries.into_iter().map(wrong).collect();
        }
    };
    let when = When::last(manner.last.unwrap_or_else(|| range(dashboard)));
    let others = queries.into_iter().filter(|query| query.asker != Asker::Variable);
    all.extend(others.map(|query| ask(asking, query, (&first, &narrowed), when, manner, absent)));
    too_many(&mut all);
    all
}

/// What is chosen of each variable, one after the other; `tell` hears what each query gave.
///
/// # Errors
/// What a source says, or that there is nothing to choose from.
pub fn choose(
    asking: &Asking<'_>,
    dashboard: &Dashboard,
    narrow: bool,
    tell: &mut dyn FnMut(&Query, Data, Duration),
) -> Result<Choice, String> {
    let mut choice = Choice::new();
    for query in dashboard.queries().iter().filter(|query| query.asker == Asker::Variable) {
        let (values, took) = quickest(|| asking.values(query, &choice))?;
        tell(query, Data { series: values.len().min(1), rows: values.len(), exemplars: 0 }, took);
        choice.insert(query.title.clone(), variables::chosen(&query.json, &values, narrow)?);
    }
    Ok(choice)
}

/// How far back a dashboard looks when it is opened.
fn range(dashboard: &Dashboard) -> Duration {
    let from = text(&dashboard.json["time"], "from").trim_start_matches("now-");
    humantime::parse_duration(from).unwrap_or(Duration::from_hours(1))
}

fn ask(
    asking: &Asking<'_>,
    query: Query,
    (first, narrowed): (&Choice, &Choice),
    when: When,
    manner: Manner,
    absent: &BTreeMap<String, String>,
) -> Asked {
    if let Some(reason) = unanswerable(asking, &query, absent) {
        return Asked {
            query,
            data: Data::default(),
            took: Duration::ZERO,
            outcome: Outcome::NotHad(reason),
        };
    }
    let answer = quickest(|| asking.ask(&query, first, when)).and_then(|answer| {
        let missed = manner.drilled && answer.0.rows == 0;
        if missed { quickest(|| asking.ask(&finest(&query), first, when.every_second())) } else { Ok(answer) }
    });
    match answer {
        Ok((data, took)) => {
            let mut outcome = judged(&query, data, took, manner);
            // Of fewer tenants there may be nothing, but it must be no error.
            if first != narrowed
                && let Err(error) = asking.ask(&query, narrowed, when)
            {
                outcome = Outcome::Wrong(format!("with some chosen: {error}"));
            }
            Asked { query, data, took, outcome }
        }
        Err(error) => {
            Asked { query, data: Data::default(), took: Duration::ZERO, outcome: Outcome::Wrong(error) }
        }
    }
}

/// The same query with as many points as there are: what a drill brought about may be over before the panel's next point.
fn finest(query: &Query) -> Query {
    let mut finest = Query { points: None, ..query.clone() };
    if finest.json.get("expr").is_some() {
        finest.json["interval"] = "1s".into();
    }
    finest
}

/// Why nobody here could answer, if so.
fn unanswerable(asking: &Asking<'_>, query: &Query, absent: &BTreeMap<String, String>) -> Option<String> {
    let tellers: BTreeSet<&str> = match asking.source(query) {
        Some(Source::Elasticsearch { .. }) => BTreeSet::from(["elasticsearch"]),
        Some(Source::Jaeger) => BTreeSet::from(["jaeger"]),
        _ => named(text(&query.json, "expr")).iter().filter_map(|name| teller(name)).collect(),
    };
    tellers
        .into_iter()
        .find_map(|service| absent.get(service).map(|reason| format!("no {service}: {reason}")))
}

/// The first answer that is not slow, or the quickest of them.
fn quickest<T>(mut ask: impl FnMut() -> Result<(T, Duration), String>) -> Result<(T, Duration), String> {
    let mut best = ask()?;
    for _ in 1..TRIES {
        if best.1 <= SLOW {
            break;
        }
        let again = ask()?;
        if again.1 < best.1 {
            best = again;
        }
    }
    Ok(best)
}

fn judged(query: &Query, data: Data, took: Duration, manner: Manner) -> Outcome {
    if took > SLOW {
        return Outcome::Wrong(format!("the quickest of {TRIES} answers took {} ms", took.as_millis()));
    }
    if data.rows == 0 {
        let may = query.rightly_empty && !manner.drilled;
        return if may { Outcome::RightlyEmpty } else { Outcome::Wrong("no data".into()) };
    }
    if query.json["exemplar"] == true && data.exemplars == 0 {
        return Outcome::Wrong("no exemplar leads to a trace".into());
    }
    Outcome::Data
}

/// How many lines, slices or rows a kind of panel can show so that they can be told apart.
fn room(kind: &str) -> usize {
    match kind {
        "stat" | "gauge" => 4,
        "piechart" => 12,
        "heatmap" | "bargauge" => 20,
        "table" => 60,
        _ => 40,
    }
}

fn too_many(all: &mut [Asked]) {
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    for asked in all.iter().filter(|asked| asked.query.reference != "threshold") {
        let of_panel = shown.entry(asked.query.title.clone()).or_default();
        // The queries of a table are its columns.
        *of_panel = if asked.query.kind == "table" {
            asked.data.series.max(*of_panel)
        } else {
            *of_panel + asked.data.series
        };
    }
    for asked in all.iter_mut().filter(|asked| asked.query.asker == Asker::Panel) {
        let (count, room) = (shown.get(&asked.query.title).copied().unwrap_or(0), room(&asked.query.kind));
        if count > room {
            asked.outcome =
                Outcome::Wrong(format!("{count} series, where a {} has room for {room}", asked.query.kind));
        }
    }
}

/// Services that are not there: what could not be had, and parts that were left out on purpose, which have no target.
///
/// # Errors
/// That Prometheus does not answer.
pub fn absent(stack: &Stack) -> Result<BTreeMap<String, String>, String> {
    let mut absent = stack.missing.clone();
    let jobs: BTreeSet<String> = stack
        .promql("group by (job) (up)")?
        .iter()
        .map(|series| text(&series["metric"], "job").to_owned())
        .collect();
    for (service, job) in [
        ("jaeger", "jaeger"),
        ("node-exporter", "node-exporter"),
        ("elasticsearch", "log-watch"),
        ("logstash", "log-watch"),
    ] {
        if !jobs.contains(job) {
            absent.entry(service.to_owned()).or_insert_with(|| format!("{job} is no target"));
        }
    }
    Ok(absent)
}

/// What was asked and what came back, a line for each query, and the sum.
pub fn table(all: &[Asked]) -> String {
    let mut lines = String::new();
    for asked in all {
        let Asked { query, data, took, outcome } = asked;
        let said = match outcome {
            Outcome::Data => "data".to_owned(),
            Outcome::RightlyEmpty => "empty, as it says".to_owned(),
            Outcome::NotHad(reason) => format!("not asked: {reason}"),
            Outcome::Wrong(problem) => format!("WRONG: {problem}"),
        };
        let what = format!("{} {}", query.title, query.reference);
        let _ = writeln!(
            lines,
            "{:<18} {:<44} {:<20} {:>4} series {:>6} rows {:>4} ms  {said}",
            query.dashboard,
            what.trim_end(),
            query.source,
            data.series,
            data.rows,
            took.as_millis()
        );
    }
    lines + &sum(all)
}

/// One line: how many panels, queries, and how many of them without data.
pub fn sum(all: &[Asked]) -> String {
    let panels: BTreeSet<_> = all
        .iter()
        .filter(|asked| asked.query.asker == Asker::Panel)
        .map(|asked| (&asked.query.dashboard, &asked.query.title))
        .collect();
    let count = |wanted: &dyn Fn(&Outcome) -> bool| all.iter().filter(|asked| wanted(&asked.outcome)).count();
    format!(
        "{} panels, {} queries: {} with data, {} without data, {} empty as they say, {} not asked",
        panels.len(),
        all.len(),
        count(&|outcome| *outcome == Outcome::Data),
        count(&|outcome| matches!(outcome, Outcome::Wrong(_))),
        count(&|outcome| *outcome == Outcome::RightlyEmpty),
        count(&|outcome| matches!(outcome, Outcome::NotHad(_))),
    )
}

/// As tests count: a query with data, or rightly without, has passed; those that nobody here could answer are skipped, each
/// by its name.
pub fn counts(all: &[Asked]) -> String {
    let mut lines = String::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for Asked { query, outcome, .. } in all {
        match outcome {
            Outcome::Data | Outcome::RightlyEmpty => passed += 1,
            Outcome::Wrong(_) => failed += 1,
            Outcome::NotHad(reason) => {
                skipped += 1;
                let name = format!("{}: {} {}", query.dashboard, query.title, query.reference);
                let _ = writeln!(lines, "skipped: panel {}: {reason}", name.trim_end());
            }
        }
    }
    format!("{lines}{passed} passed, {failed} failed, {skipped} skipped")
}

/// The lines of what is wrong, if anything is.
///
/// # Errors
/// Those lines.
pub fn all_well(all: &[Asked]) -> Result<(), String> {
    let wrong = all.iter().filter_map(|asked| match &asked.outcome {
        Outcome::Wrong(problem) => {
            let query = &asked.query;
            Some(format!("{}: {} {}: {problem}", query.dashboard, query.title, query.reference))
        }
        _ => None,
    });
    let wrong: Vec<_> = wrong.collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn query(json: Value, rightly_empty: bool) -> Query {
        Query {
            dashboard: "d".into(),
            asker: Asker::Panel,
            title: "t".into(),
            reference: "A".into(),
            kind: "stat".into(),
            source: "prometheus".into(),
            json,
            points: None,
            rightly_empty,
        }
    }

    const CALM: Manner = Manner { last: None, drilled: false };
    const DRILLED: Manner = Manner { last: None, drilled: true };
    const SOME: Data = Data { series: 1, rows: 1, exemplars: 0 };

    #[test]
    fn what_is_empty_is_wrong_unless_it_says_so_and_after_drills_always() {
        let wrong = Outcome::Wrong("no data".into());
        assert_eq!(judged(&query(json!({}), false), Data::default(), SLOW, CALM), wrong);
        assert_eq!(judged(&query(json!({}), true), Data::default(), SLOW, CALM), Outcome::RightlyEmpty);
        assert_eq!(judged(&query(json!({}), true), Data::default(), SLOW, DRILLED), wrong);
        assert_eq!(judged(&query(json!({}), false), SOME, SLOW, CALM), Outcome::Data);
    }

    #[test]
    fn what_is_slow_or_leads_to_no_trace_is_wrong() {
        let slow = judged(&query(json!({}), false), SOME, SLOW * 2, CALM);
        assert_eq!(slow, Outcome::Wrong("the quickest of 3 answers took 400 ms".into()));
        let untraced = judged(&query(json!({"exemplar": true}), false), SOME, SLOW, CALM);
        assert_eq!(untraced, Outcome::Wrong("no exemplar leads to a trace".into()));
    }

    #[test]
    fn more_than_a_panel_can_show_is_wrong() {
        let mut all: Vec<Asked> = [3, 2]
            .map(|series| {
                let data = Data { series, ..SOME };
                Asked { query: query(json!({}), false), data, took: SLOW, outcome: Outcome::Data }
            })
            .into();
        too_many(&mut all);
        assert_eq!(
            all_well(&all).unwrap_err().lines().next(),
            Some("d: t A: 5 series, where a stat has room for 4")
        );
    }

    #[test]
    fn what_nobody_could_answer_is_skipped_by_its_name() {
        let asked = |outcome| Asked { query: query(json!({}), false), data: SOME, took: SLOW, outcome };
        let all = [
            asked(Outcome::Data),
            asked(Outcome::Wrong("no data".into())),
            asked(Outcome::NotHad("no logstash: none here".into())),
        ];
        assert_eq!(
            counts(&all),
            "skipped: panel d: t A: no logstash: none here\n1 passed, 1 failed, 1 skipped"
        );
    }

    #[test]
    fn one_slow_answer_is_forgiven() {
        let mut answers = [SLOW * 2, SLOW].into_iter();
        assert_eq!(quickest(|| Ok(((), answers.next().expect("no third")))), Ok(((), SLOW)));
    }
}
