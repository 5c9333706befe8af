//! Credentials and what gives them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::lock::Mutex;
use katena_core::{Error, ErrorKind, Result};

use crate::secret::Secret;

/// Temporary credentials are replaced this long before they end.
const EARLY: Duration = Duration::from_secs(300);

/// An access key, for ever or for a time.
///
/// ```
/// use katena_http::aws::Credentials;
/// let credentials = Credentials::new("AKIDEXAMPLE", "secret").with_session_token("token");
/// assert!(!format!("{credentials:?}").contains("token\""));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
    expires_at: Option<SystemTime>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("temporary", &self.session_token.is_some())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// A key that does not end.
    pub fn new(access_key_id: impl AsRef<str>, secret_access_key: impl Into<Secret>) -> Self {
        Self {
            access_key_id: access_key_id.as_ref().trim().to_owned(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            expires_at: None,
        }
    }

    /// Sets the session token of temporary credentials; an empty one is none.
    pub fn with_session_token(mut self, token: impl Into<Secret>) -> Self {
        let token = token.into();
        self.session_token = (!token.is_empty()).then_some(token);
        self
    }

    /// Sets when they end.
    pub fn with_expiry(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// The key's public half.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The key's secret half.
    pub fn secret_access_key(&self) -> &Secret {
        &self.secret_access_key
    }

    /// The session token of temporary credentials.
    pub fn session_token(&self) -> Option<&Secret> {
        self.session_token.as_ref()
    }

    /// When they end.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` by `lookup`; `None` if there is no key.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if one half of the key is set without the other.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Ok(Some(
                Self::new(id, secret).with_session_token(get("AWS_SESSION_TOKEN").unwrap_or_default()),
            )),
            (None, None) => Ok(None),
            _ => Err(unauthenticated(
                "only one of the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set",
            )),
        }
    }

    fn good_at(&self, now: SystemTime, margin: Duration) -> bool {
        self.expires_at.is_none_or(|end| now.checked_add(margin).is_some_and(|then| then < end))
    }
}

pub(super) fn unauthenticated(message: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message).with_vendor("aws")
}

/// Gives credentials that are good now.
///
/// A provider fetches whenever it is asked; [`CachedCredentials`] keeps what was fetched.
#[async_trait]
pub trait CredentialsProvider: fmt::Debug + Send + Sync {
    /// Credentials that are good now.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if there are none or they are refused; those of the call that fetches them.
    async fn credentials(&self) -> Result<Credentials>;
}

#[async_trait]
impl CredentialsProvider for Credentials {
    async fn credentials(&self) -> Result<Credentials> {
        Ok(self.clone())
    }
}

#[async_trait]
impl<P: CredentialsProvider + ?Sized> CredentialsProvider for Arc<P> {
    async fn credentials(&self) -> Result<Credentials> {
        (**self).credentials().await
    }
}

type Now = dyn Fn() -> SystemTime + Send + Sync;

/// Keeps credentials until five minutes before they end. Callers that wait at the same time share one fetch, and its
/// error too. If a renewal fails while the old ones are still good, they are given.
///
/// ```
/// use katena_http::aws::{CachedCredentials, Credentials, CredentialsProvider};
/// let cached = CachedCredentials::new(Credentials::new("AKIDEXAMPLE", "secret"));
/// let credentials = futures_util::FutureExt::now_or_never(cached.credentials()).unwrap()?;
/// assert_eq!(credentials.access_key_id(), "AKIDEXAMPLE");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct CachedCredentials<P> {
    provider: P,
    now: Box<Now>,
    /// How many fetches have ended; who waited during one takes its result.
    fetches: AtomicU64,
    state: Mutex<Option<Result<Credentials>>>,
}

impl<P: fmt::Debug> fmt::Debug for CachedCredentials<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedCredentials").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl<P: CredentialsProvider> CachedCredentials<P> {
    /// Keeps what `provider` gives.
    pub fn new(provider: P) -> Self {
        Self::with_now(provider, SystemTime::now)
    }

    /// The same with another clock.
    pub fn with_now(provider: P, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { provider, now: Box::new(now), fetches: AtomicU64::new(0), state: Mutex::new(None) }
    }
}

#[async_trait]
impl<P: CredentialsProvider> CredentialsProvider for CachedCredentials<P> {
    async fn credentials(&self) -> Result<Credentials> {
        let before = self.fetches.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let fetched_meanwhile = self.fetches.load(Ordering::Acquire) != before;
        let old = match &*state {
            Some(Ok(kept)) if kept.good_at((self.now)(), EARLY) => return Ok(kept.clone()),
            Some(last) if fetched_meanwhile => return last.clone(),
            Some(Ok(kept)) => Some(kept.clone()),
            _ => None,
        };
        let fetched = match (self.provider.credentials().await, old) {
            (Err(_), Some(old)) if old.good_at((self.now)(), Duration::ZERO) => Ok(old),
            (fetched, _) => fetched,
        };
        *state = Some(fetched.clone());
        self.fetches.fetch_add(1, Ordering::Release);
        fetched
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
