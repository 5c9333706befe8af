//! The combinators behind [`ChainExt`](crate::ChainExt).

mod flow;
mod model;
mod resilient;
mod structured;

pub use flow::{AndThen, Batch, Branch, FnChain, Labelled, Map, Parallel, Then, func};
pub use model::{Chat, ChatJson, IntoRequest, Json, Reply, parse_json};
pub use resilient::{Backoff, OrElse, Retried, TimedOut};
pub use structured::{extract, extract_in};
