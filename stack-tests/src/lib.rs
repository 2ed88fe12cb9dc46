//! End-to-end tests of a running stack, whoever started it, and the tools its configuration is tested with.
//!
//! `cargo run -p stack-tests` runs them against the addresses in [`stack::Stack`], all of which can be set by
//! environment variables. What a trial needs and cannot have makes it *ignored* and listed by its name.

pub mod broken_off;
pub mod chaos;
pub mod clients;
pub mod containers;
pub mod dashboards;
pub mod drill;
pub mod elasticsearch;
pub mod keepsakes;
pub mod kubernetes;
pub mod logpath;
pub mod pins;
pub mod ports;
pub mod programs;
pub mod runbooks;
pub mod secrets;
pub mod stack;
pub mod tools;
pub mod trials;
pub mod usage;
pub mod wait;
pub mod yaml;
