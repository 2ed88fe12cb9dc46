//! `deploy/elasticsearch-cluster/`: three nodes with the very files, each in a container and on an address of its own, written to
//! without a break while one of them is gone, and then two.

mod nodes;
mod writers;

use std::{
    io::{Write as _, stdout},
    path::Path,
    time::Instant,
};

use stack_tests::wait;

use nodes::{Cluster, NODES, PATIENCE};
use writers::Writers;

/// How many batches each writer has to bring home while a node is gone.
const BATCHES: usize = 5;

pub(crate) fn lose_nothing(repository: &Path) -> Result<(), String> {
    let begun = Instant::now();
    let cluster = Cluster::start(repository)?;
    cluster.gives_up_connections_soon()?;
    let writers = Writers::start(cluster.nodes());
    writers.go_on(BATCHES)?;
    cluster.is(NODES[0], "green", 3)?;
    for index in writers.indices() {
        cluster.copies_are_apart(index)?;
    }
    tell(&format!("each index on two of them after {} s", begun.elapsed().as_secs()));

    let master = cluster.master(NODES[0])?;
    let [follower, other] = without(&[master])[..] else { return Err(format!("{master} is no node")) };
    let killed = |gone: &str| cluster.docker("kill", &[gone]);
    let started = |gone: &str| cluster.docker("start", &[gone]);
    one_gone(&cluster, &writers, "a follower killed", follower, killed, started)?;
    let cut_off = |gone: &str| cluster.cut_off(gone);
    let connected = |gone: &str| cluster.connect(gone);
    one_gone(&cluster, &writers, "a follower cut off", other, cut_off, connected)?;
    let master = cluster.master(NODES[0])?;
    one_gone(&cluster, &writers, "the master killed", master, killed, started)?;

    two_gone(&cluster, &writers)?;

    let acknowledged = writers.stop()?;
    wait::until("a refresh", PATIENCE, || cluster.refresh())?;
    for (stream, ids) in &acknowledged {
        cluster.has_all(stream, ids)?;
        cluster.copies_are_alike(stream.index)?;
    }
    let documents: usize = acknowledged.iter().map(|(_, ids)| ids.len()).sum();
    let took = begun.elapsed().as_secs();
    tell(&format!("{documents} documents acknowledged, none of them missing, within {took} s"));
    Ok(())
}

/// Reads and writes go on without it, and the cluster is whole again once it is back.
fn one_gone(
    cluster: &Cluster,
    writers: &Writers,
    what: &str,
    gone: &str,
    leave: impl Fn(&str) -> Result<(), String>,
    come_back: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let left = without(&[gone]);
    writers.forget_pauses();
    leave(gone)?;
    for node in &left {
        cluster.is(node, "yellow", 2).map_err(|why| format!("{what}: {why}"))?;
        // One that was the master is no longer: these two have agreed on another, or kept theirs.
        if cluster.master(node)? == gone {
            return Err(format!("{what}: {gone} is still {node}'s master"));
        }
    }
    writers.go_on(BATCHES).map_err(|why| format!("{what}: {why}"))?;
    for node in &left {
        writers.read_back(node).map_err(|why| format!("{what}: {why}"))?;
        cluster.is_found_by_name(node).map_err(|why| format!("{what}: {why}"))?;
    }
    let pause = writers.longest_pause();
    come_back(gone)?;
    for node in NODES {
        cluster.is(node, "green", 3).map_err(|why| format!("{what}, and back: {why}"))?;
    }
    tell(&format!("{what}: the longest pause of a writer was {:.1} s", pause.as_secs_f64()));
    Ok(())
}

/// One of three is no majority: it acknowledges nothing, and the three go on where they were.
fn two_gone(cluster: &Cluster, writers: &Writers) -> Result<(), String> {
    let master = cluster.master(NODES[0])?;
    let [first, last] = without(&[master])[..] else { return Err(format!("{master} is no node")) };
    cluster.docker("kill", &[master, first])?;
    cluster.has_no_master(last)?;
    let before = writers.acknowledged();
    writers.are_refused(last, 2)?;
    let since = writers.acknowledged();
    if before != since {
        return Err(format!("one node of three acknowledged documents: {before:?}, then {since:?}"));
    }
    cluster.docker("start", &[master, first])?;
    for node in NODES {
        cluster.is(node, "green", 3).map_err(|why| format!("two gone, and back: {why}"))?;
    }
    writers.go_on(BATCHES).map_err(|why| format!("two gone, and back: {why}"))
}

fn without(gone: &[&str]) -> Vec<&'static str> {
    NODES.into_iter().filter(|node| !gone.contains(node)).collect()
}

/// Figures are for whoever reads the log.
fn tell(what: &str) {
    let _ = writeln!(stdout(), "three Elasticsearch nodes: {what}");
}
