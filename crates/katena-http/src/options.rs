//! Settings of the client.

use std::time::Duration;

use crate::secret::Secret;

/// Times and sizes that bound every call.
///
/// ```
/// use std::time::Duration;
/// use katena_http::{HttpClient, HttpOptions};
/// let client = HttpClient::with_options(HttpOptions::new().with_idle_timeout(Duration::from_secs(30)));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// The longest time to connect: 5 s.
    pub connect_timeout: Duration,
    /// The longest time for a whole reply, or until the head of a streamed one: 600 s.
    pub timeout: Duration,
    /// The longest silence within a streamed reply, counted only while somebody waits for it: 300 s. Reasoning models
    /// are silent for minutes.
    pub idle_timeout: Duration,
    /// The most bytes of a whole reply, after decompression, and of one event or line of a streamed one: 64 MiB.
    pub max_body: usize,
    /// The most bytes read of an error reply; the rest is not needed to name the error: 64 KiB.
    pub max_error_body: usize,
    /// Which proxy is used: none.
    pub proxy: Proxy,
}

/// Which proxy the client uses.
///
/// ```
/// use katena_http::{HttpClient, HttpOptions, Proxy};
/// let proxy = Proxy::Url("http://user:hidden@proxy.example:3128".into());
/// let client = HttpClient::with_options(HttpOptions::new().with_proxy(proxy));
/// assert!(!format!("{client:?}").contains("hidden"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// None, whatever the environment says.
    #[default]
    None,
    /// The one that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name.
    FromEnv,
    /// The one at this `http` or `https` address, for every call, whatever the environment says. A user name and password
    /// in it are sent to the proxy alone. A call fails with kind `Config` if it is no address.
    Url(Secret),
}

impl Proxy {
    /// The password in its address.
    pub(crate) fn password(&self) -> Option<Secret> {
        let Self::Url(address) = self else { return None };
        url::Url::parse(address.expose()).ok()?.password().map(Secret::new)
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            max_body: 64 << 20,
            max_error_body: 64 << 10,
            proxy: Proxy::None,
        }
    }
}

impl HttpOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the longest time to connect.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the longest time for a whole reply, or until the head of a streamed one.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the longest silence within a streamed reply.
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets the most bytes of a whole reply, after decompression, and of one event or line of a streamed one.
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets the proxy.
    pub fn with_proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = proxy;
        self
    }
}
