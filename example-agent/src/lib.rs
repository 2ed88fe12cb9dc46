//! example-agent
