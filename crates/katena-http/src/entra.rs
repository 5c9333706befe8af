//! Access tokens of Microsoft Entra ID, for Azure.
//!
//! A token is kept and replaced five minutes before it ends, one call at a time. A new one that can't be had while the old
//! one is still good is no failure yet.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use katena_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::token_cache::{Cache, Fresh};
use crate::{Endpoint, HttpClient, HttpOptions, HttpRequest, Method, Proxy, Secret, TokenSource};

const VENDOR: &str = "entra";
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// The metadata service of Azure's machines. Source: Microsoft's guide to managed identities.
const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// A source of Entra tokens: an application's secret, a workload's federated token, or a managed identity.
///
/// ```
/// use katena_http::{EntraToken, TokenSource};
/// let tokens = EntraToken::client_secret("tenant", "client", "hidden")?.with_scope(EntraToken::AI_SCOPE);
/// assert!(!format!("{tokens:?}").contains("hidden"));
/// let shared: std::sync::Arc<dyn TokenSource> = std::sync::Arc::new(tokens);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct EntraToken {
    identity: Identity,
    scope: String,
    client: HttpClient,
    cache: Arc<Cache>,
}

#[derive(Clone)]
enum Identity {
    Application {
        token: Endpoint,
        client_id: String,
        proof: Proof,
    },
    /// The machine's, or that of a service which stands in for it, with the secret of its address.
    Managed {
        token: Endpoint,
        client_id: Option<String>,
        header: Option<Secret>,
    },
}

#[derive(Clone)]
enum Proof {
    Secret(Secret),
    /// A file that the platform keeps fresh.
    File(PathBuf),
}

impl fmt::Debug for EntraToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = match &self.identity {
            Identity::Application { proof: Proof::Secret(_), .. } => "client secret",
            Identity::Application { proof: Proof::File(_), .. } => "federated token",
            Identity::Managed { .. } => "managed identity",
        };
        f.debug_struct("EntraToken")
            .field("identity", &identity)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

fn unauthenticated(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unauthenticated, message).with_vendor(VENDOR)
}

fn application(authority: &str, tenant: &str) -> Result<Endpoint> {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if tenant.is_empty() || !tenant.chars().all(name) {
        return Err(Error::config("the tenant is no id and no domain").with_vendor(VENDOR));
    }
    let endpoint = Endpoint::new(authority)?;
    let url = endpoint.join(&format!("{tenant}/oauth2/v2.0/token"))?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if url.scheme() != "https" && !local {
        return Err(Error::config("the authority's address is not https").with_vendor(VENDOR));
    }
    Ok(Endpoint::new(url.as_str())?.with_vendor(VENDOR))
}

impl EntraToken {
    /// What tokens for Azure OpenAI are good for; the default.
    pub const COGNITIVE_SCOPE: &'static str = "https://cognitiveservices.azure.com/.default";
    /// What tokens for the v1 routes of Azure OpenAI are good for.
    pub const AI_SCOPE: &'static str = "https://ai.azure.com/.default";

    fn new(identity: Identity) -> Self {
        let options = HttpOptions::new().with_timeout(Duration::from_secs(30)).with_max_body(1 << 20);
        // The metadata service is on the machine itself; no proxy reaches it.
        let proxy = match identity {
            Identity::Application { .. } => Proxy::FromEnv,
            Identity::Managed { .. } => Proxy::None,
        };
        Self {
            identity,
            scope: Self::COGNITIVE_SCOPE.to_owned(),
            client: HttpClient::with_options(options.with_proxy(proxy)),
            cache: Arc::default(),
        }
    }

    /// An application's own credentials.
    ///
    /// # Errors
    /// Kind `Config` if the tenant is no id and no domain.
    pub fn client_secret(
        tenant: impl AsRef<str>,
        client_id: impl Into<String>,
        secret: impl Into<Secret>,
    ) -> Result<Self> {
        let (token, proof) = (application(AUTHORITY, tenant.as_ref())?, Proof::Secret(secret.into()));
        Ok(Self::new(Identity::Application { token, client_id: client_id.into(), proof }))
    }

    /// A workload whose platform writes its proof into a file, as Kubernetes does.
    ///
    /// # Errors
    /// Kind `Config` if the tenant is no id and no domain.
    pub fn federated(
        tenant: impl AsRef<str>,
        client_id: impl Into<String>,
        file: impl Into<PathBuf>,
    ) -> Result<Self> {
        let (token, proof) = (application(AUTHORITY, tenant.as_ref())?, Proof::File(file.into()));
        Ok(Self::new(Identity::Application { token, client_id: client_id.into(), proof }))
    }

    /// The identity that Azure gave to this machine.
    pub fn managed_identity() -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let token = Endpoint::new(IMDS).expect("a good address").with_vendor(VENDOR);
        Self::new(Identity::Managed { token, client_id: None, header: None })
    }

    /// By the environment, the first that is there: `AZURE_TENANT_ID` and `AZURE_CLIENT_ID` with `AZURE_CLIENT_SECRET` or
    /// `AZURE_FEDERATED_TOKEN_FILE` (`AZURE_AUTHORITY_HOST` for another cloud); the managed identity of an app
    /// (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`) or of the machine, of which `AZURE_CLIENT_ID` chooses one.
    ///
    /// # Errors
    /// Kind `Config` for a bad address or tenant.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), with variables from elsewhere.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let client_id = get("AZURE_CLIENT_ID");
        if let (Some(tenant), Some(client_id)) = (get("AZURE_TENANT_ID"), client_id.clone()) {
            let authority = get("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned());
            let token = application(&authority, &tenant)?;
            let proof = match (get("AZURE_CLIENT_SECRET"), get("AZURE_FEDERATED_TOKEN_FILE")) {
                (Some(secret), _) => Some(Proof::Secret(secret.into())),
                (None, Some(file)) => Some(Proof::File(file.into())),
                (None, None) => None,
            };
            if let Some(proof) = proof {
                return Ok(Self::new(Identity::Application { token, client_id, proof }));
            }
        }
        let mut this = Self::managed_identity();
        if let (Some(endpoint), Some(header)) = (get("IDENTITY_ENDPOINT"), get("IDENTITY_HEADER")) {
            let token = Endpoint::new(endpoint)?.with_vendor(VENDOR);
            this.identity = Identity::Managed { token, client_id: None, header: Some(header.into()) };
        }
        Ok(match client_id {
            Some(id) => this.with_client_id(id),
            None => this,
        })
    }

    /// Sets what the tokens are good for: an address with `/.default` at its end.
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self.cache = Arc::default();
        self
    }

    /// Asks another authority, as national clouds have them.
    ///
    /// # Errors
    /// Kind `Config` if it is no `https` address; and for a managed identity, which asks none.
    pub fn with_authority(mut self, authority: impl AsRef<str>) -> Result<Self> {
        let Identity::Application { token, .. } = &mut self.identity else {
            return Err(Error::config("a managed identity asks no authority").with_vendor(VENDOR));
        };
        let tenant = token.base().path_segments().and_then(|mut s| s.next()).unwrap_or_default();
        *token = application(authority.as_ref(), tenant)?;
        self.cache = Arc::default();
        Ok(self)
    }

    /// Chooses one of a machine's identities, or the application.
    pub fn with_client_id(mut self, id: impl Into<String>) -> Self {
        match &mut self.identity {
            Identity::Application { client_id, .. } => *client_id = id.into(),
            Identity::Managed { client_id, .. } => *client_id = Some(id.into()),
        }
        self.cache = Arc::default();
        self
    }

    /// Uses this client.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    async fn fetch(&self) -> Result<Fresh> {
        let call = match &self.identity {
            Identity::Application { token, client_id, proof } => {
                let secret = proof.read().await?;
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "client_credentials")
                    .append_pair("client_id", client_id)
                    .append_pair("scope", &self.scope);
                match proof {
                    Proof::Secret(_) => form.append_pair("client_secret", secret.expose()),
                    Proof::File(_) => form
                        .append_pair(
                            "client_assertion_type",
                            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                        )
                        .append_pair("client_assertion", secret.expose()),
                };
                let call = exact(Method::Post, token)?;
                call.with_body("application/x-www-form-urlencoded", form.finish()).with_hidden(secret)
            }
            Identity::Managed { token, client_id, header } => {
                let resource = self.scope.strip_suffix("/.default").unwrap_or(&self.scope);
                let version = if header.is_some() { "2019-08-01" } else { "2018-02-01" };
                let mut call = exact(Method::Get, token)?
                    .with_query("api-version", version)
                    .with_query("resource", resource);
                if let Some(id) = client_id {
                    call = call.with_query("client_id", id);
                }
                match header {
                    Some(header) => call.with_header("x-identity-header", header.clone()),
                    None => call.with_header("metadata", "true"),
                }
            }
        };
        let reply = self.client.send(call).await.map_err(refused)?;
        Fresh::of(&with_span(reply.json()?)).map_err(|e| reply.mark(e))
    }
}

impl Proof {
    async fn read(&self) -> Result<Secret> {
        match self {
            Self::Secret(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let path = path.clone();
                let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path))
                    .await
                    .map_err(|e| Error::unexpected("reading the federated token stopped").with_source(e))?;
                text.map(Secret::new)
                    .map_err(|e| unauthenticated("the federated token can't be read").with_source(e))
            }
        }
    }
}

/// A call of the endpoint's own address; joining nothing to it would add a slash.
fn exact(method: Method, endpoint: &Endpoint) -> Result<HttpRequest> {
    let call = HttpRequest::new(method, endpoint, "")?;
    Ok(HttpRequest { url: endpoint.base().clone(), ..call })
}

/// Some services tell the end alone, in seconds since 1970.
fn with_span(mut reply: Value) -> Value {
    let number = |v: &Value| v.as_u64().or_else(|| v.as_str()?.parse().ok());
    if let Value::Object(reply) = &mut reply
        && !reply.contains_key("expires_in")
        && let Some(end) = reply.get("expires_on").and_then(number)
    {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        reply.insert("expires_in".into(), json!(end.saturating_sub(now)));
    }
    reply
}

/// An answer of 400 or 401 here means that the credentials are not accepted.
fn refused(error: Error) -> Error {
    match error.status() {
        Some(status @ (400 | 401 | 403)) => {
            unauthenticated(format!("the credentials are not accepted: {}", error.message()))
                .with_status(status)
        }
        _ => error,
    }
}

#[async_trait]
impl TokenSource for EntraToken {
    async fn token(&self) -> Result<Secret> {
        self.cache.get(self.fetch()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Result<EntraToken> {
        EntraToken::from_lookup(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_environment_chooses_the_identity() {
        let shown = |vars: &[(&str, &str)]| format!("{:?}", of(vars).unwrap());
        let app = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
        let with = |more: (&'static str, &'static str)| [app[0], app[1], more];
        let secret = shown(&with(("AZURE_CLIENT_SECRET", "very-hidden")));
        assert!(secret.contains("client secret") && !secret.contains("hidden"), "{secret}");
        assert!(shown(&with(("AZURE_FEDERATED_TOKEN_FILE", "/f"))).contains("federated"));
        assert!(shown(&app).contains("managed"));
        assert!(shown(&[]).contains("managed"));
        let bad = [("AZURE_TENANT_ID", "../t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")];
        assert_eq!(of(&bad).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn authorities_are_https() {
        let token = || EntraToken::client_secret("t", "c", "s").unwrap();
        assert!(token().with_authority("https://login.microsoftonline.us").is_ok());
        assert_eq!(token().with_authority("http://example.com").unwrap_err().kind(), ErrorKind::Config);
        assert!(EntraToken::managed_identity().with_authority(AUTHORITY).is_err());
    }

    #[test]
    fn an_end_becomes_a_span() {
        let reply = with_span(json!({"access_token": "t", "expires_on": "4102444800"}));
        assert!(reply["expires_in"].as_u64().is_some_and(|n| n > 86_400));
        assert_eq!(with_span(json!({"expires_in": 5, "expires_on": "1"}))["expires_in"], 5);
    }
}
