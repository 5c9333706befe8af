//! Profiles: named credentials in the files that AWS's own tools share.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Error, ErrorKind, Result};

use super::credentials::{Credentials, CredentialsProvider, unauthenticated};
use super::metadata::{ContainerCredentials, InstanceCredentials};
use super::sts::{self, Role, RoleCredentials, WebIdentityCredentials};
use crate::client::HttpClient;

/// More than anybody's credentials take.
const MAX_FILE: u64 = 1 << 20;
/// Profiles that lead to other profiles.
const MAX_STEPS: usize = 8;

/// Reads a small text file.
pub(super) fn read_limited(path: &Path) -> Result<String> {
    let fail = |e: std::io::Error| Error::from(e).with_context("path", path.display().to_string());
    let mut text = String::new();
    std::fs::File::open(path).map_err(fail)?.take(MAX_FILE + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::config("a file with credentials is too large")
            .with_context("path", path.display().to_string()));
    }
    Ok(text)
}

/// Where the two files are.
///
/// ```
/// use katena_http::aws::ProfileFiles;
/// let files = ProfileFiles::from_lookup(|name| (name == "HOME").then(|| "/home/ada".to_owned()));
/// assert!(files.credentials.ends_with(".aws/credentials"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProfileFiles {
    /// The file of keys; `[name]` begins a profile.
    pub credentials: PathBuf,
    /// The file of settings; `[profile name]` begins a profile.
    pub config: PathBuf,
}

impl ProfileFiles {
    /// These two files. One that doesn't exist is as good as empty.
    pub fn new(credentials: impl Into<PathBuf>, config: impl Into<PathBuf>) -> Self {
        Self { credentials: credentials.into(), config: config.into() }
    }

    /// By `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE`, else below `HOME` (or `USERPROFILE`).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name| lookup(name).filter(|v| !v.trim().is_empty()).map(PathBuf::from);
        let home = get("HOME").or_else(|| get("USERPROFILE")).unwrap_or_default().join(".aws");
        Self {
            credentials: get("AWS_SHARED_CREDENTIALS_FILE").unwrap_or_else(|| home.join("credentials")),
            config: get("AWS_CONFIG_FILE").unwrap_or_else(|| home.join("config")),
        }
    }

    fn read(&self) -> Result<Profiles> {
        let text = |path: &Path| match read_limited(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        let mut profiles = Profiles::default();
        profiles.add(&text(&self.config)?, |section| match section.split_once(char::is_whitespace) {
            Some(("profile", name)) => Some(name.trim().to_owned()),
            None if section == "default" => Some(section.to_owned()),
            _ => None,
        });
        // What both files set counts as the file of keys says.
        profiles.add(&text(&self.credentials)?, |section| Some(section.to_owned()));
        Ok(profiles)
    }
}

#[derive(Default)]
struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

impl Profiles {
    fn add(&mut self, text: &str, name: impl Fn(&str) -> Option<String>) {
        let mut section = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix('[') {
                let title = rest.split(']').next().unwrap_or_default().trim().trim_matches('"');
                section = name(title).map(|n| n.trim_matches('"').to_owned());
                if let Some(section) = &section {
                    self.0.entry(section.clone()).or_default();
                }
                continue;
            }
            // An indented line belongs to a group of settings that say nothing about credentials.
            let (Some(section), Some((key, value)), false) =
                (&section, trimmed.split_once('='), line.starts_with([' ', '\t']))
            else {
                continue;
            };
            let value = [" #", " ;"].iter().fold(value, |v, mark| v.split(mark).next().unwrap_or(v)).trim();
            if let Some(profile) = self.0.get_mut(section) {
                profile.insert(key.trim().to_ascii_lowercase(), value.to_owned());
            }
        }
    }

    fn get(&self, profile: &str, key: &str) -> Option<&str> {
        self.0.get(profile)?.get(key).map(String::as_str).filter(|v| !v.is_empty())
    }
}

/// Credentials of a named profile. The files are read at each fetch.
///
/// A profile may hold a key, take a role by `source_profile`, `credential_source` or `web_identity_token_file`; one that
/// runs a program (`credential_process`) or signs in by a browser (SSO) is refused as `Unsupported`.
///
/// ```
/// use katena_http::aws::{ProfileCredentials, ProfileFiles};
/// let provider = ProfileCredentials::new("work", ProfileFiles::new("/tmp/credentials", "/tmp/config"));
/// # let _ = provider;
/// ```
#[derive(Clone)]
pub struct ProfileCredentials {
    profile: String,
    files: ProfileFiles,
    client: HttpClient,
    sts: Option<String>,
    lookup: Lookup,
}

/// How variables of the environment are found.
pub(super) type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl fmt::Debug for ProfileCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileCredentials").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl ProfileCredentials {
    /// The profile of this name in these files.
    pub fn new(profile: impl Into<String>, files: ProfileFiles) -> Self {
        Self {
            profile: profile.into(),
            files,
            client: HttpClient::new(),
            sts: None,
            lookup: Arc::new(|_| None),
        }
    }

    /// Asks another address than AWS's own for roles.
    pub fn with_sts_url(mut self, base: impl Into<String>) -> Self {
        self.sts = Some(base.into());
        self
    }

    /// Finds variables of the environment, for profiles whose `credential_source` names it; without it, none are seen.
    pub fn with_lookup(mut self, lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.lookup = Arc::new(lookup);
        self
    }

    /// The region that the profile names.
    ///
    /// # Errors
    /// Those of reading the files.
    pub fn region(&self) -> Result<Option<String>> {
        Ok(self.files.read()?.get(&self.profile, "region").map(str::to_owned))
    }

    fn provider(
        &self,
        profiles: &Profiles,
        name: &str,
        steps: usize,
    ) -> Result<Arc<dyn CredentialsProvider>> {
        let at = |error: Error| error.with_context("profile", name.to_owned());
        if steps > MAX_STEPS {
            return Err(at(Error::config("the profiles lead to each other without end")));
        }
        if !profiles.0.contains_key(name) {
            return Err(at(Error::new(ErrorKind::NotFound, "there is no such profile")));
        }
        let get = |key| profiles.get(name, key);
        let key = || match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Some(
                Credentials::new(id, secret).with_session_token(get("aws_session_token").unwrap_or_default()),
            ),
            _ => None,
        };
        if let Some(arn) = get("role_arn") {
            let region = get("region").map(str::to_owned).or_else(|| super::region_from(&*self.lookup));
            let region = region.unwrap_or_else(|| "us-east-1".to_owned());
            let session = get("role_session_name").unwrap_or("katena").to_owned();
            if let Some(file) = get("web_identity_token_file") {
                let role = WebIdentityCredentials::new(file, arn, &region)?.with_session_name(session);
                return Ok(Arc::new(match &self.sts {
                    Some(base) => role.with_base_url(base)?,
                    None => role,
                }));
            }
            let source: Arc<dyn CredentialsProvider> = match (get("source_profile"), get("credential_source"))
            {
                (Some(source), _) if source == name => match key() {
                    Some(key) => Arc::new(key),
                    None => return Err(at(Error::config("a profile that is its own source holds no key"))),
                },
                (Some(source), _) => self.provider(profiles, source, steps + 1)?,
                (None, Some("Environment")) => match Credentials::from_lookup(&*self.lookup)? {
                    Some(key) => Arc::new(key),
                    None => return Err(at(unauthenticated("the environment holds no key"))),
                },
                (None, Some("EcsContainer")) => match ContainerCredentials::from_lookup(&*self.lookup)? {
                    Some(container) => Arc::new(container),
                    None => return Err(at(unauthenticated("this is no container with credentials"))),
                },
                (None, Some("Ec2InstanceMetadata")) => match InstanceCredentials::from_lookup(&*self.lookup)?
                {
                    Some(instance) => Arc::new(instance),
                    None => return Err(at(unauthenticated("the metadata service is switched off"))),
                },
                _ => return Err(at(Error::config("the profile names a role, but not who takes it"))),
            };
            return Ok(Arc::new(RoleCredentials {
                client: self.client.clone(),
                endpoint: sts::endpoint(&region, self.sts.as_deref())?,
                region,
                role: Role {
                    arn: arn.to_owned(),
                    session,
                    external_id: get("external_id").map(str::to_owned),
                    seconds: get("duration_seconds").and_then(|n| n.parse().ok()),
                },
                source,
            }));
        }
        if let Some(key) = key() {
            return Ok(Arc::new(key));
        }
        if ["credential_process", "sso_session", "sso_start_url"].iter().any(|key| get(key).is_some()) {
            return Err(at(Error::unsupported(
                "profiles that run a program or sign in by a browser are not supported; export their credentials",
            )));
        }
        Err(at(unauthenticated("the profile holds no key")))
    }
}

#[async_trait]
impl CredentialsProvider for ProfileCredentials {
    async fn credentials(&self) -> Result<Credentials> {
        let provider = self.provider(&self.files.read()?, &self.profile, 0)?;
        provider.credentials().await
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
