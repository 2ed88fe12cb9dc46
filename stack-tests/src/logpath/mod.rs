//! The way of a line from the agent's files to Elasticsearch: a real Logstash with the pipelines of `logstash/`, what it
//! writes to, and what it is fed.

pub mod elasticsearch;
pub mod jruby;
pub mod logstash;
pub mod lumberjack;
pub mod mapping;
pub mod recorder;
pub mod traffic;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A document as Elasticsearch got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The index, with its day.
    pub index: String,
    /// The id.
    pub id: String,
    /// The document.
    pub source: serde_json::Value,
}

/// A server's program on this machine, or an image of it.
#[derive(Clone, Debug)]
pub enum Program {
    /// An unpacked distribution.
    Home(PathBuf),
    /// An image that the engine has.
    Image(String),
}

impl Program {
    /// Looks for `NAME_HOME`, then for the image that Compose would run for `service`.
    ///
    /// # Errors
    /// Why there is neither.
    pub fn find(repository: &Path, service: &str) -> Result<Self, String> {
        let variable = format!("{}_HOME", service.to_uppercase());
        if let Some(home) = std::env::var_os(&variable).filter(|home| !home.is_empty()) {
            let home = PathBuf::from(home);
            let program = home.join("bin").join(service);
            return if program.is_file() {
                Ok(Self::Home(home))
            } else {
                Err(format!("{variable}: there is no {}", program.display()))
            };
        }
        let image = compose_image(repository, service)?;
        run(Command::new("docker").args(["image", "inspect", "--format", "{{.Id}}", &image]))
            .map_err(|_| format!("neither {variable} is set nor is there an image {image}"))?;
        Ok(Self::Image(image))
    }
}

fn compose_image(repository: &Path, service: &str) -> Result<String, String> {
    let mut compose = Command::new("docker");
    compose
        .args(["compose", "--profile", "*", "config", "--format", "json", service])
        .current_dir(repository);
    let variable = format!("{}_HOME", service.to_uppercase());
    let config = run(&mut compose)
        .map_err(|_| format!("{variable} is not set, and docker compose does not answer"))?;
    let config: serde_json::Value =
        serde_json::from_str(&config).map_err(|e| format!("docker compose config: {e}"))?;
    let image = config["services"][service]["image"].as_str();
    image.map(str::to_owned).ok_or(format!("docker-compose.yml has no service {service}"))
}

/// Runs a command to its end and gives back what it printed.
fn run(command: &mut Command) -> Result<String, String> {
    let line = || format!("{command:?}");
    let line = line();
    let output = command.output().map_err(|e| format!("{line}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Opens a folder to a Logstash in a container, whoever it runs as.
pub fn readable(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, open).map_err(|e| format!("{}: {e}", folder.display()))
}

/// The resident memory of a process in bytes, where the kernel tells (Linux).
fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The memory of a container in bytes: of its first process where the kernel tells, else as the engine counts it.
fn container_bytes(name: &str) -> Option<u64> {
    let inspect = run(Command::new("docker").args(["inspect", "--format", "{{.State.Pid}}", name])).ok()?;
    resident_bytes(inspect.trim().parse().ok()?)
}
