//! The guide; every Rust block in it runs as a doc test.

#[doc = include_str!("../README.md")]
pub mod readme {}
#[doc = include_str!("guide/composition.md")]
pub mod composition {}
#[doc = include_str!("guide/retrieval.md")]
pub mod retrieval {}
#[doc = include_str!("guide/errors.md")]
pub mod errors {}
#[doc = include_str!("guide/layers.md")]
pub mod layers {}
#[doc = include_str!("guide/own-component.md")]
pub mod own_component {}
