//! Where credentials are looked for when nobody says.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{ErrorKind, Result};

use super::credentials::{Credentials, CredentialsProvider, unauthenticated};
use super::metadata::{ContainerCredentials, InstanceCredentials};
use super::profile::{ProfileCredentials, ProfileFiles};
use super::sts::WebIdentityCredentials;

/// Looks for credentials where AWS's own tools do, in this order: the environment's key; the profile that `AWS_PROFILE`
/// names, or `default`; a web identity; a container; the virtual machine.
///
/// What isn't there is passed over; what is there and fails is an error. Wrap it in
/// [`CachedCredentials`](super::CachedCredentials).
///
/// ```
/// use katena_http::aws::{CredentialsProvider, DefaultCredentials};
/// let lookup = |name: &str| match name {
///     "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".to_owned()),
///     "AWS_SECRET_ACCESS_KEY" => Some("secret".to_owned()),
///     _ => None,
/// };
/// let chain = DefaultCredentials::from_lookup(lookup)?;
/// let found = futures_util::FutureExt::now_or_never(chain.credentials()).unwrap()?;
/// assert_eq!(found.access_key_id(), "AKIDEXAMPLE");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct DefaultCredentials {
    links: Vec<Link>,
}

#[derive(Clone)]
struct Link {
    name: &'static str,
    provider: Arc<dyn CredentialsProvider>,
    /// Kinds of error that mean that nothing is there.
    absent: &'static [ErrorKind],
}

impl fmt::Debug for DefaultCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.links.iter().map(|l| l.name)).finish()
    }
}

impl DefaultCredentials {
    /// By the variables of the environment as they are now.
    ///
    /// # Errors
    /// Kind `Config` or `Unauthenticated` for variables that contradict themselves.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The same with another source of variables.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Result<Self> {
        let lookup = Arc::new(lookup);
        let mut links = Vec::new();
        let mut add = |name, provider: Arc<dyn CredentialsProvider>, absent| {
            links.push(Link { name, provider, absent });
        };
        if let Some(key) = Credentials::from_lookup(&*lookup)? {
            add("environment", Arc::new(key), &[]);
        }
        let named = lookup("AWS_PROFILE").map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        // A profile that somebody named has to be there.
        let absent: &[ErrorKind] =
            if named.is_some() { &[] } else { &[ErrorKind::NotFound, ErrorKind::Unauthenticated] };
        let profile = named.unwrap_or_else(|| "default".to_owned());
        let mut provider = ProfileCredentials::new(profile, ProfileFiles::from_lookup(&*lookup));
        if let Some(base) = lookup("AWS_ENDPOINT_URL_STS").filter(|v| !v.trim().is_empty()) {
            provider = provider.with_sts_url(base);
        }
        let seen = lookup.clone();
        add("profile", Arc::new(provider.with_lookup(move |name| seen(name))), absent);
        if let Some(provider) = WebIdentityCredentials::from_lookup(&*lookup)? {
            add("web identity", Arc::new(provider), &[]);
        }
        if let Some(provider) = ContainerCredentials::from_lookup(&*lookup)? {
            add("container", Arc::new(provider), &[]);
        }
        if let Some(provider) = InstanceCredentials::from_lookup(&*lookup)? {
            let absent = &[
                ErrorKind::Unavailable,
                ErrorKind::Timeout,
                ErrorKind::NotFound,
                ErrorKind::Unauthenticated,
                ErrorKind::PermissionDenied,
            ];
            add("machine", Arc::new(provider), absent);
        }
        Ok(Self { links })
    }
}

#[async_trait]
impl CredentialsProvider for DefaultCredentials {
    async fn credentials(&self) -> Result<Credentials> {
        let mut last = None;
        for link in &self.links {
            match link.provider.credentials().await {
                Err(error) if link.absent.contains(&error.kind()) => last = Some(error),
                Err(error) => return Err(error.with_context("credentials", link.name)),
                found => return found,
            }
        }
        let places: Vec<&str> = self.links.iter().map(|l| l.name).collect();
        let error =
            unauthenticated("no AWS credentials were found").with_context("looked at", places.join(", "));
        Err(match last {
            Some(last) => error.with_source(last),
            None => error,
        })
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
