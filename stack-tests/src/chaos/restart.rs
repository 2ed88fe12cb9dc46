//! All containers are stopped and started again, as when their machine is: in whatever order.

use std::{thread, time::Duration};

use super::{
    Chaos, LOST,
    judgement::{PROMETHEUS_LOOKS, Promise, SCRAPE_LATE, Seen, Told},
    load::{Epoch, now},
    parts::{PARTS, Role},
};
use crate::{
    containers::Containers,
    drill::faults::{Fault, containers},
    keepsakes::Keepsakes,
};

/// Java starts slowly, and here all at once.
const WITHIN: Duration = Duration::from_mins(5);

/// Stops all containers, and starts them.
pub(super) fn of_the_stack(chaos: &Chaos<'_>, epoch: Epoch) -> Result<(Seen, Promise), String> {
    let containers = containers(&chaos.drill.stack)?;
    let services = containers.services()?;
    let ids = services.iter().map(|service| containers.id(service)).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    anew(chaos, epoch, || {
        let stopped = Fault::new(|| Containers::docker(&[&["start"], &ids[..]].concat()).map(drop));
        Containers::docker(&[&["stop"], &ids[..]].concat())?;
        chaos.drill.note("restart stack", "all stopped");
        stopped.off()
    })
}

/// Has everything begin anew under load, and looks for what was kept before.
pub(super) fn anew(
    chaos: &Chaos<'_>,
    epoch: Epoch,
    start: impl FnOnce() -> Result<(), String> + Send,
) -> Result<(Seen, Promise), String> {
    let (drill, stack) = (chaos.drill, &chaos.drill.stack);
    let containers = containers(stack)?;
    let keepsakes = Keepsakes::leave(stack)?;
    let before = chaos.before(epoch)?;
    let began = now();
    let both = ["example-agent", "prometheus"];
    let is_seen = || both.iter().try_for_each(|service| containers.is_well(service));
    // What is built anew is down for a moment only.
    let mut gone = None;
    thread::scope(|scope| {
        let starting = scope.spawn(start);
        while !starting.is_finished() {
            if gone.is_none() && is_seen().is_err() {
                gone = Some(now());
            }
            thread::sleep(Duration::from_millis(300));
        }
        starting.join().unwrap_or_else(|_| Err("starting it has panicked".into()))
    })?;
    let ended = now();
    drill.note("stack", "all started");
    let services = containers.services()?;
    let mut there = None;
    let well = drill.wait("all well again", LOST, || {
        is_seen()?;
        there.get_or_insert_with(now);
        services.iter().try_for_each(|service| containers.is_well(service))?;
        let mut parts = PARTS.iter().filter(|part| services.iter().any(|service| service == part.service));
        parts.try_for_each(|part| chaos.works(part, ended))
    });
    let well = well.map(|()| now() - ended);
    let there = there.unwrap_or_else(now);
    let outage = there - gone.unwrap_or(there);
    let promise = Promise {
        role: Role::Serves,
        unseen: true,
        scrape_late: Some(chaos.scrape + SCRAPE_LATE + PROMETHEUS_LOOKS),
        lines: false,
        spans: true,
        within: WITHIN.as_secs_f64(),
    };
    let seen = chaos.seen(epoch, &before, began, None, &promise)?;
    let lost = keepsakes.lost(stack);
    let well = if lost.is_empty() { well } else { Err(format!("lost: {}", lost.join("; "))) };
    keepsakes.remove(stack)?;
    let told = Told::NotDue("whoever would tell starts too".into());
    Ok((Seen { outage, told, well, ..seen }, promise))
}
