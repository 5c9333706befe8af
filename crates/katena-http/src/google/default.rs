//! The application's default credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use katena_core::{Error, Result};
use serde_json::Value;

use super::{GoogleMetadata, GoogleServiceAccount, GoogleUser, VENDOR, parse, unauthenticated};
use crate::{Proxy, TokenSource};

/// A credentials file is smaller than this.
const MAX_FILE: u64 = 1 << 20;

/// Credentials, with what they say about projects.
///
/// ```
/// use katena_http::google::GoogleCredentials;
/// let json = r#"{"type": "authorized_user", "client_id": "id", "client_secret": "s", "refresh_token": "r",
///     "quota_project_id": "acme"}"#;
/// let credentials = GoogleCredentials::from_json(json)?;
/// assert_eq!(credentials.quota_project.as_deref(), Some("acme"));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GoogleCredentials {
    /// Where the tokens come from.
    pub tokens: Arc<dyn TokenSource>,
    /// The project that the account belongs to.
    pub project: Option<String>,
    /// The project that calls are billed to, where it is another.
    pub quota_project: Option<String>,
}

impl GoogleCredentials {
    /// Credentials that only give tokens.
    pub fn new(tokens: Arc<dyn TokenSource>) -> Self {
        Self { tokens, project: None, quota_project: None }
    }

    /// The credentials of a file's text: a service account's key or a person who has signed in.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if it lacks something, `Unsupported` for other types of credentials.
    pub fn from_json(json: &str) -> Result<Self> {
        Self::read(json, Proxy::None)
    }

    fn read(json: &str, proxy: Proxy) -> Result<Self> {
        let value = parse(json)?;
        let mut credentials = match value.get("type").and_then(Value::as_str) {
            Some("service_account") => {
                let account = GoogleServiceAccount::from_value(&value, proxy)?;
                let project = account.project().map(str::to_owned);
                Self { project, ..Self::new(Arc::new(account)) }
            }
            Some("authorized_user") => Self::new(Arc::new(GoogleUser::from_value(&value, proxy)?)),
            Some(other) => {
                return Err(Error::unsupported("this type of Google credentials is not supported")
                    .with_vendor(VENDOR)
                    .with_context("type", other.chars().take(100).collect::<String>()));
            }
            None => return Err(unauthenticated("the credentials lack a field").with_context("field", "type")),
        };
        credentials.quota_project = value.get("quota_project_id").and_then(Value::as_str).map(str::to_owned);
        Ok(credentials)
    }

    /// The application's default: the file that `GOOGLE_APPLICATION_CREDENTIALS` names; else the one that gcloud
    /// writes (below `CLOUDSDK_CONFIG`, or its usual folder); else the metadata server (at `GCE_METADATA_HOST` if
    /// set), which is asked only when a token is needed. `GOOGLE_CLOUD_QUOTA_PROJECT` wins over a file's; the usual
    /// proxy variables count.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the named file can't be read or lacks something.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    pub(super) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let mut credentials = if let Some(path) = get("GOOGLE_APPLICATION_CREDENTIALS") {
            Self::read(&read(Path::new(&path))?, Proxy::FromEnv)?
        } else if let Some(path) = well_known(&get).filter(|p| p.is_file()) {
            Self::read(&read(&path)?, Proxy::FromEnv)?
        } else {
            Self::new(Arc::new(match get("GCE_METADATA_HOST") {
                Some(host) if host.starts_with("http") => GoogleMetadata::at(&host)?,
                Some(host) => GoogleMetadata::at(&format!("http://{host}"))?,
                None => GoogleMetadata::new(),
            }))
        };
        if let Some(project) = get("GOOGLE_CLOUD_QUOTA_PROJECT") {
            credentials.quota_project = Some(project);
        }
        Ok(credentials)
    }
}

/// The tokens of [`GoogleCredentials::from_env`].
///
/// # Errors
/// As [`GoogleCredentials::from_env`].
pub fn application_default() -> Result<Arc<dyn TokenSource>> {
    Ok(GoogleCredentials::from_env()?.tokens)
}

fn well_known(get: &impl Fn(&'static str) -> Option<String>) -> Option<PathBuf> {
    let folder = get("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| get("APPDATA").filter(|_| cfg!(windows)).map(|f| Path::new(&f).join("gcloud")))
        .or_else(|| get("HOME").map(|f| Path::new(&f).join(".config/gcloud")))?;
    Some(folder.join("application_default_credentials.json"))
}

fn read(path: &Path) -> Result<String> {
    let failed = |what: &'static str| unauthenticated(what).with_context("path", path.display().to_string());
    let size = std::fs::metadata(path)
        .map_err(|e| failed("the credentials file can't be read").with_source(e))?
        .len();
    if size > MAX_FILE {
        return Err(failed("the credentials file is larger than the limit"));
    }
    std::fs::read_to_string(path).map_err(|e| failed("the credentials file can't be read").with_source(e))
}
