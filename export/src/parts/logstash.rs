//! Pipelines, and what Elasticsearch needs to know for them. Fields of log lines are neither metrics nor labels: all of it
//! is as it is in the kit.

use super::{File, Request, elasticsearch};

pub(super) fn files(request: &Request<'_>) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    for path in ["config/log4j2.properties", "config/logstash.yml", "config/pipelines.yml"] {
        files.push(request.copy(&format!("logstash/{path}"), path)?);
    }
    for extension in ["conf", "rb"] {
        for path in request.list("logstash/pipeline", extension)? {
            let path = path.to_string_lossy();
            files.push(request.copy(&path, path.trim_start_matches("logstash/"))?);
        }
    }
    files.push(request.program("logstash/pipeline/start.sh", "pipeline/start.sh")?);
    files.extend(elasticsearch(
        request,
        "agent_logs_writer",
        &[
            "components/agent-fields.json",
            "policies/agent-audit.json",
            "policies/agent-logs.json",
            "templates/agent-audit.json",
            "templates/agent-logs.json",
        ],
    )?);
    Ok(files)
}
