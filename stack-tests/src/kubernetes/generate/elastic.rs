//! Elasticsearch's templates, roles and users and Logstash's pipeline, for `components/eck`.

use std::{fmt::Write as _, path::Path};

use super::{Error, Files, kustomization, read, sources};

/// Where the certificate of Elasticsearch's authority is mounted into Logstash (`components/eck/logstash.yaml`).
const AUTHORITY: &str = "/usr/share/logstash/elasticsearch-ca/ca.crt";
const FOLDER: &str = "components/eck/generated";
const PIPELINES: [&str; 2] = ["agent-logs.conf", "dead-letters.conf"];
const FILTERS: [&str; 2] = ["bunyan.rb", "dead_letter.rb"];

pub(super) fn files(repository: &Path, files: &mut Files) -> Result<(), Error> {
    let mut put = |path: String, text: String| drop(files.insert(Path::new(FOLDER).join(path), text));
    let mut body = String::from("configMapGenerator:\n  - name: elasticsearch-setup\n    files:\n");
    let setup = repository.join("elasticsearch");
    for name in ["setup.sh", "users"] {
        put(format!("elasticsearch/{name}"), read(&setup.join(name))?);
        let _ = writeln!(body, "      - elasticsearch/{name}");
    }
    for folder in ["components", "policies", "roles", "templates"] {
        for path in sources(&setup.join(folder), "json")? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            put(format!("elasticsearch/{folder}/{name}"), read(&path)?);
            // A key has no folder.
            let _ = writeln!(body, "      - {folder}.{name}=elasticsearch/{folder}/{name}");
        }
    }
    body.push_str("  - name: logstash-pipeline\n    files:\n");
    for name in PIPELINES.into_iter().chain(FILTERS) {
        let text = read(&repository.join("logstash/pipeline").join(name))?;
        let text = if PIPELINES.contains(&name) { with_authority(name, &text)? } else { text };
        put(format!("logstash/{name}"), text);
        let _ = writeln!(body, "      - logstash/{name}");
    }
    // The operator takes settings from Secrets only.
    body.push_str("secretGenerator:\n");
    for name in ["logstash", "pipelines"] {
        put(
            format!("logstash/{name}.yml"),
            read(&repository.join("logstash/config").join(format!("{name}.yml")))?,
        );
    }
    body.push_str("  - name: logstash-settings\n    files: [logstash/logstash.yml]\n");
    body.push_str("  - name: logstash-pipelines\n    files: [logstash/pipelines.yml]\n");
    put("kustomization.yaml".into(), kustomization("Kustomization", "elasticsearch/ and logstash/", &body));
    Ok(())
}

/// A pipeline that trusts the authority that ECK has made for Elasticsearch: Compose's speaks no TLS.
fn with_authority(name: &str, text: &str) -> Result<String, Error> {
    let output = "  elasticsearch {\n";
    if text.matches(output).count() != 1 {
        return Err(Error::Source(format!("logstash/pipeline/{name} has not one output to Elasticsearch")));
    }
    let line = format!("{output}    ssl_certificate_authorities => [\"{AUTHORITY}\"]\n");
    Ok(text.replace(output, &line))
}
