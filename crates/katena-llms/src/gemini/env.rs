//! Which service and which credentials, by the environment.

use std::sync::Arc;

use katena_core::{Error, ErrorKind, Result};
use katena_http::{HttpClient, HttpOptions, Proxy, TokenSource};

use super::{DEVELOPER, GeminiChat, VERTEX};

/// Credentials, with what they say about projects.
pub(super) struct Found {
    pub(super) tokens: Arc<dyn TokenSource>,
    pub(super) project: Option<String>,
    pub(super) quota_project: Option<String>,
}

impl GeminiChat {
    /// A model by the environment, with the usual proxy variables.
    ///
    /// On the Developer API by `GOOGLE_API_KEY`, else `GEMINI_API_KEY`, at `GOOGLE_GEMINI_BASE_URL` if set. If
    /// `GOOGLE_GENAI_USE_VERTEXAI` (or `GOOGLE_GENAI_USE_ENTERPRISE`) is `1` or `true`, on Vertex AI, at
    /// `GOOGLE_VERTEX_BASE_URL` if set: by `GOOGLE_CLOUD_PROJECT` and `GOOGLE_CLOUD_LOCATION` (`global` if unset)
    /// with the application's default credentials, which need the feature `vertex`; without a project by the key,
    /// and without a key in the project that the credentials name.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if there is no key or no credentials; `Config` for a bad address, or if the feature
    /// is missing.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Self::from_lookup(model.into(), |name| std::env::var(name).ok(), default_credentials)
    }

    pub(super) fn from_lookup(
        model: String,
        lookup: impl Fn(&str) -> Option<String>,
        credentials: impl FnOnce() -> Result<Found>,
    ) -> Result<Self> {
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let yes = |name| get(name).is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true"));
        let missing = |what, vendor| Err(Error::new(ErrorKind::Unauthenticated, what).with_vendor(vendor));
        let key = get("GOOGLE_API_KEY").or_else(|| get("GEMINI_API_KEY"));
        let on_vertex = yes("GOOGLE_GENAI_USE_VERTEXAI") || yes("GOOGLE_GENAI_USE_ENTERPRISE");
        let this = match (on_vertex, get("GOOGLE_CLOUD_PROJECT"), key) {
            (false, _, Some(key)) => Self::new(model, key),
            (false, _, None) => {
                return missing("neither GOOGLE_API_KEY nor GEMINI_API_KEY is set", DEVELOPER);
            }
            (true, None, Some(key)) => Self::vertex_express(model, key),
            (true, project, _) => {
                let found = credentials().map_err(|e| e.with_vendor(VERTEX))?;
                let Some(project) = project.or(found.project) else {
                    return missing(
                        "GOOGLE_CLOUD_PROJECT is not set, and the credentials name no project",
                        VERTEX,
                    );
                };
                let location = get("GOOGLE_CLOUD_LOCATION").or_else(|| get("GOOGLE_CLOUD_REGION"));
                let location = location.unwrap_or_else(|| "global".to_owned());
                let this = Self::vertex(model, project, location, found.tokens)?;
                match found.quota_project {
                    Some(project) => this.with_quota_project(project),
                    None => this,
                }
            }
        };
        let base = if on_vertex { "GOOGLE_VERTEX_BASE_URL" } else { "GOOGLE_GEMINI_BASE_URL" };
        let this = this.with_client(HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv)));
        match get(base) {
            Some(base) => this.with_base_url(base),
            None => Ok(this),
        }
    }
}

#[cfg(feature = "vertex")]
fn default_credentials() -> Result<Found> {
    let found = katena_http::google::GoogleCredentials::from_env()?;
    Ok(Found { tokens: found.tokens, project: found.project, quota_project: found.quota_project })
}

#[cfg(not(feature = "vertex"))]
fn default_credentials() -> Result<Found> {
    Err(Error::config("the application's default credentials need katena-llms with the feature `vertex`"))
}
