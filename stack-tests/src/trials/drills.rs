//! Drills themselves: what they break they make whole, also when somebody loses patience.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{Case, Need, ensure, expect};
use crate::{
    stack::Stack,
    wait::{SOON, until},
};

pub(super) const CASES: &[Case] = &[
    Case::new("drills::ctrl_c_makes_whole_what_was_broken", &[Need::Containers], ctrl_c_makes_whole),
    Case::new("drills::ctrl_c_ends_a_fault_under_load", &[Need::Containers], ctrl_c_ends_a_fault),
];

fn faults(stack: &Stack) -> Result<Value, String> {
    stack.get(&format!("{}/faults", stack.agent_admin))
}

/// `make drill`, as a user calls it and as a terminal ends it.
fn ctrl_c_makes_whole(stack: &Stack) -> Result<(), String> {
    let whole = faults(stack)?;
    let rest = broken_off("drill.sh", &["errors"], || {
        let now = faults(stack)?;
        ensure(now != whole, || "no fault".into())?;
        expect("error_ratio", now["error_ratio"].as_f64(), Some(1.0))
    })?;
    ensure(rest.contains("broken off"), || format!("it said {rest}"))?;
    expect("faults", faults(stack)?, whole)?;
    until("requests succeed again", SOON, || expect("status", stack.fresh_query("acme")?.status, 200))
}

/// The same of `make chaos`, whose fault is the engine's.
fn ctrl_c_ends_a_fault(stack: &Stack) -> Result<(), String> {
    let containers = stack.containers.as_ref().expect("needed");
    let state = || Ok::<_, String>(containers.inspect("maildev")?["State"]["Status"].clone());
    broken_off("chaos.sh", &["--fault", "pause", "--service", "maildev"], || {
        expect("state", state()?, "paused".into())
    })?;
    expect("state", state()?, "running".into())
}

/// What a script says after Ctrl-C, which comes once its fault is on and `is_there`.
fn broken_off(
    script: &str,
    arguments: &[&str],
    is_there: impl Fn() -> Result<(), String>,
) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../setup").join(script);
    let mut child = Command::new(path)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| format!("{script}: {e}"))?;
    let rest = break_off(&mut child, is_there);
    if rest.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    rest
}

fn break_off(child: &mut Child, is_there: impl Fn() -> Result<(), String>) -> Result<String, String> {
    let mut said = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    while !line.contains("fault on") {
        line.clear();
        let read = said.read_line(&mut line).map_err(|e| e.to_string())?;
        ensure(read > 0, || "it has ended before its fault was on".into())?;
    }
    until("the fault is there", SOON, is_there)?;
    // The script has become the program itself.
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    ensure(sent.is_ok_and(|status| status.success()), || "kill does not work".into())?;
    let mut rest = String::new();
    said.read_to_string(&mut rest).map_err(|e| e.to_string())?;
    let status = child.wait().map_err(|e| e.to_string())?;
    expect(&format!("exit code after {rest}"), status.code(), Some(130))?;
    ensure(rest.contains("fault off"), || format!("it said {rest}"))?;
    Ok(rest)
}
