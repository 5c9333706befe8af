//! Where a vendor's API is, and what opens it.

use std::borrow::Cow;
use std::fmt;

use katena_core::{Error, Result};
use url::Url;

use crate::secret::Secret;

/// A base address with the headers that every call to it carries.
///
/// ```
/// use katena_http::{Endpoint, Secret};
/// let endpoint = Endpoint::new("https://api.example.com/v1")?.with_bearer(Secret::new("sk-123"));
/// assert_eq!(endpoint.join("chat/completions")?.as_str(), "https://api.example.com/v1/chat/completions");
/// assert!(!format!("{endpoint:?}").contains("sk-123"));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Endpoint {
    base: Url,
    headers: Vec<(Cow<'static, str>, Secret)>,
    vendor: Option<Cow<'static, str>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Endpoint")
            .field("base", &shown(&self.base))
            .field("headers", &names)
            .field("vendor", &self.vendor)
            .finish()
    }
}

impl Endpoint {
    /// An endpoint at `base`, with or without a slash at its end. A query in it goes with every call.
    ///
    /// # Errors
    /// Kind `Config` if `base` is no `http` or `https` address, or has a user name or password in it: these belong
    /// into a header, where they are kept as a [`Secret`].
    pub fn new(base: impl AsRef<str>) -> Result<Self> {
        let base = base.as_ref().trim();
        let url = Url::parse(base).map_err(|e| Error::config("the base address is no URL").with_source(e))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(Error::config("the base address must be http:// or https:// and a host")
                .with_context("scheme", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::config("the base address must not hold a user name or password"));
        }
        Ok(Self { base: url, headers: Vec::new(), vendor: None })
    }

    /// Sends `Authorization: Bearer` with this key, in place of an earlier one.
    pub fn with_bearer(self, key: Secret) -> Self {
        let value = Secret::new(format!("Bearer {}", key.expose()));
        self.with_header("authorization", value)
    }

    /// Sends a header with every call, in place of an earlier one of that name. Its value is treated as a secret.
    pub fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Secret>) -> Self {
        let name = name.into();
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        self.headers.push((name, value.into()));
        self
    }

    /// Names the vendor in errors.
    pub fn with_vendor(mut self, vendor: impl Into<Cow<'static, str>>) -> Self {
        self.vendor = Some(vendor.into());
        self
    }

    /// The same endpoint at another base address; headers and vendor stay.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn with_base(self, base: impl AsRef<str>) -> Result<Self> {
        Ok(Self { base: Self::new(base)?.base, ..self })
    }

    /// The base address.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The vendor's name.
    pub fn vendor(&self) -> Option<&str> {
        self.vendor.as_deref()
    }

    /// The address of `path` below the base; the base's own path and query are kept.
    ///
    /// # Errors
    /// Kind `Config` if `path` is not a path below the base.
    pub fn join(&self, path: &str) -> Result<Url> {
        let path = path.trim_start_matches('/');
        if path.split('/').any(|s| s == "..") || path.contains(['?', '#', '\\']) {
            return Err(Error::config("not a path below the base address").with_context("path", path));
        }
        let mut url = self.base.clone();
        let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        Ok(url)
    }

    pub(crate) fn headers(&self) -> &[(Cow<'static, str>, Secret)] {
        &self.headers
    }

    pub(crate) fn vendor_name(&self) -> Option<Cow<'static, str>> {
        self.vendor.clone()
    }
}

/// An address as it may be shown: a query can hold a key.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_with_and_without_slash_and_keeps_the_query() {
        for base in ["http://h:1/v1", "http://h:1/v1/"] {
            let e = Endpoint::new(base).unwrap();
            assert_eq!(e.join("chat/completions").unwrap().as_str(), "http://h:1/v1/chat/completions");
            assert_eq!(e.join("/models").unwrap().as_str(), "http://h:1/v1/models");
        }
        let e = Endpoint::new("https://h").unwrap();
        assert_eq!(e.join("x").unwrap().as_str(), "https://h/x");
        let e = Endpoint::new("https://h/d?api-version=1").unwrap();
        assert_eq!(e.join("x").unwrap().as_str(), "https://h/d/x?api-version=1");
    }

    #[test]
    fn refuses_what_is_no_base() {
        for bad in ["", "api.example.com", "ftp://h/", "file:///etc/passwd", "https://user:pw@h/", "https://"]
        {
            assert_eq!(
                Endpoint::new(bad).err().map(|e| e.kind()),
                Some(katena_core::ErrorKind::Config),
                "{bad}"
            );
        }
        assert!(Endpoint::new("http://h/v1").unwrap().join("../admin").is_err());
    }

    #[test]
    fn debug_shows_no_key() {
        let e = Endpoint::new("https://h/v1?key=sk-hidden").unwrap().with_bearer(Secret::new("sk-hidden"));
        assert!(!format!("{e:?}").contains("hidden"), "{e:?}");
    }
}
