//! Roles: credentials from the Security Token Service.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use katena_core::{Error, Result};

use super::canonical::encode;
use super::credentials::{Credentials, CredentialsProvider};
use super::profile::read_limited;
use super::sigv4::Signer;
use super::{check_region, domain, time};
use crate::client::HttpClient;
use crate::endpoint::Endpoint;
use crate::request::HttpRequest;

const VERSION: &str = "2011-06-15";

/// What a role is asked for with.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session: String,
    pub(super) external_id: Option<String>,
    pub(super) seconds: Option<u32>,
}

impl Role {
    fn form(&self, action: &str) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("Action", action.to_owned()),
            ("Version", VERSION.to_owned()),
            ("RoleArn", self.arn.clone()),
            ("RoleSessionName", self.session.clone()),
        ];
        form.extend(self.external_id.clone().map(|id| ("ExternalId", id)));
        form.extend(self.seconds.map(|n| ("DurationSeconds", n.to_string())));
        form
    }
}

pub(super) fn endpoint(region: &str, base: Option<&str>) -> Result<Endpoint> {
    check_region(region)?;
    let base = base.map_or_else(|| format!("https://sts.{region}.{}", domain(region)), str::to_owned);
    Ok(Endpoint::new(base)?.with_vendor("aws"))
}

fn request(endpoint: &Endpoint, form: &[(&'static str, String)]) -> Result<HttpRequest> {
    let pairs = form.iter().map(|(name, value)| format!("{name}={}", encode(value.as_bytes())));
    let body = pairs.collect::<Vec<_>>().join("&");
    Ok(HttpRequest::post(endpoint, "")?.with_body("application/x-www-form-urlencoded; charset=utf-8", body))
}

/// The four facts of an answer, which is XML of a fixed form.
fn read(body: &[u8]) -> Result<Credentials> {
    let text = String::from_utf8_lossy(body);
    let find = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        let (value, _) = rest.split_once(&format!("</{tag}>"))?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.replace("&amp;", "&"))
    };
    let credentials = (|| {
        let expiry = time::parse(&find("Expiration")?)?;
        let (id, secret) = (find("AccessKeyId")?, find("SecretAccessKey")?);
        Some(Credentials::new(id, secret).with_session_token(find("SessionToken")?).with_expiry(expiry))
    })();
    credentials.ok_or_else(|| {
        Error::invalid_output("the token service's reply holds no credentials").with_vendor("aws")
    })
}

/// Credentials of a role, for a token that another party signed: pods on EKS, CI jobs with OpenID Connect.
///
/// ```
/// use katena_http::aws::WebIdentityCredentials;
/// let provider = WebIdentityCredentials::new("/var/run/token", "arn:aws:iam::123456789012:role/r", "us-east-1")?;
/// # let _ = provider;
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct WebIdentityCredentials {
    client: HttpClient,
    endpoint: Endpoint,
    token_file: PathBuf,
    role: Role,
}

impl fmt::Debug for WebIdentityCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebIdentityCredentials").field("role", &self.role.arn).finish_non_exhaustive()
    }
}

impl WebIdentityCredentials {
    /// The role for the token in this file, which is read at each fetch.
    ///
    /// # Errors
    /// Kind `Config` for a bad region.
    pub fn new(token_file: impl Into<PathBuf>, role_arn: impl Into<String>, region: &str) -> Result<Self> {
        let role =
            Role { arn: role_arn.into(), session: "katena".to_owned(), external_id: None, seconds: None };
        Ok(Self {
            client: HttpClient::new(),
            endpoint: endpoint(region, None)?,
            token_file: token_file.into(),
            role,
        })
    }

    /// Sets the session's name, as it shows in AWS's logs.
    pub fn with_session_name(mut self, name: impl Into<String>) -> Self {
        self.role.session = name.into();
        self
    }

    /// Uses another address of the token service.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn with_base_url(mut self, base: impl AsRef<str>) -> Result<Self> {
        self.endpoint = self.endpoint.with_base(base)?;
        Ok(self)
    }

    /// Uses this client.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    /// By `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`, `AWS_ROLE_SESSION_NAME`, `AWS_ENDPOINT_URL_STS` and the region's
    /// variables; `None` if there is no token file or no role.
    ///
    /// # Errors
    /// Kind `Config` for a bad region or address.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let (Some(file), Some(arn)) = (get("AWS_WEB_IDENTITY_TOKEN_FILE"), get("AWS_ROLE_ARN")) else {
            return Ok(None);
        };
        let region = super::region_from(&lookup).unwrap_or_else(|| "us-east-1".to_owned());
        let mut this = Self::new(file, arn, &region)?;
        if let Some(name) = get("AWS_ROLE_SESSION_NAME") {
            this = this.with_session_name(name);
        }
        if let Some(base) = get("AWS_ENDPOINT_URL_STS") {
            this = this.with_base_url(base)?;
        }
        Ok(Some(this))
    }
}

#[async_trait]
impl CredentialsProvider for WebIdentityCredentials {
    async fn credentials(&self) -> Result<Credentials> {
        let mut form = self.role.form("AssumeRoleWithWebIdentity");
        form.push(("WebIdentityToken", read_limited(&self.token_file)?.trim().to_owned()));
        let request = request(&self.endpoint, &form)?;
        read(&self.client.send(request).await?.body)
    }
}

/// Credentials of a role, for those who may take it.
#[derive(Debug)]
pub(super) struct RoleCredentials {
    pub(super) client: HttpClient,
    pub(super) endpoint: Endpoint,
    pub(super) region: String,
    pub(super) role: Role,
    pub(super) source: Arc<dyn CredentialsProvider>,
}

#[async_trait]
impl CredentialsProvider for RoleCredentials {
    async fn credentials(&self) -> Result<Credentials> {
        let source = self.source.credentials().await?;
        let request = request(&self.endpoint, &self.role.form("AssumeRole"))?;
        let signer = Signer::new(source, self.region.clone(), "sts");
        let reply = self.client.send(signer.sign(request, SystemTime::now())?).await?;
        read(&reply.body)
    }
}
