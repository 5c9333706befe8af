//! Tokens of the machine, by the cloud's metadata server.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use katena_core::{ErrorKind, Result};

use super::{VENDOR, unauthenticated};
use crate::token_cache::{Cache, Fresh};
use crate::{Endpoint, HttpClient, HttpOptions, HttpRequest, Secret, TokenSource};

const BASE: &str = "http://metadata.google.internal";

/// The account of the machine that the program runs on: Compute Engine, Cloud Run, GKE.
///
/// ```
/// let metadata = katena_http::google::GoogleMetadata::new();
/// assert!(format!("{metadata:?}").contains("metadata.google.internal"));
/// ```
pub struct GoogleMetadata {
    client: HttpClient,
    endpoint: Endpoint,
    cache: Cache,
}

impl fmt::Debug for GoogleMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleMetadata").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Default for GoogleMetadata {
    fn default() -> Self {
        Self::new()
    }
}

impl GoogleMetadata {
    /// The machine's own server.
    pub fn new() -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        Self::at(BASE).expect("a good address")
    }

    /// A server at another address, such as `GCE_METADATA_HOST` names it.
    ///
    /// # Errors
    /// Kind `Config` if `base` is no `http` or `https` address.
    pub fn at(base: &str) -> Result<Self> {
        // It answers at once or is not there. No proxy: it is this machine's.
        let options = HttpOptions::new()
            .with_connect_timeout(Duration::from_secs(3))
            .with_timeout(Duration::from_secs(10))
            .with_max_body(1 << 20);
        let endpoint = Endpoint::new(base)?.with_vendor(VENDOR).with_header("metadata-flavor", "Google");
        Ok(Self { client: HttpClient::with_options(options), endpoint, cache: Cache::default() })
    }
}

#[async_trait]
impl TokenSource for GoogleMetadata {
    async fn token(&self) -> Result<Secret> {
        let fetch = async {
            let path = "computeMetadata/v1/instance/service-accounts/default/token";
            let call = HttpRequest::get(&self.endpoint, path)?;
            let reply = self.client.send(call).await.map_err(|e| match (e.status(), e.kind()) {
                (None, ErrorKind::Unavailable | ErrorKind::Timeout) => unauthenticated(
                    "there are no credentials: GOOGLE_APPLICATION_CREDENTIALS is not set, nobody has signed in with gcloud, \
                     and no metadata server answers",
                )
                .with_source(e),
                (Some(404), _) => unauthenticated("the machine has no service account").with_source(e),
                _ => e,
            })?;
            Fresh::of(&reply.json()?).map_err(|e| reply.mark(e))
        };
        self.cache.get(fetch).await
    }
}
