//! What the agent's telemetry costs, in CPU time, throughput and memory, and that requests do not notice when what it
//! reports to is slow, full or gone. Everything is compared within one run: the machine has its moods.
pub mod capacity;
pub mod cost;
pub mod faults;
pub mod floor;
pub mod http;
pub mod load;
pub mod process;
pub mod python;
pub mod report;
pub mod run;
pub mod scrape;
pub mod servers;
pub mod settings;
pub mod soak;
pub mod statistics;
