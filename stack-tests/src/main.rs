//! Runs the trials against the stack that the environment names.

use std::{process::ExitCode, sync::Arc};

use stack_tests::{stack::Stack, trials};

fn main() -> ExitCode {
    // Stacks elsewhere may be behind TLS; the clients want its cryptography chosen even where this one is not.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = libtest_mimic::Arguments::from_args();
    // One stack, and trials that break it: one after the other.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials::all(&Arc::new(Stack::from_env()))).exit_code()
}
