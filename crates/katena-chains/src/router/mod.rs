//! Chains that choose among chains.

mod embedding;
mod model;

pub use embedding::{EmbeddingRouter, EmbeddingRouterBuilder};
pub use model::ModelRouter;

use katena_core::{BoxChain, Chain as _, Event, Result, Run};
use serde_json::{Value, json};

/// The name that a default route goes by.
pub(crate) const DEFAULT: &str = "default";

/// Tells which route is taken and why, and takes it.
async fn take<I: Send + 'static, O: Send + 'static>(
    name: &str,
    chain: &BoxChain<I, O>,
    why: Value,
    input: I,
    run: &Run,
) -> Result<O> {
    let value = json!({"route": name, "why": why});
    run.emit(Event::Custom { name: "route".into(), value }).await;
    run.step(name, |step| async move { chain.call(input, &step).await }).await
}
