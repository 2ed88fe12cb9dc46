//! A real Elasticsearch node.
