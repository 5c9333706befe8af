//! Calls to addresses that come from data: from documents, from models, from other people.

mod policy;
mod send;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use katena_core::{Context, Error, ErrorKind, Result};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;
use url::{Host, Url};

use crate::body::{Head, HttpStream, after};
use crate::status::ErrorDetails;

/// The longest address.
const MAX_URL: usize = 8192;

/// What [`OutboundGuard::fetch`] got.
#[derive(Clone)]
#[non_exhaustive]
pub struct Fetched {
    /// The address that answered, after redirects.
    pub url: Url,
    /// The content type as the server gave it.
    pub content_type: Option<String>,
    /// The body, decompressed.
    pub body: Bytes,
    /// How many redirects were followed.
    pub redirects: usize,
}

impl Fetched {
    /// A body from an address.
    pub fn new(url: Url, body: impl Into<Bytes>) -> Self {
        Self { url, content_type: None, body: body.into(), redirects: 0 }
    }

    /// Sets the content type.
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("url", &crate::endpoint::shown(&self.url))
            .field("content_type", &self.content_type)
            .field("body", &self.body.len())
            .field("redirects", &self.redirects)
            .finish()
    }
}

/// Lets calls out to the public net only. Every address that comes from data goes through it.
///
/// - The address is read as browsers read it, so that no other way to write one gets past; `http` and `https` only,
///   no user names, no ports of other services.
/// - Private, local and special networks are refused, by name and by number, in all forms of IPv6 that hold an IPv4
///   address; with them the clouds' metadata servers.
/// - A name is looked up once. If one of its addresses is refused, all are; the connection goes to an address that
///   was checked.
/// - Each redirect is checked in the same way. No proxy is used, since it would look names up itself.
/// - Time, size and redirects are limited: 30 s, 16 MiB after decompression, 5.
///
/// ```
/// use katena_http::guard::OutboundGuard;
/// let guard = OutboundGuard::new();
/// assert!(guard.check("https://example.com/paper.pdf").is_ok());
/// assert!(guard.check("http://169.254.169.254/latest/meta-data/").is_err());
/// assert!(guard.check("http://0x7f000001/").is_err());
/// let at_work = guard.with_allowed_host("wiki.corp");
/// assert!(at_work.check("http://wiki.corp/page").is_ok());
/// ```
#[derive(Clone)]
pub struct OutboundGuard {
    allowed: Arc<Vec<String>>,
    /// Where this is not empty, these hosts and no others.
    only: Arc<Vec<String>>,
    max_bytes: usize,
    max_redirects: usize,
    timeout: Duration,
    user_agent: String,
    lookup: Arc<Lookup>,
    client: Arc<OnceLock<Result<reqwest::Client>>>,
}

/// How names become addresses; tests have their own way.
type Lookup = dyn Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync;

impl fmt::Debug for OutboundGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundGuard")
            .field("allowed", &self.allowed)
            .field("only", &self.only)
            .field("max_bytes", &self.max_bytes)
            .field("max_redirects", &self.max_redirects)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Default for OutboundGuard {
    fn default() -> Self {
        Self::new()
    }
}

/// A host's name or number as the parser of addresses writes it.
fn as_parsed(host: &str) -> String {
    let plain = host.trim();
    let plain = if plain.parse::<Ipv6Addr>().is_ok() { format!("[{plain}]") } else { plain.to_owned() };
    let host = Host::parse(&plain).map_or_else(|_| plain.to_ascii_lowercase(), |h| h.to_string());
    host.trim_end_matches('.').to_owned()
}

fn refused(why: &'static str) -> Error {
    Error::new(ErrorKind::PermissionDenied, why)
}

impl OutboundGuard {
    /// The public net, with the usual limits.
    pub fn new() -> Self {
        let lookup = |name: &str| Ok((name, 0).to_socket_addrs()?.map(|a| a.ip()).collect());
        Self {
            allowed: Arc::default(),
            only: Arc::default(),
            max_bytes: 16 << 20,
            max_redirects: 5,
            timeout: Duration::from_secs(30),
            user_agent: concat!("katena/", env!("CARGO_PKG_VERSION")).to_owned(),
            lookup: Arc::new(lookup),
            client: Arc::default(),
        }
    }

    /// Allows one host, by its exact name or number, with any port and whatever address its name has.
    pub fn with_allowed_host(mut self, host: impl AsRef<str>) -> Self {
        Arc::make_mut(&mut self.allowed).push(as_parsed(host.as_ref()));
        self.client = Arc::default();
        self
    }

    /// Lets calls out to this host, by its exact name, and to others named so, but to no host besides; redirects too. One
    /// that is private must be [allowed](Self::with_allowed_host) as well.
    pub fn with_only_host(mut self, host: impl AsRef<str>) -> Self {
        Arc::make_mut(&mut self.only).push(as_parsed(host.as_ref()));
        self
    }

    /// Sets the most bytes of a body, after decompression.
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many redirects are followed; 0 is none.
    pub fn with_max_redirects(mut self, redirects: usize) -> Self {
        self.max_redirects = redirects;
        self
    }

    /// Sets the longest time for everything: redirects and the whole body.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets who asks, as servers are told.
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self.client = Arc::default();
        self
    }

    #[cfg(test)]
    fn with_lookup(
        mut self,
        lookup: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.lookup = Arc::new(lookup);
        self.client = Arc::default();
        self
    }

    /// Reads an address and says whether it may be called, as far as can be said without looking its name up.
    ///
    /// # Errors
    /// Kind `InvalidInput` if it is no address, `PermissionDenied` if it may not be called.
    pub fn check(&self, url: &str) -> Result<Url> {
        if url.len() > MAX_URL {
            return Err(Error::invalid_input("the address is longer than the limit")
                .with_context("limit", format!("{MAX_URL} bytes")));
        }
        let url =
            Url::parse(url).map_err(|e| Error::invalid_input("this is no whole address").with_source(e))?;
        self.check_url(&url).map_err(|e| e.with_context("url", crate::endpoint::shown(&url)))?;
        Ok(url)
    }

    fn check_url(&self, url: &Url) -> Result<()> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("only http and https addresses may be called"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("an address with a user name or password may not be called"));
        }
        let Some(host) = url.host() else { return Err(refused("the address has no host")) };
        if !self.only.is_empty() {
            let name = host.to_string();
            if !self.only.iter().any(|o| o == name.trim_end_matches('.')) {
                return Err(refused("the host is not among those that may be called"));
            }
        }
        if self.allows(&host.to_string()) {
            return Ok(());
        }
        if url.port().is_some_and(policy::is_bad_port) {
            return Err(refused("the address's port is one of another service"));
        }
        let fault = match host {
            Host::Domain(name) => policy::name_fault(name),
            Host::Ipv4(ip) => policy::ip_fault(ip.into()),
            Host::Ipv6(ip) => policy::ip_fault(ip.into()),
        };
        fault.map_or(Ok(()), |why| Err(refused(why)))
    }

    fn allows(&self, host: &str) -> bool {
        self.allowed.iter().any(|a| a == host.trim_end_matches('.'))
    }

    /// Fetches what is at an address.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), for this address and each that it redirects to; by the status of an error
    /// reply; `InvalidOutput` for a body beyond the limit or too many redirects; `Timeout`, `Cancelled`;
    /// `Unavailable` if there is no connection or it breaks; `Config` outside of a tokio runtime.
    pub async fn fetch(&self, url: &str, context: &Context) -> Result<Fetched> {
        context.check()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("HTTP calls need a tokio runtime; this code runs outside of one"));
        }
        let limit = after(self.timeout);
        let until = context.deadline.map(Instant::from_std).map_or(limit, |d| d.min(limit));
        let timed = async {
            tokio::time::timeout_at(until, self.follow(url))
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the address did not answer in time")))
        };
        context.cancel.guard(timed).await
    }

    async fn follow(&self, url: &str) -> Result<Fetched> {
        let mut url = self.check(url)?;
        for redirects in 0..=self.max_redirects {
            let shown = crate::endpoint::shown(&url);
            let (response, head) = self.get(&url).await.map_err(|e| e.with_context("url", shown.clone()))?;
            let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
            match (head.status, text("location")) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let next = url.join(location).map_err(|e| {
                        Error::invalid_output("the server redirects to what is no address").with_source(e)
                    })?;
                    url = self.check(next.as_str())?;
                }
                (200..=299, _) => {
                    let content_type = head.content_type.clone();
                    let body = HttpStream::new(head, response, self.max_bytes, self.timeout, &Context::new());
                    let body =
                        body.read(self.max_bytes).await.map_err(|e| e.with_context("url", shown))?.body;
                    return Ok(Fetched { url, content_type, body, redirects });
                }
                (status, _) => {
                    let error = ErrorDetails::default().into_error(Some(status));
                    return Err(error.with_context("url", shown));
                }
            }
        }
        Err(Error::invalid_output("the server redirects more often than the limit")
            .with_context("limit", self.max_redirects.to_string()))
    }

    async fn get(&self, url: &Url) -> Result<(reqwest::Response, Head)> {
        let call = self.client()?.get(url.clone()).header("accept", "*/*");
        let response = call.send().await.map_err(connection_error)?;
        // The address was checked before; here is who really answered.
        if !url.host().is_some_and(|h| self.allows(&h.to_string()))
            && let Some(why) = response.remote_addr().and_then(|peer| policy::ip_fault(peer.ip()))
        {
            return Err(refused(why));
        }
        let content_type = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        let head = Head {
            status: response.status().as_u16(),
            content_type: content_type.map(str::to_owned),
            ..Head::default()
        };
        Ok((response, head))
    }

    fn client(&self) -> Result<&reqwest::Client> {
        let build = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(crate::tls::config()?)
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
                .referer(false)
                .no_proxy()
                // No connection outlives its check.
                .pool_max_idle_per_host(0)
                .dns_resolver(Checked { allowed: self.allowed.clone(), lookup: self.lookup.clone() })
                .user_agent(&self.user_agent)
                .build()
                .map_err(|e| Error::config("the HTTP client can't be set up").with_source(e))
        };
        self.client.get_or_init(build).as_ref().map_err(Clone::clone)
    }
}

/// Looks names up and gives only addresses that may be connected to.
struct Checked {
    allowed: Arc<Vec<String>>,
    lookup: Arc<Lookup>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.allowed.iter().any(|a| a == name.as_str().trim_end_matches('.'));
        let lookup = self.lookup.clone();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || lookup(name.as_str())).await??;
            if let Some(why) = found.iter().find_map(|ip| policy::ip_fault(*ip)).filter(|_| !allowed) {
                return Err(refused(why).into());
            }
            // Port 0 stands for the address's own.
            let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

fn connection_error(error: reqwest::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        if let Some(own) = e.downcast_ref::<Error>() {
            return own.clone();
        }
        cause = e.source();
    }
    crate::client::connection_error(error)
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
