//! A small LLM service with the kit's telemetry: `POST /v1/summaries` has a model summarise a text. What there is to learn from it
//! is on the page `docs/instrumenting.md`, which is made of pieces of these files.
pub mod logs;
pub mod metrics;
pub mod model;
pub mod request;
pub mod service;
pub mod settings;
pub mod traces;

/// Who may ask, and the tier each is in. Whoever else asks is `other` in every label: labels must be bounded.
pub const TENANTS: [(&str, &str); 3] = [("acme", "vip"), ("globex", "standard"), ("initech", "free")];
