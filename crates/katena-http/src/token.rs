//! Access tokens that are fetched and grow old.

use std::fmt;

use async_trait::async_trait;
use katena_core::Result;

use crate::secret::Secret;

/// Gives the access token for the next call, and fetches a new one before the old one ends.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token that is good now.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if there are no credentials or they are refused; those of the call that fetches it.
    async fn token(&self) -> Result<Secret>;
}

/// A token that the caller keeps fresh.
#[derive(Debug, Clone)]
pub struct StaticToken(Secret);

impl StaticToken {
    /// This token, for ever.
    pub fn new(token: impl Into<Secret>) -> Self {
        Self(token.into())
    }
}

#[async_trait]
impl TokenSource for StaticToken {
    async fn token(&self) -> Result<Secret> {
        Ok(self.0.clone())
    }
}
