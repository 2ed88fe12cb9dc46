//! The binary's settings, exit codes and health check.
use std::process::Output;

use crate::helpers::{Agent, Behaviour, Provider, binary};

fn one_line_on_stderr(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[test]
fn a_bad_setting_is_one_line_that_names_it_and_exit_code_64() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let empty = file.path().to_str().unwrap();
    for (name, value) in [
        ("AGENT_API_ADDR", "nonsense"),
        ("AGENT_ADMIN_ADDR", "127.0.0.1:99999"),
        ("AGENT_LLM_BASE_URL", "ftp://x"),
        ("AGENT_LLM_TIMEOUT", "5"),
        ("AGENT_LLM_TIMEOUT", "0s"),
        ("AGENT_LLM_MAX_ATTEMPTS", "0"),
        ("AGENT_LLM_RETRY_BUDGET", "2"),
        ("AGENT_MAX_REQUESTS_IN_FLIGHT", "0"),
        ("AGENT_SHUTDOWN_TIMEOUT", "two\nlines"),
        ("AGENT_LOG", "a=b=c"),
        ("AGENT_LOG_FILES", "0"),
        ("AGENT_LOG_MAX_BYTES", "1000"),
        ("AGENT_LOG_SAMPLE_RATIO", "10%"),
        ("AGENT_LOG_TIER_LEVELS", "gold=debug"),
        ("AGENT_LLM_PROVIDER", "open ai"),
        ("AGENT_TENANTS_FILE", "no-such-file"),
        ("AGENT_TENANTS_FILE", empty),
        ("AGENT_PRICES_FILE", empty),
        ("AGENT_COMPLIANCE_FILE", "no-such-file"),
        ("AGENT_LLM_API_KEY_FILE", "no-such-file"),
        ("AGENT_LINK_GRAFANA", "localhost:3000"),
        ("AGENT_CONSOLE_ORIGINS", "*"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "jaeger:4318"),
    ] {
        let output = binary().env(name, value).output().unwrap();
        let line = one_line_on_stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{name}={value}: {line}");
        assert!(line.contains(name), "{name}={value}: {line}");
    }
    // A subcommand's settings are named too.
    let output = binary().arg("evaluate").env("AGENT_MIN_ACCURACY", "2").output().unwrap();
    let line = one_line_on_stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{line}");
    assert!(line.contains("AGENT_MIN_ACCURACY"), "{line}");
    let output = binary().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    one_line_on_stderr(&output);
}

#[tokio::test]
async fn empty_variables_are_unset_ports_in_use_are_named_and_the_health_check_tells() {
    let provider = Provider::start(Behaviour::Stream).await;
    // An empty key file is no key: Compose mounts one whether or not the provider wants it.
    let no_key = tempfile::NamedTempFile::new().unwrap();
    let empty = [
        ("AGENT_LLM_MODEL", ""),
        ("AGENT_TENANTS_FILE", ""),
        ("AGENT_LOG_DIR", ""),
        ("AGENT_LOG", ""),
        ("AGENT_LLM_API_KEY_FILE", no_key.path().to_str().unwrap()),
    ];
    let mut agent = Agent::start(&provider, &empty).await;
    assert_eq!(agent.app.ask_as("acme", "q").await.2["model"], "sim-small");

    let admin = agent.app.admin.trim_start_matches("http://").to_owned();
    let output = binary().env("AGENT_ADMIN_ADDR", &admin).output().unwrap();
    let line = one_line_on_stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(line.contains("AGENT_ADMIN_ADDR") && line.contains(&admin), "{line}");

    let check = || binary().arg("healthcheck").env("AGENT_ADMIN_ADDR", &admin).output().unwrap();
    assert_eq!(check().status.code(), Some(0));
    agent.signal("INT");
    assert_eq!(agent.exit_code().await, Some(0));
    let down = check();
    assert_eq!(down.status.code(), Some(1));
    assert!(one_line_on_stderr(&down).contains(&admin));
}
