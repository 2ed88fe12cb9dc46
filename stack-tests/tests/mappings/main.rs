//! `prometheus/mappings/` in a real Prometheus: over what `OpenLIT` shows (a sample), and over a running `LiteLLM` whose provider is the
//! simulator. promtool's tests of the same files are in `prometheus/tests/`.
//!
//! Listed as ignored where a program is missing; with `CI=true` they fail instead.

mod litellm;
mod sample;
mod server;

use std::{env, path::Path, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use stack_tests::tools::{self, Tool};

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let prometheus =
        Tool::find("prometheus").map(|tool| tool.path().to_owned()).ok_or("prometheus is not installed");
    let proxy = litellm::installed().ok_or("LiteLLM is not installed: run setup/litellm.sh");
    let trials = vec![
        trial("mappings::openlit_as_it_shows_itself", prometheus.clone(), {
            let repository = repository.to_owned();
            move |prometheus| sample::openlit_has_data(&repository, &prometheus)
        }),
        trial("mappings::litellm_as_it_runs", prometheus.and_then(|prometheus| Ok((prometheus, proxy?))), {
            let repository = repository.to_owned();
            move |(prometheus, proxy)| litellm::has_data(&repository, &prometheus, &proxy)
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A trial of programs, or the reason why there are none.
fn trial<P: Send + 'static>(
    name: &str,
    programs: Result<P, &'static str>,
    run: impl FnOnce(P) -> Result<(), String> + Send + 'static,
) -> Trial {
    match programs {
        Ok(programs) => Trial::test(name, || run(programs).map_err(Failed::from)),
        Err(why) if tools::unattended() => Trial::test(name, move || Err(Failed::from(why))),
        Err(why) => Trial::test(name, || Ok(())).with_kind(why).with_ignored_flag(true),
    }
}
