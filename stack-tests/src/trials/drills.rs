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

pub(super) const CASES: &[Case] =
    &[Case::new("drills::ctrl_c_makes_whole_what_was_broken", &[Need::Containers], ctrl_c_makes_whole)];

fn faults(stack: &Stack) -> Result<Value, String> {
    stack.get(&format!("{}/faults", stack.agent_admin))
}

/// `make drill`, as a user calls it and as a terminal ends it.
fn ctrl_c_makes_whole(stack: &Stack) -> Result<(), String> {
    let whole = faults(stack)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../setup/drill.sh");
    let mut drill = Command::new(script)
        .arg("errors")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| format!("drill.sh: {e}"))?;
    let broken_off = break_off(stack, &mut drill, &whole);
    if broken_off.is_err() {
        let _ = drill.kill();
        let _ = drill.wait();
    }
    broken_off?;
    expect("faults", faults(stack)?, whole)?;
    until("requests succeed again", SOON, || expect("status", stack.fresh_query("acme")?.status, 200))
}

fn break_off(stack: &Stack, drill: &mut Child, whole: &Value) -> Result<(), String> {
    let mut said = BufReader::new(drill.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    while !line.contains("fault on") {
        line.clear();
        let read = said.read_line(&mut line).map_err(|e| e.to_string())?;
        ensure(read > 0, || "the drill has ended before its fault was on".into())?;
    }
    until("the fault is there", SOON, || ensure(faults(stack)? != *whole, || "no fault".into()))?;
    expect("error_ratio", faults(stack)?["error_ratio"].as_f64(), Some(1.0))?;
    // drill.sh has become the drill itself.
    let sent = Command::new("kill").args(["-s", "INT", &drill.id().to_string()]).status();
    ensure(sent.is_ok_and(|status| status.success()), || "kill does not work".into())?;
    let mut rest = String::new();
    said.read_to_string(&mut rest).map_err(|e| e.to_string())?;
    let status = drill.wait().map_err(|e| e.to_string())?;
    expect(&format!("exit code after {rest}"), status.code(), Some(130))?;
    ensure(rest.contains("fault off") && rest.contains("broken off"), || format!("it said {rest}"))
}
