//! A real Logstash with the files of `logstash/` as they are: only addresses and folders are its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{Program, resident_bytes, run};
use crate::{clients, programs::free_port, wait};

/// How long a start may take: `JRuby` and a dozen plugins, on a machine that does other things besides.
const START: Duration = Duration::from_mins(15);
/// As in docker-compose.yml.
const JAVA_OPTIONS: &str = concat!(
    "-Xms512m -Xmx512m -XX:+UseSerialGC -XX:MaxDirectMemorySize=128m -Xss4m ",
    "-XX:-HeapDumpOnOutOfMemoryError -XX:+ExitOnOutOfMemoryError -Duser.timezone=UTC"
);
/// Where the image has its things.
const IMAGE_HOME: &str = "/usr/share/logstash";
/// The file of the password, by the name of its secret.
const SECRET: &str = "logstash_elasticsearch_password";
/// The file of who may send audit events, by the name of its secret; and that of the tests, in `logstash/`.
const SENDERS: &str = "logstash_audit_senders";
const TEST_SENDERS: &str = "tests/jruby/audit_senders";

/// The ports of one Logstash, all on the loopback interface.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Its own API.
    pub api: u16,
    /// Lines over TCP.
    pub tcp: u16,
    /// Lines over HTTP.
    pub http: u16,
    /// Beats.
    pub beats: u16,
}

/// A Logstash that can be killed and started again; what it keeps stays between.
pub struct Logstash {
    program: Program,
    /// Settings, data and log.
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    ports: Ports,
    running: Option<Running>,
    container: String,
    logs: PathBuf,
}

enum Running {
    Process(Child),
    Container,
}

impl Logstash {
    /// Starts it with the pipelines of the repository; it reads files in `logs` (a pattern, if it is a process) and writes to
    /// `elasticsearch`. Its API may not answer yet. `more` are variables of the pipelines.
    pub fn start(
        program: &Program,
        repository: &Path,
        logs: &Path,
        elasticsearch: &str,
        password: &str,
        more: &[(&'static str, &str)],
    ) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("logstash").tempdir().map_err(|e| e.to_string())?;
        super::readable(folder.path())?;
        let ports = Ports { api: free_port()?, tcp: free_port()?, http: free_port()?, beats: free_port()? };
        let Ports { api, tcp, http, beats } = ports;
        let component = repository.join("logstash");
        let settings = folder.path().join("config");
        fs::create_dir(&settings).map_err(|e| e.to_string())?;
        for file in ["logstash.yml", "pipelines.yml", "log4j2.properties"] {
            let mut text = read(&component.join("config").join(file))?;
            if file == "logstash.yml" && matches!(program, Program::Home(_)) {
                // Tests may run as root; the image never does.
                text.push_str("\nallow_superuser: true\n");
            }
            fs::write(settings.join(file), text).map_err(|e| e.to_string())?;
        }
        fs::write(folder.path().join(SECRET), password).map_err(|e| e.to_string())?;
        let data = folder.path().join("data");
        fs::create_dir(&data).map_err(|e| e.to_string())?;
        let mut variables = vec![
            ("LS_JAVA_OPTS", JAVA_OPTIONS.to_owned()),
            ("LOGSTASH_LISTEN_HOST", "127.0.0.1".to_owned()),
            ("LOGSTASH_API_HOST", "127.0.0.1".to_owned()),
            ("LOGSTASH_API_PORT", api.to_string()),
            ("LOGSTASH_TCP_PORT", tcp.to_string()),
            ("LOGSTASH_HTTP_PORT", http.to_string()),
            ("LOGSTASH_BEATS_PORT", beats.to_string()),
            ("ELASTICSEARCH_URL", elasticsearch.to_owned()),
            ("AGENT_LOG_DIR", logs.display().to_string()),
        ];
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        if let Program::Home(home) = program {
            let secret = folder.path().join(SECRET);
            variables.push(("LOGSTASH_ELASTICSEARCH_PASSWORD_FILE", secret.display().to_string()));
            variables
                .push(("LOGSTASH_AUDIT_SENDERS_FILE", component.join(TEST_SENDERS).display().to_string()));
            variables.push(("LOGSTASH_ENTRYPOINT", home.join("bin/logstash").display().to_string()));
            variables.push(("LOGSTASH_DATA_DIR", data.display().to_string()));
            variables.push(("LOGSTASH_PIPELINE_DIR", component.join("pipeline").display().to_string()));
        }
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let container = format!("agent-kit-logstash-{api}");
        let logs = logs.to_owned();
        let mut logstash =
            Self { program: program.clone(), folder, variables, ports, running: None, container, logs };
        logstash.resume(&component)?;
        Ok(logstash)
    }

    /// Starts it again, with what it had.
    pub fn restart(&mut self, repository: &Path) -> Result<(), String> {
        self.resume(&repository.join("logstash"))
    }

    fn resume(&mut self, component: &Path) -> Result<(), String> {
        let running = match &self.program {
            Program::Home(home) => {
                let log = File::options()
                    .create(true)
                    .append(true)
                    .open(self.log_file())
                    .map_err(|e| e.to_string())?;
                let errors = log.try_clone().map_err(|e| e.to_string())?;
                let mut command = Command::new(component.join("pipeline/start.sh"));
                command.arg("--path.settings").arg(self.folder.path().join("config"));
                command.envs(self.variables.iter().map(|(name, value)| (name, value)));
                command.stdin(Stdio::null()).stdout(log).stderr(errors);
                Running::Process(command.spawn().map_err(|e| format!("{}: {e}", home.display()))?)
            }
            Program::Image(_) if self.running.is_some() => {
                run(Command::new("docker").args(["start", &self.container]))?;
                Running::Container
            }
            Program::Image(image) => {
                run(&mut self.docker_run(image, component))?;
                Running::Container
            }
        };
        self.running = Some(running);
        Ok(())
    }

    /// The host's network, because what it writes to listens on the loopback interface only.
    fn docker_run(&self, image: &str, component: &Path) -> Command {
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--network", "host", "--user", "1000:0", "--name", &self.container]);
        for (name, value) in &self.variables {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        let settings = self.folder.path().join("config");
        let mounts = [
            (settings.join("logstash.yml"), format!("{IMAGE_HOME}/config/logstash.yml")),
            (settings.join("pipelines.yml"), format!("{IMAGE_HOME}/config/pipelines.yml")),
            (settings.join("log4j2.properties"), format!("{IMAGE_HOME}/config/log4j2.properties")),
            (component.join("pipeline"), format!("{IMAGE_HOME}/pipeline")),
            (self.folder.path().join(SECRET), format!("/run/secrets/{SECRET}")),
            (component.join(TEST_SENDERS), format!("/run/secrets/{SENDERS}")),
            (self.root_of_logs().to_owned(), self.root_of_logs().display().to_string()),
        ];
        for (from, to) in mounts {
            command.arg("--volume").arg(format!("{}:{to}:ro", from.display()));
        }
        command.args(["--entrypoint", "/bin/bash", image]).arg(format!("{IMAGE_HOME}/pipeline/start.sh"));
        command
    }

    /// The part of the folder pattern without wildcards.
    fn root_of_logs(&self) -> &Path {
        let plain = |path: &&Path| !path.to_string_lossy().contains('*');
        self.logs.ancestors().find(plain).unwrap_or(&self.logs)
    }

    /// Waits until its inputs run.
    pub fn wait_ready(&mut self) -> Result<(), String> {
        let url = format!("http://127.0.0.1:{}/_node/stats/pipelines/agent-logs", self.ports.api);
        // A process that has ended will not be ready later: that answer ends the wait.
        let started = wait::until("Logstash is ready", START, || {
            if let Err(ended) = self.alive() {
                return Ok(Err(ended));
            }
            let answer = clients::send(clients::client().get(&url))?;
            let stats = answer.json()?;
            let inputs = stats["pipelines"]["agent-logs"]["plugins"]["inputs"].as_array().map_or(0, Vec::len);
            if inputs == 0 {
                return Err(format!("no inputs yet: {:.200}", answer.text));
            }
            std::net::TcpStream::connect(("127.0.0.1", self.ports.tcp)).map_err(|e| e.to_string())?;
            std::net::TcpStream::connect(("127.0.0.1", self.ports.beats)).map_err(|e| e.to_string())?;
            Ok::<_, String>(Ok(()))
        });
        started.and_then(|ended| ended).map_err(|e| format!("{e}\n{}", self.last_words()))
    }

    fn alive(&mut self) -> Result<(), String> {
        match &mut self.running {
            Some(Running::Process(child)) => match child.try_wait() {
                Ok(None) => Ok(()),
                other => Err(format!("it has ended: {other:?}")),
            },
            _ => Ok(()),
        }
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) -> Result<(), String> {
        match &mut self.running {
            Some(Running::Process(child)) => {
                child.kill().map_err(|e| format!("kill: {e}"))?;
                child.wait().map(drop).map_err(|e| format!("wait: {e}"))
            }
            Some(Running::Container) => {
                run(Command::new("docker").args(["kill", "--signal", "KILL", &self.container])).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> Result<(), String> {
        match &mut self.running {
            Some(Running::Process(child)) => {
                run(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]))?;
                let ended = wait::until("Logstash ends", Duration::from_mins(2), || {
                    child.try_wait().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())
                });
                ended.map(drop)
            }
            Some(Running::Container) => {
                run(Command::new("docker").args(["stop", "--time", "120", &self.container])).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Its ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// What its own API says of a part, for example `process`.
    pub fn stats(&self, part: &str) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/_node/stats/{part}", self.ports.api);
        clients::send(clients::client().get(url))?.json()
    }

    /// The processor time it has used so far.
    pub fn cpu(&self) -> Result<Duration, String> {
        let stats = self.stats("process")?;
        let millis = stats["process"]["cpu"]["total_in_millis"].as_u64();
        millis.map(Duration::from_millis).ok_or(format!("no processor time in {stats}"))
    }

    /// Its resident memory, where the kernel tells.
    pub fn resident_bytes(&self) -> Option<u64> {
        match self.running.as_ref()? {
            Running::Process(child) => resident_bytes(child.id()),
            Running::Container => super::container_bytes(&self.container),
        }
    }

    /// All that it has written to its own log.
    pub fn log(&self) -> String {
        match &self.program {
            Program::Home(_) => fs::read(self.log_file())
                .map(|log| String::from_utf8_lossy(&log).into_owned())
                .unwrap_or_default(),
            Program::Image(_) => {
                let output = Command::new("docker").args(["logs", &self.container]).output();
                output.map_or_else(
                    |e| e.to_string(),
                    |out| {
                        format!(
                            "{}{}",
                            String::from_utf8_lossy(&out.stdout),
                            String::from_utf8_lossy(&out.stderr)
                        )
                    },
                )
            }
        }
    }

    /// The end of its own log.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("logstash.log")
    }
}

impl Drop for Logstash {
    fn drop(&mut self) {
        let _ = self.kill();
        if matches!(self.running, Some(Running::Container)) {
            let _ = run(Command::new("docker").args(["rm", "--force", "--volumes", &self.container]));
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}
