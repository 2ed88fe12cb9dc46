//! The fault suite: each part of a running stack is killed, paused, slowed and cut off under load, and more besides. Of each it is
//! counted what the users saw, what was lost, whether people were told, and how long it took until all was well again.

mod disk;
mod evidence;
mod faults;
mod gaps;
pub mod judgement;
pub mod lines;
pub mod load;
mod parts;
pub mod plan;
mod restart;
mod skew;
pub mod table;
mod telling;
mod upgrade;
mod users;

use std::{collections::BTreeMap, thread, time::Duration};

use evidence::Before;
use judgement::{PROMETHEUS_LOOKS, Promise, SCRAPE_LATE, Seen, judge};
use lines::Cut;
use load::{CALM, Epoch, Load, Moment, now};
use parts::{Part, Role, part};
use plan::{Case, HOLD, Hold, Kind};
use table::Row;
use telling::Telling;
use users::Users;

use crate::{
    containers::Containers,
    drill::{Drill, faults as shared},
    stack::{Stack, is_inside},
};

pub use parts::PARTS;

/// Requests that nobody looks at: the load ends.
const AFTERWARDS: Epoch = Epoch(u16::MAX);
/// How long a part gets until it is called lost, whatever it has promised.
const LOST: Duration = Duration::from_mins(6);
/// Requests while nothing is broken, to compare with, before the first fault.
const CALM_REQUESTS: usize = 100;

/// A stack under load whose parts are broken one after the other.
pub struct Chaos<'d> {
    drill: &'d Drill,
    load: Load,
    /// Seconds between two scrapes of the agent.
    scrape: f64,
    /// What each container was like before the first fault.
    states: BTreeMap<String, String>,
    /// What an upgrade begins with: a commit, a branch or a tag; by default the newest tag, or the commit before.
    pub reference: Option<String>,
}

impl<'d> Chaos<'d> {
    /// Begins the load and lets it run for a while, to have something to compare with.
    ///
    /// # Errors
    /// That the stack does not work without any fault.
    pub fn begin(drill: &'d Drill) -> Result<Self, String> {
        let scrape = gaps::interval(&drill.stack, "example-agent")?.as_secs_f64();
        let states = states(shared::containers(&drill.stack)?)?;
        let load = Load::begin(&drill.stack.agent)?;
        let chaos = Self { drill, load, scrape, states, reference: None };
        drill.wait("a calm load", Duration::from_mins(2), || {
            let calm = Users::of(&chaos.load.asked(CALM));
            let ended = calm.answered + calm.rejected + calm.failed();
            if ended >= CALM_REQUESTS { Ok(()) } else { Err(format!("{ended} requests")) }
        })?;
        Ok(chaos)
    }

    fn stack(&self) -> &'d Stack {
        &self.drill.stack
    }

    /// Runs the faults one after the other, and at last looks at the calm between them. Ctrl-C ends it after the present one,
    /// which is made whole.
    pub fn run(&self, cases: &[Case]) -> Vec<Row> {
        let mut rows = Vec::new();
        for (number, case) in (1..).zip(cases) {
            if self.drill.is_ended() {
                break;
            }
            let seen = self.fault(case, Epoch(number));
            let broken = match &seen {
                Ok((seen, promise)) => judge(seen, promise),
                Err(_) => Vec::new(),
            };
            let row = Row { name: case.to_string(), seen: seen.map(|(seen, _)| seen), broken };
            let failure = row.failure().map(|why| format!("FAILED: {why}"));
            self.drill.note(&row.name, failure.as_deref().unwrap_or("all goals kept"));
            rows.push(row);
        }
        if !self.drill.is_ended() {
            rows.push(self.calm(cases));
        }
        rows
    }

    /// One fault, from quiet to well.
    fn fault(&self, case: &Case, epoch: Epoch) -> Result<(Seen, Promise), String> {
        match case.kind {
            Kind::Full if case.target == plan::LOG_DISK => return disk::full(self),
            Kind::Skew => return skew::of_a_caller(self, epoch),
            Kind::Restart => return restart::of_the_stack(self, epoch),
            Kind::Upgrade => return upgrade::of_a_stack(self),
            Kind::Kill | Kind::Pause | Kind::Slow | Kind::Partition | Kind::Full => {}
        }
        let part = part(case.target).ok_or(format!("no part {}", case.target))?;
        let mut telling = Telling::of(self.drill, case.kind, part.alert_of(case.kind))?;
        let before = self.before(epoch)?;
        let began = now();
        let (fault, at) = faults::of(self.drill, case.kind, part.service)?;
        self.drill.note(&case.to_string(), "fault on");
        if case.kind != Kind::Kill {
            self.hold(case.hold, &mut telling);
        }
        let ended = if case.kind == Kind::Kill { at } else { now() };
        let undone = fault.off();
        self.drill.note(&case.to_string(), "fault off");
        undone?;
        // One that was killed is there again once it is well; the others once the fault is off.
        let mut there = ended.max(at);
        let mut was_well = case.kind != Kind::Kill;
        let well = self.drill.wait(&format!("{} well again", part.service), LOST, || {
            telling.look();
            shared::containers(self.stack())?.is_well(part.service)?;
            if !was_well {
                (there, was_well) = (now(), true);
            }
            self.works(part, ended)
        });
        let well = well.map(|()| now() - ended);
        let agent = part.role == Role::Serves;
        let cut = matches!(case.kind, Kind::Kill | Kind::Partition);
        let cut = (agent && cut).then_some(Cut { at, killed: case.kind == Kind::Kill });
        let told = telling.outcome(there - began);
        let promise = self.promise(case.kind, part);
        let seen = self.seen(epoch, &before, began, cut, &promise)?;
        Ok((Seen { outage: there - began, told, well, ..seen }, promise))
    }

    /// Notes how things are, and has the requests that are due from here on belong to a fault.
    fn before(&self, epoch: Epoch) -> Result<Before, String> {
        let before = Before::look(self.stack())?;
        self.load.enter(epoch);
        // Those of before must not be hit: they are nobody's then.
        self.load.settle(CALM);
        Ok(before)
    }

    /// Waits until people have been told, or for the time of the case.
    fn hold(&self, hold: Hold, telling: &mut Telling<'_>) {
        let began = now();
        let limit = match hold {
            Hold::For(time) => time,
            Hold::UntilTold if telling.is_open() => telling.limit(),
            Hold::UntilTold => HOLD,
        };
        let until_told = hold == Hold::UntilTold && telling.is_open();
        while now() - began < limit.as_secs_f64() && !self.drill.is_ended() {
            telling.look();
            if until_told && !telling.is_open() {
                return;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Whether all that a part does works, by what has happened since a moment.
    fn works(&self, part: &Part, since: Moment) -> Result<(), String> {
        let stack = self.stack();
        let answer = stack.fresh_query("globex")?;
        if answer.status != 200 {
            return Err(format!("a question is answered with {}", answer.status));
        }
        // The agent's own too, so that its gap is over.
        for job in [part.scraped.then_some(part.service), Some("example-agent")].into_iter().flatten() {
            let up = format!("up{{job=\"{job}\"}}");
            let scraped = format!("count((timestamp({up}) > {since}) and {up} == 1) == count({up})");
            if stack.promql(&scraped)?.is_empty() {
                return Err(format!("{job} is not scraped"));
            }
        }
        (part.works)(stack)
    }

    /// What was seen since the fault began, once its requests have ended.
    fn seen(
        &self,
        epoch: Epoch,
        before: &Before,
        began: Moment,
        cut: Option<Cut>,
        promise: &Promise,
    ) -> Result<Seen, String> {
        let ended = now();
        self.load.enter(CALM);
        let asked = self.load.settle(epoch);
        let calm_p95 = Users::of(&self.load.asked(CALM)).p95;
        let after = before.compare(self.drill, &asked, &self.load.prefix(epoch), cut, promise)?;
        let seconds = (now() - began) as u64 + 60;
        let scrapes = gaps::scrapes(self.stack(), "example-agent", seconds)?;
        Ok(Seen {
            users: Users::of(&asked),
            calm_p95,
            account: after.account,
            gaps: after.gaps,
            lines_dropped: after.lines_dropped,
            uncounted: 0,
            spans_dropped: after.spans_dropped,
            traces_missing: after.traces_missing,
            unshipped: after.unshipped,
            gap: gaps::longest(&scrapes, began, ended),
            outage: 0.0,
            told: judgement::Told::NotDue(String::new()),
            well: Ok(0.0),
        })
    }

    fn promise(&self, kind: Kind, part: &Part) -> Promise {
        let unseen = matches!(part.service, "example-agent" | "prometheus");
        let starts = part.service == "prometheus" && kind == Kind::Kill;
        // With Jaeger its queue for Elasticsearch is lost, and what is on the way to it.
        let spans = part.service == "jaeger" || part.role == Role::Serves && kind != Kind::Pause;
        Promise {
            role: part.role,
            unseen,
            scrape_late: Some(self.scrape + SCRAPE_LATE + if starts { PROMETHEUS_LOOKS } else { 0.0 }),
            lines: false,
            spans,
            within: part.within.as_secs_f64(),
        }
    }

    /// Between the faults nothing may have gone wrong either, and at last everything is as it was and quiet.
    fn calm(&self, cases: &[Case]) -> Row {
        let name = "calm, between them".to_owned();
        self.load.enter(AFTERWARDS);
        let asked = self.load.settle(CALM);
        let users = Users::of(&asked);
        let mut broken = Vec::new();
        if users.failed() > 0 {
            broken.push(format!("users saw it: {}", users.kinds()));
        }
        broken.extend(self.changed().err());
        broken.extend(self.quiet(cases).err());
        let account = Before::account(self.stack(), &asked, &self.load.prefix(CALM), None);
        let seen = account.map(|account| {
            broken.extend((!account.is_whole()).then(|| "lines or events were lost".to_owned()));
            Seen {
                calm_p95: users.p95,
                users,
                account,
                gaps: 0,
                lines_dropped: 0.0,
                uncounted: 0,
                spans_dropped: 0.0,
                traces_missing: None,
                unshipped: None,
                gap: None,
                outage: 0.0,
                told: judgement::Told::NotDue("nothing is broken".into()),
                well: Ok(0.0),
            }
        });
        Row { name, seen, broken }
    }

    /// Whether the containers are as they were.
    fn changed(&self) -> Result<(), String> {
        let containers = shared::containers(self.stack())?;
        self.drill.wait("all as it was", LOST, || {
            let now = states(containers)?;
            let differ = self.states.iter().find(|(service, state)| now.get(*service) != Some(*state));
            match differ {
                None => containers.services()?.iter().try_for_each(|service| containers.healthy(service)),
                Some((service, state)) => Err(format!("{service} was {state}, is {:?}", now.get(service))),
            }
        })
    }

    /// Waits until none of the faults' alerts fires any more.
    fn quiet(&self, cases: &[Case]) -> Result<(), String> {
        let alerts = cases.iter().filter_map(|case| part(case.target)?.alert_of(case.kind).as_ref().ok());
        let limit = self.drill.scaled(Duration::from_mins(20));
        alerts.into_iter().try_for_each(|expected| {
            self.drill.wait(&format!("{} over", expected.alert), limit, || self.drill.is_quiet(expected))
        })
    }

    /// Why a case cannot be run against this stack, if so.
    pub fn obstacle(stack: &Stack, case: &Case) -> Option<String> {
        let Some(containers) = &stack.containers else {
            return Some("STACK_COMPOSE_PROJECT is not set".into());
        };
        if case.kind == Kind::Upgrade && is_inside() {
            return Some("it builds an earlier version beside this one: KIT_NATIVE=1 make chaos FAULT=upgrade, with Rust".into());
        }
        let part = part(case.target)?;
        if let Some(reason) = stack.missing.get(part.service) {
            return Some(format!("not there: {reason}"));
        }
        match containers.services() {
            Ok(services) if services.iter().any(|service| service == part.service) => None,
            Ok(_) => Some(format!("no {} in this stack", part.service)),
            Err(error) => Some(error),
        }
    }
}

fn states(containers: &Containers) -> Result<BTreeMap<String, String>, String> {
    let services = containers.services()?;
    services
        .into_iter()
        .map(|service| faults::state(containers, &service).map(|state| (service, state)))
        .collect()
}
