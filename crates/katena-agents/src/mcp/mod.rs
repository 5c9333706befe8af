//! The Model Context Protocol, both ways: tools of other programs as [`Tool`](katena_core::Tool)s ([`McpClient`]), and
//! Katena's tools, retrievers and chains for other programs ([`McpServer`]).
//!
//! The protocol itself (versions 2024-11-05 to 2026-07-28) is spoken by the `rmcp` crate; none of its types is shown here. What comes
//! from the other side is data: names, descriptions, schemas and results have limits, and no result is ever an instruction.

mod child;
mod client;
mod command;
mod content;
mod error;
mod handler;
mod http_client;
mod http_server;
mod options;
mod prompts;
mod serve;
mod server;
mod tool;
mod watched;

pub use client::McpClient;
pub use command::McpCommand;
pub use http_server::{McpBody, McpHttpOptions, McpHttpService};
pub use katena_http::{Endpoint, HttpClient, Secret};
pub use options::{McpLimits, McpOptions, RefusedTool};
pub use prompts::{McpPrompt, McpPromptArgument, McpResource};
pub use server::{McpServer, McpServerLimits};
