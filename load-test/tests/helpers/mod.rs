//! What the tests of both subcommands need: an address to serve at, the binary, and how bad settings end.
use std::{
    net::Ipv4Addr,
    process::{Command, Output},
};

use axum::Router;

/// Serves until the test ends; the base URL.
pub(crate) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// The binary, with these arguments and no settings from outside.
pub(crate) fn load_test(subcommand: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load-test"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOAD_TEST_")) {
        command.env_remove(name);
    }
    command.arg(subcommand).args(args);
    command
}

/// Runs to the end.
pub(crate) async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Fails unless each of these ends with exit code 64 and one line that says this.
pub(crate) fn are_refused(subcommand: &str, cases: &[(&[&str], &str)]) {
    for (args, said) in cases {
        let Output { status, stderr, .. } = load_test(subcommand, args).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(64), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
