//! The server that is measured, as a process of its own: its CPU time, its memory, its threads and what it prints.
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{self, Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::http::{self, Connection};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
/// What stands in the lines of requests only.
const OF_A_REQUEST: &[u8] = b"\"request_id\":";

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    clock: ClockId,
    /// Its API.
    pub api: SocketAddr,
    /// Where its metrics are.
    pub admin: SocketAddr,
    /// What it prints.
    pub output: Output,
}

/// Ports that nobody has, each given once. They are below those that the kernel gives to whoever wants any: until a server
/// listens there, nobody else may get them.
pub fn free_ports<const N: usize>() -> io::Result<[SocketAddr; N]> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Each process begins elsewhere.
    let begin = (process::id() % 100) as u16 * 100;
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for port in &mut ports {
        *port = loop {
            let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % 10_000;
            let tried = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + number));
            match TcpListener::bind(tried) {
                Ok(_) => break tried,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        };
    }
    Ok(ports)
}

/// The agent's command, with these settings and no others.
pub fn agent(binary: &Path, [api, admin]: [SocketAddr; 2], settings: &[(&str, String)]) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("AGENT_API_ADDR", api.to_string()).env("AGENT_ADMIN_ADDR", admin.to_string());
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

impl Server {
    /// Starts an agent.
    pub fn agent(binary: &Path, settings: &[(&str, String)]) -> Result<Self, String> {
        let ports = free_ports().map_err(|e| format!("no free port: {e}"))?;
        Self::start(agent(binary, ports, settings), ports)
    }

    /// Starts a command that serves on these addresses, and waits until it does.
    pub fn start(command: Command, ports: [SocketAddr; 2]) -> Result<Self, String> {
        Self::start_until(command, ports, "/healthz")
    }

    /// The same for one whose health is elsewhere on the second address.
    pub fn start_until(
        mut command: Command,
        [api, admin]: [SocketAddr; 2],
        healthy: &str,
    ) -> Result<Self, String> {
        let name = command.get_program().display().to_string();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| format!("{name} cannot be started: {e}"))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let clock = nix::time::clock_getcpuclockid(pid).map_err(|e| format!("{name} has no clock: {e}"))?;
        let output = child.stdout.take().map(Output::read).unwrap_or_default();
        let mut server = Self { child, clock, api, admin, output };
        let begun = Instant::now();
        while server.get(admin, healthy).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                let mut why = String::new();
                let _ = server.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why));
                return Err(format!("{name} has ended: {status}: {}", why.trim()));
            }
            if begun.elapsed() > START_TIMEOUT {
                return Err(format!("{name} does not answer within {START_TIMEOUT:?}"));
            }
            thread::sleep(POLL);
        }
        Ok(server)
    }

    /// CPU time it has used so far, of all its threads, in user and kernel.
    pub fn cpu(&self) -> Duration {
        clock_gettime(self.clock).map_or(Duration::ZERO, Duration::from)
    }

    /// CPU time of each of its threads.
    pub fn cpu_by_thread(&self) -> BTreeMap<String, Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let time = |thread: fs::DirEntry| {
            let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanoseconds = times.split(' ').next()?.parse().ok()?;
            Some((thread.file_name().into_string().ok()?, Duration::from_nanos(nanoseconds)))
        };
        threads.filter_map(time).collect()
    }

    /// Memory it holds, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory it has held, in bytes.
    pub fn most_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
    }

    /// What it shows at a path.
    pub fn get(&self, address: SocketAddr, path: &str) -> io::Result<String> {
        let message = Connection::to(address, START_TIMEOUT)?.ask(&http::get(path))?;
        match message.status() {
            200 => Ok(String::from_utf8_lossy(&message.body).into_owned()),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    }

    /// The sum of all series of one of its metrics.
    pub fn metric(&self, name: &str) -> io::Result<f64> {
        let metrics = self.get(self.admin, "/metrics")?;
        let values = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        Ok(values.sum())
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(mut self) -> Result<(), String> {
        self.output.stalled.store(false, Ordering::SeqCst);
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).map_err(|e| format!("the server cannot be told to end: {e}"))?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server has ended: {status}")),
                _ => thread::sleep(POLL),
            }
        }
        Err(format!("the server has not ended within {STOP_TIMEOUT:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server prints, read as fast as it comes unless it is told to stall.
#[derive(Clone, Debug, Default)]
pub struct Output {
    stalled: Arc<AtomicBool>,
    lines: Arc<AtomicU64>,
}

impl Output {
    fn read(stdout: ChildStdout) -> Self {
        let output = Self::default();
        let Self { stalled, lines } = output.clone();
        thread::spawn(move || {
            let mut stdout = BufReader::with_capacity(64 << 10, stdout);
            let mut line = Vec::new();
            loop {
                while stalled.load(Ordering::SeqCst) {
                    thread::sleep(POLL);
                }
                line.clear();
                match stdout.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => break,
                    Ok(_) if line.windows(OF_A_REQUEST.len()).any(|window| window == OF_A_REQUEST) => {
                        lines.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(_) => {}
                }
            }
        });
        output
    }

    /// Stops reading, or goes on.
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
    }

    /// Lines of requests so far.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::SeqCst)
    }
}
