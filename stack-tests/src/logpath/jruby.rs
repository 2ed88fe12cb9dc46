//! The scripts of `logstash/pipeline`, run by a `JRuby` without a Logstash: `logstash/tests/jruby` says what stands in for its classes.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::run;

/// The image that `setup/jruby.sh` builds.
const REPOSITORY: &str = "agent-kit/jruby";

/// A `JRuby` that starts for each call of [`Jruby::answers`].
#[derive(Clone, Debug)]
pub struct Jruby {
    image: String,
}

/// The parameters of `bunyan.rb`, as `agent-logs.conf` gives them.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// How many days of log lines have indices of their own.
    pub log_days: u32,
    /// How many days of audit events have indices of their own.
    pub audit_days: u32,
    /// A text that makes a line be kept as text.
    pub set_aside: &'static str,
}

impl Jruby {
    /// Looks for the image.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find() -> Result<Self, String> {
        let list = ["image", "ls", REPOSITORY, "--format", "{{.Repository}}:{{.Tag}}"];
        let images =
            run(Command::new("docker").args(list)).map_err(|_| "docker does not answer".to_owned())?;
        let image = images.lines().find(|image| !image.ends_with(":building") && !image.contains("<none>"));
        let image = image.ok_or(format!("there is no image {REPOSITORY}: setup/jruby.sh builds it"))?;
        Ok(Self { image: image.to_owned() })
    }

    /// What the scripts make of each request; `logstash/tests/jruby/run.rb` says what a request is.
    ///
    /// # Errors
    /// The first request that a script failed on, and how.
    pub fn answers(
        &self,
        repository: &Path,
        parameters: Parameters,
        requests: &[Value],
    ) -> Result<Vec<Value>, String> {
        let Parameters { log_days, audit_days, set_aside } = parameters;
        let parameters = serde_json::json!({ "log_days": log_days, "audit_days": audit_days, "set_aside": set_aside,
            "audit_senders": "/logstash/tests/jruby/audit_senders" });
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--interactive", "--network", "none", "--volume"]);
        command.arg(format!("{}:/logstash:ro", repository.join("logstash").display())).arg(&self.image);
        command.args(["/logstash/tests/jruby/run.rb", "/logstash/pipeline"]).arg(parameters.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let mut input = child.stdin.take().ok_or("JRuby has no standard input")?;
        let mut lines = requests.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        lines.push('\n');
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = child.wait_with_output().map_err(|e| format!("{command:?}: {e}"))?;
        // Where it could not be written to, what it said tells why.
        let _ = writer.join();
        let answers: Vec<Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).map_err(|e| format!("not an answer: {e}: {line:.200}")))
            .collect::<Result<_, _>>()?;
        if answers.len() != requests.len() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} answers to {} requests: {said:.2000}", answers.len(), requests.len()));
        }
        match answers.iter().zip(requests).find(|(answer, _)| !answer["error"].is_null()) {
            Some((answer, request)) => {
                Err(format!("{} at {}: {:.300}", answer["error"], answer["at"], request.to_string()))
            }
            None => Ok(answers),
        }
    }
}
