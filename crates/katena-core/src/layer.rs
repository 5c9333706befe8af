//! Layers: a component wrapped in another of the same kind.

use std::sync::Arc;

/// Wraps a component in one of the same kind: `model.layer(Retry::default())`.
///
/// State (counters, caches, limits) lives in the layer, so that two components under one layer share it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no layer for `{S}`",
    label = "not a layer for this kind of component"
)]
pub trait Layer<S: ?Sized> {
    /// The wrapped component.
    fn layer(&self, inner: Arc<S>) -> Arc<S>;
}
