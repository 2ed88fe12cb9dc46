//! Runs the trials against the stack that the environment names.

use std::{process::ExitCode, sync::Arc};

use stack_tests::{stack::Stack, trials};

fn main() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // One stack, and trials that break it: one after the other.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials::all(&Arc::new(Stack::from_env()))).exit_code()
}
