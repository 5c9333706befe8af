//! Budget alerts by webhook.

use std::fmt;
use std::sync::Arc;

use katena_core::{Error, Result};
use katena_http::{Endpoint, HttpClient, HttpRequest, Secret};

use super::budget::{Budget, BudgetAlert};

/// Where alerts are posted as JSON: the fields of [`BudgetAlert`].
///
/// ```
/// use katena_http::HttpClient;
/// use katena_layers::{Budget, Cost, Webhook};
/// let webhook = Webhook::new(HttpClient::new(), "https://hooks.example.com/budget")?;
/// let budget = Budget::daily("all", Cost::dollars(20.0)).with_webhook(webhook);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Webhook {
    client: HttpClient,
    endpoint: Endpoint,
    path: String,
}

impl fmt::Debug for Webhook {
    // The address of a webhook is often its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl Webhook {
    /// Posts to this address. Redirects are not followed.
    ///
    /// # Errors
    /// Kind `Config` if it is no `http` or `https` address.
    pub fn new(client: HttpClient, url: &str) -> Result<Self> {
        let (address, query) = url.split_once('?').map_or((url, None), |(a, q)| (a, Some(q)));
        let start = address.find("://").map_or(0, |at| at + 3);
        let (base, path) = match address[start..].rfind('/') {
            Some(at) => address.split_at(start + at),
            None => (address, ""),
        };
        let base = query.map_or_else(|| base.to_owned(), |q| format!("{base}?{q}"));
        let endpoint = Endpoint::new(base).map_err(|_| Error::config("the webhook's address is no URL"))?;
        Ok(Self { client, endpoint, path: path.to_owned() })
    }

    /// Sends a header with each post, such as `authorization`.
    pub fn with_header(mut self, name: &'static str, value: impl Into<Secret>) -> Self {
        self.endpoint = self.endpoint.with_header(name, value);
        self
    }

    async fn post(self: Arc<Self>, alert: BudgetAlert) {
        let sent = async {
            let request = HttpRequest::post(&self.endpoint, &self.path)?.with_json(&alert)?;
            self.client.send(request).await
        };
        if let Err(error) = sent.await {
            // The error's own text may hold the address.
            tracing::error!(kind = %error.kind(), status = error.status(), "a budget's webhook failed");
        }
    }
}

impl Budget {
    /// Posts each alert to this address, on a task of its own: no call waits for it, and a failure is logged.
    pub fn with_webhook(self, webhook: Webhook) -> Self {
        let webhook = Arc::new(webhook);
        self.with_alert(move |alert| match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(webhook.clone().post(alert.clone()))),
            Err(_) => tracing::error!("a budget's webhook needs a tokio runtime"),
        })
    }
}
