//! Traffic for the agent. The parts serve any kind of run: when requests are due, what they ask, how they are sent, what
//! came of them; `base` puts them together as the stack's base traffic, `run` as a load test.
pub mod arrivals;
pub mod base;
pub mod client;
pub mod ending;
pub mod profile;
pub mod questions;
pub mod report;
pub mod run;
pub mod settings;
pub mod summary;
pub mod target;
