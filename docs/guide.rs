//! The guide; every Rust block in it runs as a doc test.

#[doc = include_str!("../README.md")]
pub mod readme {}
#[doc = include_str!("guide/composition.md")]
pub mod composition {}
#[doc = include_str!("guide/retrieval.md")]
pub mod retrieval {}
#[doc = include_str!("guide/local.md")]
pub mod local {}
#[doc = include_str!("guide/errors.md")]
pub mod errors {}
#[doc = include_str!("guide/layers.md")]
pub mod layers {}
#[doc = include_str!("guide/own-component.md")]
pub mod own_component {}
#[doc = include_str!("guide/prompts.md")]
pub mod prompts {}
#[doc = include_str!("guide/chains.md")]
pub mod chains {}
#[doc = include_str!("guide/memory.md")]
pub mod memory {}
#[doc = include_str!("guide/agents.md")]
pub mod agents {}
#[doc = include_str!("guide/tools.md")]
pub mod tools {}
#[doc = include_str!("guide/graphs.md")]
pub mod graphs {}
#[doc = include_str!("guide/mcp.md")]
pub mod mcp {}
#[doc = include_str!("from-langchain.md")]
pub mod from_langchain {}
