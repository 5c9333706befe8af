//! The Model Context Protocol both ways: in one process, with a child process, over HTTP, and with servers that misbehave.
#![cfg(feature = "mcp")]
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod bad_servers;
mod both_ways;
mod child;
mod http;
mod support;
