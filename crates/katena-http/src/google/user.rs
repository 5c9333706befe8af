//! Tokens of a person who has signed in.

use std::fmt;

use async_trait::async_trait;
use katena_core::Result;
use serde_json::Value;

use super::{TOKEN_URI, client, exchange, field, parse, token_endpoint};
use crate::token_cache::Cache;
use crate::{Endpoint, HttpClient, Proxy, Secret, TokenSource};

/// A person who has signed in, as `gcloud auth application-default login` writes it down: a refresh token, for
/// which the vendor gives an access token.
///
/// ```
/// use katena_http::google::GoogleUser;
/// let user = GoogleUser::from_json(r#"{"client_id": "id", "client_secret": "hidden", "refresh_token": "hidden"}"#)?;
/// assert!(!format!("{user:?}").contains("hidden"));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct GoogleUser {
    client: HttpClient,
    endpoint: Endpoint,
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    quota_project: Option<String>,
    cache: Cache,
}

impl fmt::Debug for GoogleUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleUser").field("quota_project", &self.quota_project).finish_non_exhaustive()
    }
}

impl GoogleUser {
    /// The person of a credentials file's text.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if a field is missing; `Config` if its token address is not https.
    pub fn from_json(json: &str) -> Result<Self> {
        Self::from_value(&parse(json)?, Proxy::None)
    }

    pub(super) fn from_value(value: &Value, proxy: Proxy) -> Result<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            client: client(proxy),
            endpoint: token_endpoint(text("token_uri").as_deref().unwrap_or(TOKEN_URI))?,
            client_id: field(value, "client_id")?,
            client_secret: field(value, "client_secret")?.into(),
            refresh_token: field(value, "refresh_token")?.into(),
            quota_project: text("quota_project_id"),
            cache: Cache::default(),
        })
    }

    /// Uses this client.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    /// The project that calls are billed to.
    pub fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }
}

#[async_trait]
impl TokenSource for GoogleUser {
    async fn token(&self) -> Result<Secret> {
        let fetch = async {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", self.client_id.as_str()),
                ("client_secret", self.client_secret.expose()),
                ("refresh_token", self.refresh_token.expose()),
            ];
            let secrets = [&self.refresh_token, &self.client_secret];
            exchange(&self.client, &self.endpoint, &form, &secrets).await
        };
        self.cache.get(fetch).await
    }
}
