//! Credentials from the place where the program runs: containers and virtual machines.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use katena_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use url::{Host, Url};

use super::credentials::{Credentials, CredentialsProvider, unauthenticated};
use super::profile::read_limited;
use super::time;
use crate::client::HttpClient;
use crate::endpoint::Endpoint;
use crate::options::HttpOptions;
use crate::request::{HttpRequest, Method};
use crate::secret::Secret;

const ECS: &str = "http://169.254.170.2";
const IMDS: &str = "http://169.254.169.254";
const IMDS_PATH: &str = "latest/meta-data/iam/security-credentials/";

/// These services are near or not there at all.
fn near() -> HttpClient {
    let (connect, whole) = (Duration::from_secs(1), Duration::from_secs(5));
    HttpClient::with_options(
        HttpOptions::new().with_connect_timeout(connect).with_timeout(whole).with_max_body(64 << 10),
    )
}

/// What both services answer. `Debug` is not derived: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    code: Option<String>,
    message: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

impl Wire {
    fn credentials(self) -> Result<Credentials> {
        if let Some(code) = self.code.filter(|c| !c.eq_ignore_ascii_case("success")) {
            let message = self.message.unwrap_or_default();
            return Err(unauthenticated("the metadata service gave no credentials")
                .with_context("code", code.chars().take(100).collect::<String>())
                .with_context("message", message.chars().take(300).collect::<String>()));
        }
        let (Some(id), Some(secret)) = (self.access_key_id, self.secret_access_key) else {
            return Err(Error::invalid_output("the metadata service's reply holds no key").with_vendor("aws"));
        };
        let credentials = Credentials::new(id, secret).with_session_token(self.token.unwrap_or_default());
        match self.expiration {
            None => Ok(credentials),
            Some(text) => match time::parse(&text) {
                Some(at) => Ok(credentials.with_expiry(at)),
                None => {
                    Err(Error::invalid_output("the expiry of the credentials is no time").with_vendor("aws"))
                }
            },
        }
    }
}

/// Credentials of a container on ECS, or of a pod on EKS.
///
/// ```
/// use katena_http::aws::ContainerCredentials;
/// let lookup = |name: &str| (name == "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").then(|| "/v2/role".to_owned());
/// assert!(ContainerCredentials::from_lookup(lookup)?.is_some());
/// // Only near hosts may be asked without TLS.
/// let lookup = |name: &str| (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| "http://example.com/".to_owned());
/// assert!(ContainerCredentials::from_lookup(lookup).is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ContainerCredentials {
    client: HttpClient,
    url: Url,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
}

impl fmt::Debug for ContainerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerCredentials").finish_non_exhaustive()
    }
}

impl ContainerCredentials {
    /// By `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI`, with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or
    /// `…_TOKEN`; `None` if neither address is set.
    ///
    /// # Errors
    /// Kind `Config` for a bad address, or one without TLS that is not near (loopback, or the link-local addresses of
    /// ECS and EKS).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let url = match (
            get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
            get("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ) {
            (Some(path), _) => format!("{ECS}/{}", path.trim_start_matches('/')),
            (None, Some(url)) => url,
            (None, None) => return Ok(None),
        };
        let url = Url::parse(&url).map_err(|e| {
            Error::config("the address of the container's credentials is no URL").with_source(e)
        })?;
        if url.scheme() != "https" && !is_near(&url) {
            return Err(Error::config("the container's credentials can't be fetched from afar without TLS"));
        }
        Ok(Some(Self {
            client: near(),
            url,
            token: get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
            token_file: get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
        }))
    }
}

fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || matches!(ip.octets(), [169, 254, 170, 2 | 23]),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.segments() == [0xFD00, 0xEC2, 0, 0, 0, 0, 0, 0x23],
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[async_trait]
impl CredentialsProvider for ContainerCredentials {
    async fn credentials(&self) -> Result<Credentials> {
        let mut base = self.url.clone();
        base.set_path("/");
        let endpoint = Endpoint::new(base.as_str())?.with_vendor("aws");
        let mut request =
            HttpRequest::get(&endpoint, self.url.path())?.with_header("accept", "application/json");
        let token = match &self.token_file {
            Some(path) => Some(Secret::new(read_limited(path)?)),
            None => self.token.clone(),
        };
        if let Some(token) = token {
            request = request.with_header("authorization", token);
        }
        self.client.send(request).await?.json::<Wire>()?.credentials()
    }
}

/// Credentials of a virtual machine on EC2, by version 2 of its metadata service (version 1 is not asked).
///
/// ```
/// use katena_http::aws::InstanceCredentials;
/// assert!(InstanceCredentials::from_lookup(|_| None)?.is_some());
/// let lookup = |name: &str| (name == "AWS_EC2_METADATA_DISABLED").then(|| "true".to_owned());
/// assert!(InstanceCredentials::from_lookup(lookup)?.is_none());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct InstanceCredentials {
    client: HttpClient,
    endpoint: Endpoint,
}

impl fmt::Debug for InstanceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceCredentials").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl InstanceCredentials {
    /// At the usual address, or at `AWS_EC2_METADATA_SERVICE_ENDPOINT`; `None` if `AWS_EC2_METADATA_DISABLED` is `true`.
    ///
    /// # Errors
    /// Kind `Config` for a bad address.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if lookup("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.trim().eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let base = lookup("AWS_EC2_METADATA_SERVICE_ENDPOINT").filter(|v| !v.trim().is_empty());
        let endpoint = Endpoint::new(base.as_deref().unwrap_or(IMDS))?.with_vendor("aws");
        Ok(Some(Self { client: near(), endpoint }))
    }

    async fn read(&self, path: &str, token: &Secret) -> Result<crate::body::HttpReply> {
        let request =
            HttpRequest::get(&self.endpoint, path)?.with_header("x-aws-ec2-metadata-token", token.clone());
        self.client.send(request).await
    }
}

#[async_trait]
impl CredentialsProvider for InstanceCredentials {
    async fn credentials(&self) -> Result<Credentials> {
        let request = HttpRequest::new(Method::Put, &self.endpoint, "latest/api/token")?
            .with_header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        let token = Secret::new(String::from_utf8_lossy(&self.client.send(request).await?.body));
        let roles = match self.read(IMDS_PATH, &token).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(unauthenticated("this machine has no role, so it has no credentials"));
            }
            reply => reply?.body,
        };
        let roles = String::from_utf8_lossy(&roles).into_owned();
        let role = roles.lines().map(str::trim).find(|line| !line.is_empty());
        let role =
            role.ok_or_else(|| unauthenticated("this machine has no role, so it has no credentials"))?;
        let path = format!("{IMDS_PATH}{}", super::canonical::encode(role.as_bytes()));
        self.read(&path, &token).await?.json::<Wire>()?.credentials()
    }
}
