//! What Prometheus itself says of `/metrics`. Listed as ignored where its binaries are neither on the path nor where
//! `make setup` puts them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here, and says where")]
mod server;

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use clap::Parser as _;
use example_agent::{
    App,
    error::ErrorType,
    pipeline::{cost::Usage, llm::Completion},
    settings::Cli,
    telemetry::{Handles, exposition::Format},
};
use libtest_mimic::{Arguments, Failed, Trial, run};

fn main() -> ExitCode {
    let trial = |name, binary, test: fn(&Path) -> Result<(), Failed>| {
        let binary = find(binary);
        let missing = binary.is_none();
        Trial::test(name, move || test(&binary.unwrap())).with_ignored_flag(missing)
    };
    let trials = vec![
        trial("promtool_check_metrics_finds_nothing", "promtool", promtool_finds_nothing),
        trial("prometheus_stores_exemplars_and_returns_them", "prometheus", server::stores_exemplars),
    ];
    run(&Arguments::from_args(), trials).exit_code()
}

/// On the path, or where `make setup` puts it.
fn find(binary: &str) -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let kit = set("AGENT_KIT_CACHE").or_else(|| Some(cache?.join("agent-observability-kit")));
    let path: OsString = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(kit.map(|kit| kit.join("bin")));
    directories.map(|directory| directory.join(binary)).find(|file| file.is_file())
}

fn promtool_finds_nothing(promtool: &Path) -> Result<(), Failed> {
    let settings = Cli::parse_from(["example-agent"]).settings;
    let app = App::new(&settings, Handles::new(&settings))?;
    let second = Duration::from_secs(1);
    let completion = Completion {
        text: String::new(),
        finish: None,
        response_model: Some("m".to_owned()),
        usage: Usage { input: 1, output: 2, ..Usage::default() },
        usage_estimated: false,
        time_to_first_token: second,
        time_to_first_chunk: Some(second),
        duration: second,
    };
    let model = &app.pipeline.models().all()[0];
    app.metrics.llm_answered(&app.tenants.other(), model, &completion, None, false);
    app.metrics.llm_failed(model, ErrorType::UpstreamTimeout, second);
    let text = app.metrics.render(Format::Text);
    let mut command = Command::new(promtool);
    let command = command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().unwrap().write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() && said.is_empty() {
        return Ok(());
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&said)).into())
}
