//! The combinators behind [`ChainExt`](crate::ChainExt).

mod flow;
mod model;
mod structured;

pub use flow::{AndThen, Batch, Branch, FnChain, Labelled, Map, Parallel, Then, func};
pub use model::{Chat, ChatJson, IntoRequest, Json, Reply, parse_json};
pub use structured::extract;
