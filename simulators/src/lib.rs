//! The outside world without accounts: an OpenAI-compatible model provider and Slack's incoming webhooks.
pub mod healthcheck;
pub mod llm;
pub mod serve;
pub mod settings;
pub mod slack;
