//! Which proof of identity a service gets: a bearer key, or signatures.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use katena_core::{Error, Result};

use super::chain::DefaultCredentials;
use super::credentials::{CachedCredentials, Credentials, CredentialsProvider};
use super::profile::{ProfileCredentials, ProfileFiles};
use super::sigv4::Signer;
use crate::request::HttpRequest;
use crate::secret::Secret;

/// Where the proof comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthSource {
    /// A bearer key that the caller gave.
    Explicit,
    /// A bearer key of the environment.
    Environment,
    /// A key pair that the caller gave.
    Static,
    /// A profile that the caller named.
    Profile,
    /// A provider that the caller gave.
    Provider,
    /// The default chain.
    Default,
}

/// How requests prove who sends them.
///
/// ```
/// use katena_http::aws::{AuthSource, AwsAuth, Credentials};
/// let auth = AwsAuth::signed(Credentials::new("AKIDEXAMPLE", "secret"));
/// assert_eq!(auth.source(), AuthSource::Static);
/// assert!(!auth.is_bearer());
/// ```
#[derive(Clone)]
pub struct AwsAuth {
    proof: Proof,
    source: AuthSource,
}

#[derive(Clone)]
enum Proof {
    Bearer(Secret),
    Signed(Arc<dyn CredentialsProvider>),
}

impl fmt::Debug for AwsAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsAuth")
            .field("bearer", &self.is_bearer())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl AwsAuth {
    /// By a bearer key, such as an API key of Bedrock.
    pub fn bearer(key: impl Into<Secret>) -> Self {
        Self { proof: Proof::Bearer(key.into()), source: AuthSource::Explicit }
    }

    /// By signatures with this key pair.
    pub fn signed(credentials: Credentials) -> Self {
        Self { proof: Proof::Signed(Arc::new(credentials)), source: AuthSource::Static }
    }

    /// By signatures with what `provider` gives, which is asked at each request; see [`CachedCredentials`].
    pub fn provider(provider: Arc<dyn CredentialsProvider>) -> Self {
        Self { proof: Proof::Signed(provider), source: AuthSource::Provider }
    }

    /// By the environment: the bearer key in `variable`, else the default chain.
    ///
    /// # Errors
    /// As [`AuthChoice::resolve`].
    pub fn from_env(variable: &str) -> Result<Self> {
        AuthChoice::new().resolve(variable, |name| std::env::var(name).ok())
    }

    /// True for a bearer key, false for signatures.
    pub fn is_bearer(&self) -> bool {
        matches!(self.proof, Proof::Bearer(_))
    }

    /// Where the proof comes from.
    pub fn source(&self) -> AuthSource {
        self.source
    }

    /// The request with the proof, as of now. Each try of a request needs its own.
    ///
    /// # Errors
    /// Those of the provider of credentials; `Cancelled` or `Timeout` by the request's context.
    pub async fn apply(
        &self,
        request: HttpRequest,
        region: impl Into<Cow<'static, str>>,
        service: impl Into<Cow<'static, str>>,
    ) -> Result<HttpRequest> {
        let now = SystemTime::now;
        self.apply_with(request, region, service, now).await
    }

    /// The same with another clock.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn apply_with(
        &self,
        request: HttpRequest,
        region: impl Into<Cow<'static, str>>,
        service: impl Into<Cow<'static, str>>,
        now: impl Fn() -> SystemTime + Send,
    ) -> Result<HttpRequest> {
        let provider = match &self.proof {
            Proof::Bearer(key) => {
                let value = Secret::new(format!("Bearer {}", key.expose()));
                return Ok(request.with_header("authorization", value));
            }
            Proof::Signed(provider) => provider,
        };
        let context = request.context.clone();
        context.check()?;
        let credentials = context.cancel.guard(provider.credentials()).await?;
        Signer::new(credentials, region, service).sign(request, now())
    }
}

/// What the caller says about the proof, before the environment is asked.
///
/// A bearer key, a key pair, a profile and a provider exclude each other. What the caller gives counts before the
/// environment's bearer key, and that before the default chain.
///
/// ```
/// use katena_http::aws::{AuthChoice, AuthSource};
/// let lookup = |name: &str| (name == "AWS_BEARER_TOKEN_BEDROCK").then(|| "key".to_owned());
/// let auth = AuthChoice::new().resolve("AWS_BEARER_TOKEN_BEDROCK", lookup)?;
/// assert_eq!((auth.is_bearer(), auth.source()), (true, AuthSource::Environment));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct AuthChoice {
    bearer: Option<Secret>,
    credentials: Option<Credentials>,
    profile: Option<String>,
    provider: Option<Arc<dyn CredentialsProvider>>,
}

impl AuthChoice {
    /// Nothing said.
    pub fn new() -> Self {
        Self::default()
    }

    /// A bearer key.
    pub fn with_bearer(mut self, key: impl Into<Secret>) -> Self {
        self.bearer = Some(key.into());
        self
    }

    /// A key pair.
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// A profile.
    pub fn with_profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// A provider.
    pub fn with_provider(mut self, provider: Arc<dyn CredentialsProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// The proof; `variable` names the environment's bearer key, and `lookup` finds variables.
    ///
    /// # Errors
    /// Kind `Config` if more than one proof was given; those of [`DefaultCredentials::from_lookup`].
    pub fn resolve(
        self,
        variable: &str,
        lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<AwsAuth> {
        let given = [
            self.bearer.is_some(),
            self.credentials.is_some(),
            self.profile.is_some(),
            self.provider.is_some(),
        ];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(Error::config(
                "conflicting proofs of identity: a bearer key, a key pair, a profile and a provider exclude each other",
            ));
        }
        if let Some(key) = self.bearer {
            return Ok(AwsAuth::bearer(key));
        }
        if let Some(credentials) = self.credentials {
            return Ok(AwsAuth::signed(credentials));
        }
        if let Some(provider) = self.provider {
            return Ok(AwsAuth::provider(provider));
        }
        let signed = |provider: Arc<dyn CredentialsProvider>, source| AwsAuth {
            proof: Proof::Signed(provider),
            source,
        };
        if let Some(profile) = self.profile {
            let provider =
                ProfileCredentials::new(profile, ProfileFiles::from_lookup(&lookup)).with_lookup(lookup);
            return Ok(signed(Arc::new(CachedCredentials::new(provider)), AuthSource::Profile));
        }
        if let Some(key) = lookup(variable).map(Secret::new).filter(|key| !key.is_empty()) {
            return Ok(AwsAuth { source: AuthSource::Environment, ..AwsAuth::bearer(key) });
        }
        let chain = DefaultCredentials::from_lookup(lookup)?;
        Ok(signed(Arc::new(CachedCredentials::new(chain)), AuthSource::Default))
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
