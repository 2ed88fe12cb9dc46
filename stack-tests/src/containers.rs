//! The stack's containers, through the `docker` command: what a test needs to break them on purpose.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{stack::is_inside, wait};

/// Leaves out what `docker run` and `docker compose run` start: the images that Compose built carry their service's name.
const OF_SERVICES: &str = "label=com.docker.compose.oneoff=False";

/// The containers of one Compose project.
pub struct Containers {
    project: String,
}

impl Containers {
    /// Those of the project `name`.
    pub fn of(name: String) -> Self {
        Self { project: name }
    }

    /// The name of the project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Runs `docker` and gives back what it printed.
    ///
    /// # Errors
    /// What `docker` wrote to standard error, with the arguments it was given.
    pub fn docker(args: &[&str]) -> Result<String, String> {
        let output = Command::new("docker")
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("docker {}: {e}", args.join(" ")))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!("docker {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
        }
    }

    /// The services of the project that have a container and are meant to run on, whether they do or not.
    pub fn services(&self) -> Result<Vec<String>, String> {
        self.by_restart_policy(|policy| policy != "no")
    }

    /// The services of the project that do one thing and end.
    pub fn one_shots(&self) -> Result<Vec<String>, String> {
        self.by_restart_policy(|policy| policy == "no")
    }

    fn by_restart_policy(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, String> {
        let label = format!("label=com.docker.compose.project={}", self.project);
        let ids = Self::docker(&["ps", "--all", "--quiet", "--filter", OF_SERVICES, "--filter", &label])?;
        let ids: Vec<_> = ids.lines().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let format = "--format={{.HostConfig.RestartPolicy.Name}} {{index .Config.Labels \"com.docker.compose.service\"}}";
        let out = Self::docker(&[&["inspect", format][..], &ids[..]].concat())?;
        let services = out.lines().filter_map(|line| line.split_once(' '));
        let mut services: Vec<_> =
            services.filter(|(policy, _)| wanted(policy)).map(|(_, service)| service.to_owned()).collect();
        services.sort();
        Ok(services)
    }

    /// The id of a service's container.
    pub fn id(&self, service: &str) -> Result<String, String> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let label = format!("label=com.docker.compose.service={service}");
        let filters = ["--filter", OF_SERVICES, "--filter", &project, "--filter", &label];
        let out = Self::docker(&[&["ps", "--all", "--quiet"][..], &filters[..]].concat())?;
        out.lines().next().map(str::to_owned).ok_or(format!("service {service} has no container"))
    }

    /// Everything `docker inspect` says of a service's container.
    pub fn inspect(&self, service: &str) -> Result<Value, String> {
        let out = Self::docker(&["inspect", &self.id(service)?])?;
        let mut all: Vec<Value> = serde_json::from_str(&out).map_err(|e| format!("docker inspect: {e}"))?;
        all.pop().ok_or(format!("docker inspect says nothing of {service}"))
    }

    /// `docker start`, `stop`, `pause` or `unpause` of a service.
    pub fn each(&self, verb: &str, service: &str) -> Result<(), String> {
        Self::docker(&[verb, &self.id(service)?]).map(drop)
    }

    /// Where a port of a container answers: `http://…`. For a program on the stack's network that is the container's own port,
    /// by its name or short id; for any other the port that the engine has published.
    pub fn address(container: &str, port: u16) -> Result<String, String> {
        if is_inside() {
            return Ok(format!("http://{container}:{port}"));
        }
        let published = Self::docker(&["port", container, &port.to_string()])?;
        let first = published.lines().next().ok_or(format!("port {port} of {container} is not published"))?;
        Ok(format!("http://{first}"))
    }

    /// Sends a signal to a container's first process from outside, as the kernel's own out-of-memory killer would, and says
    /// when: in seconds since 1970.
    ///
    /// Not by `docker kill`: the engine takes that for the operator's wish and leaves the container down. The process belongs to
    /// the engine's machine, which may be another one than this (Docker Desktop's virtual machine), and to another user. So a
    /// container sends it that sees the processes of that machine, and may do nothing else.
    pub fn signal(&self, service: &str, signal: &str) -> Result<f64, String> {
        let pid = self.inspect(service)?["State"]["Pid"].as_u64().filter(|pid| *pid > 0);
        let pid = pid.ok_or(format!("{service} is not running"))?;
        // The agent's image has a shell, and is on this machine.
        let agent = self.inspect("example-agent")?;
        let image = agent["Image"].as_str().ok_or("example-agent has no image")?;
        let rights = [
            "--cap-drop=ALL",
            "--cap-add=KILL",
            "--security-opt=no-new-privileges",
            "--security-opt=label=disable",
        ];
        let place = ["--rm", "--pid=host", "--network=none", "--read-only", "--user=0:0", "--entrypoint=sh"];
        let script = format!("kill -s {signal} {pid} && date +%s.%N");
        let said = Self::docker(&[&["run"], &place[..], &rights, &[image, "-c", &script]].concat())?;
        said.trim().parse().map_err(|e| format!("{script}: {e}: {said}"))
    }

    /// Whether a service runs and, where it has a healthcheck, is healthy.
    ///
    /// # Errors
    /// The state it is in instead.
    pub fn healthy(&self, service: &str) -> Result<(), String> {
        let state = &self.inspect(service)?["State"];
        let status = state["Status"].as_str().unwrap_or("unknown");
        let health = state["Health"]["Status"].as_str().unwrap_or("healthy");
        if status == "running" && health == "healthy" {
            Ok(())
        } else {
            Err(format!("{service} is {status}, {health}"))
        }
    }

    /// Whether a service runs and its healthcheck says now that it is well: the engine itself asks seldom.
    ///
    /// # Errors
    /// What it is or says instead.
    pub fn is_well(&self, service: &str) -> Result<(), String> {
        let inspect = self.inspect(service)?;
        if inspect["State"]["Status"] != "running" {
            return Err(format!("{service} is {}", inspect["State"]["Status"]));
        }
        let test = inspect["Config"]["Healthcheck"]["Test"].as_array().into_iter().flatten();
        let test: Vec<_> = test.filter_map(Value::as_str).collect();
        match test[..] {
            ["CMD", ref command @ ..] => self.exec(service, command).map(drop),
            ["CMD-SHELL", command] => self.exec(service, &["sh", "-c", command]).map(drop),
            _ => Ok(()),
        }
    }

    /// Whether a service that does one thing has done it.
    ///
    /// # Errors
    /// The state it is in instead.
    pub fn ended_well(&self, service: &str) -> Result<(), String> {
        let state = &self.inspect(service)?["State"];
        if state["Status"] == "exited" && state["ExitCode"] == 0 {
            Ok(())
        } else {
            Err(format!("{service} is {}, exit code {}", state["Status"], state["ExitCode"]))
        }
    }

    /// Waits until a service is healthy again: those on Java may take the minutes that their `start_period` gives them.
    pub fn wait_healthy(&self, service: &str) -> Result<(), String> {
        wait::until(&format!("{service} healthy"), 10 * wait::SOON, || self.healthy(service))
    }

    /// How often the engine has started a service again by itself.
    pub fn restarts(&self, service: &str) -> Result<u64, String> {
        Ok(self.inspect(service)?["RestartCount"].as_u64().unwrap_or(0))
    }

    /// What a command prints inside a service's container.
    pub fn exec(&self, service: &str, command: &[&str]) -> Result<String, String> {
        let id = self.id(service)?;
        Self::docker(&[&["exec", &id], command].concat())
    }
}
