//! Tokens of a service account, by its key file.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use katena_core::Result;
use ring::rsa::KeyPair;
use serde_json::{Value, json};

use super::{CLOUD_PLATFORM, TOKEN_URI, client, exchange, field, jwt, parse, token_endpoint};
use crate::token_cache::Cache;
use crate::{Endpoint, HttpClient, Proxy, Secret, TokenSource};

/// A statement is good for so long; the vendor takes no more.
const LASTS: u64 = 3600;

/// A service account: its private key signs a statement, for which the vendor gives a token.
///
/// ```
/// use katena_http::google::GoogleServiceAccount;
/// let error = GoogleServiceAccount::from_json(r#"{"type": "service_account"}"#).unwrap_err();
/// assert_eq!(error.kind(), katena_core::ErrorKind::Unauthenticated);
/// ```
pub struct GoogleServiceAccount {
    client: HttpClient,
    endpoint: Endpoint,
    email: String,
    key_id: Option<String>,
    key: KeyPair,
    project: Option<String>,
    scopes: String,
    cache: Cache,
}

impl fmt::Debug for GoogleServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleServiceAccount").field("project", &self.project).finish_non_exhaustive()
    }
}

impl GoogleServiceAccount {
    /// The account of a key file's text, for all services of the cloud.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if a field is missing or the key can't be read; `Config` if its token address is not
    /// https.
    pub fn from_json(json: &str) -> Result<Self> {
        Self::from_value(&parse(json)?, Proxy::None)
    }

    pub(super) fn from_value(value: &Value, proxy: Proxy) -> Result<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            client: client(proxy),
            endpoint: token_endpoint(text("token_uri").as_deref().unwrap_or(TOKEN_URI))?,
            email: field(value, "client_email")?,
            key_id: text("private_key_id"),
            key: jwt::key(&field(value, "private_key")?)?,
            project: text("project_id"),
            scopes: CLOUD_PLATFORM.to_owned(),
            cache: Cache::default(),
        })
    }

    /// Sets what the tokens are good for.
    pub fn with_scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes: Vec<String> = scopes.into_iter().map(|s| s.as_ref().to_owned()).collect();
        self.scopes = scopes.join(" ");
        self
    }

    /// Uses this client.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    /// The project that the account belongs to.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The signed statement at `now`, in seconds since 1970.
    pub(super) fn assertion(&self, now: u64) -> Result<String> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = json!(id);
        }
        let claims = json!({
            "iss": self.email, "scope": self.scopes, "aud": self.endpoint.base().as_str(),
            "iat": now, "exp": now + LASTS,
        });
        jwt::sign(&self.key, &header, &claims)
    }
}

#[async_trait]
impl TokenSource for GoogleServiceAccount {
    async fn token(&self) -> Result<Secret> {
        let fetch = async {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let assertion = Secret::new(self.assertion(now)?);
            let form = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", assertion.expose()),
            ];
            exchange(&self.client, &self.endpoint, &form, &[&assertion]).await
        };
        self.cache.get(fetch).await
    }
}
