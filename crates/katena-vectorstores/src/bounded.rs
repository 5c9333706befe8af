//! Calls to a server end with their context.

use std::future::Future;

use katena_core::{Context, Error, ErrorKind, Result};

/// Runs a call until it is done, cancelled or past its deadline.
pub(crate) async fn bounded<T>(context: &Context, call: impl Future<Output = Result<T>>) -> Result<T> {
    context.check()?;
    let Some(deadline) = context.deadline else { return context.cancel.guard(call).await };
    match tokio::time::timeout_at(deadline.into(), context.cancel.guard(call)).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(ErrorKind::Timeout, "the deadline has passed")),
    }
}

/// Above the runtime's absence tokio panics; this is an error instead.
#[cfg(feature = "qdrant")]
pub(crate) fn runtime() -> Result<()> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::config("the store needs a tokio runtime").with_source(e)),
    }
}
