//! The agent from outside, over HTTP: in the test's own process, and as the real binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here, and says where")]
mod audit;
mod bad_input;
mod bill;
mod compliance;
mod console;
mod evaluate;
mod faults;
mod feedback;
mod helpers;
mod hostile;
mod logs;
mod metrics;
mod models;
mod openapi;
mod process;
mod provider;
mod query;
mod recorded;
mod shutdown;
mod streaming;
mod telemetry;
mod traces;
