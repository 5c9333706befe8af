//! The `#[tool]` macro of katena-agents.
