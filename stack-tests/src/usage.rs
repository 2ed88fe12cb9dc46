//! What processes take, as the kernel counts it.

use std::{fs, time::Duration};

/// The kernel counts processor time in hundredths of a second, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// In user and kernel, since the processes began.
    pub cpu: Duration,
    /// Bytes they hold at the moment.
    pub memory: u64,
}

struct Process {
    pid: u64,
    parent: u64,
    ticks: u64,
}

impl Usage {
    /// Of a process and all that descend from it.
    ///
    /// # Errors
    /// That there is no such process, or no `/proc`.
    pub fn of(pid: u64) -> Result<Self, String> {
        let folders = fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?.flatten();
        let all: Vec<_> = folders
            .filter_map(|folder| read(&fs::read_to_string(folder.path().join("stat")).ok()?))
            .collect();
        let mut family = vec![pid];
        let mut usage = Self::default();
        let mut next = 0;
        while let Some(pid) = family.get(next).copied() {
            next += 1;
            family.extend(all.iter().filter(|process| process.parent == pid).map(|process| process.pid));
            if let Some(process) = all.iter().find(|process| process.pid == pid) {
                usage.cpu += Duration::from_secs_f64(process.ticks as f64 / TICKS_PER_SECOND);
                usage.memory += memory(pid);
            } else if next == 1 {
                return Err(format!("there is no process {pid}"));
            }
        }
        Ok(usage)
    }
}

/// A line of `/proc/PID/stat`. The name in brackets may hold anything.
fn read(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let fields: Vec<_> = rest[rest.rfind(") ")? + 2..].split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process { pid: pid.parse().ok()?, parent: number(1)?, ticks: number(11)? + number(12)? })
}

fn memory(pid: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_may_hold_brackets_and_spaces() {
        let read = read("42 (a) (b c) S 7 42 42 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 9 1 2").unwrap();
        assert_eq!((read.pid, read.parent, read.ticks), (42, 7, 300));
        assert!(super::read("42 (a").is_none());
    }

    #[test]
    fn what_a_child_takes_counts_too() {
        // The shell waits for one that loops: all of the time is the child's.
        let mut shell = Command::new("sh")
            .args(["-c", "(while :; do :; done) & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let used = crate::wait::until("the child has used some time", crate::wait::SOON, || {
            let usage = Usage::of(shell.id().into())?;
            if usage.cpu > Duration::from_millis(100) { Ok(usage) } else { Err(format!("{usage:?}")) }
        });
        let mut child = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut child)
            .unwrap();
        let _ = Command::new("kill").arg(child.trim()).status();
        let _ = shell.kill();
        let _ = shell.wait();
        assert!(used.unwrap().memory > 0);
        assert!(Usage::of(u64::from(u32::MAX)).is_err());
    }
}
