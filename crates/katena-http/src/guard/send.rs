//! Whole calls through the guard: methods, headers and bodies.

use katena_core::Result;

use super::OutboundGuard;
use crate::body::HttpReply;
use crate::client::HttpClient;
use crate::options::HttpOptions;
use crate::request::HttpRequest;

impl OutboundGuard {
    /// Makes a call with its method, headers and body, under the rules and limits of [`fetch`](Self::fetch). No redirect is
    /// followed: it could carry the call's secrets elsewhere.
    ///
    /// # Errors
    /// Those of [`check`](Self::check) for the call's address, and of [`HttpClient::send`]; `Config` for a redirect.
    ///
    /// ```no_run
    /// use katena_http::{Endpoint, HttpRequest, guard::OutboundGuard};
    /// # async fn f() -> katena_core::Result<()> {
    /// let endpoint = Endpoint::new("https://api.example.com")?.with_bearer("key".into());
    /// let reply = OutboundGuard::new().send(HttpRequest::get(&endpoint, "users")?).await?;
    /// println!("{}", reply.redacted(&String::from_utf8_lossy(&reply.body)));
    /// # Ok(()) }
    /// ```
    pub async fn send(&self, request: HttpRequest) -> Result<HttpReply> {
        self.check_url(&request.url)
            .map_err(|e| e.with_context("url", crate::endpoint::shown(&request.url)))?;
        let options = HttpOptions::new().with_timeout(self.timeout).with_max_body(self.max_bytes);
        HttpClient::over(options, self.client()?.clone()).send(request).await
    }
}

impl HttpReply {
    /// A text of the reply, with `***` in place of what the call sent as a secret: some servers repeat it.
    pub fn redacted(&self, text: &str) -> String {
        self.head.sent.text(text).unwrap_or_else(|| text.to_owned())
    }
}
