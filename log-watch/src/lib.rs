//! Looks at the log path from outside: the agent's lines, Logstash, Elasticsearch, and one request's whole story.
pub mod agent;
pub mod elasticsearch;
pub mod healthcheck;
pub mod http;
pub mod ledger;
pub mod logstash;
pub mod report;
pub mod serve;
pub mod settings;
pub mod story;
