//! Azure OpenAI: where a resource is, which routes it has, and what opens it.

use std::fmt;
use std::sync::Arc;

use katena_core::{Error, ErrorKind, Result};
use katena_http::{Endpoint, Secret, StaticToken, TokenSource};

use crate::openai_shared::link::{Link, variable};

const VENDOR: &str = "azure";

/// A resource of Azure OpenAI.
///
/// The routes are those of `v1`, or the dated ones that name an API version. A key goes as `api-key`; Entra's tokens go as
/// bearer tokens from a [`TokenSource`], such as `katena_http::EntraToken` (feature `entra`). A content filter that refuses
/// a prompt is an error of kind `Refused`.
///
/// ```
/// use katena_llms::AzureOpenAi;
/// let azure = AzureOpenAi::new("https://example.openai.azure.com").with_api_key("hidden");
/// assert!(!format!("{azure:?}").contains("hidden"));
/// # #[cfg(feature = "openai")] {
/// let model = katena_llms::OpenAiChat::azure(&azure, "my-deployment")?;
/// let dated = katena_llms::OpenAiChat::azure(&azure.with_api_version("2024-10-21"), "my-deployment")?;
/// # }
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct AzureOpenAi {
    endpoint: String,
    version: Option<String>,
    key: Option<Secret>,
    tokens: Option<Arc<dyn TokenSource>>,
    proxy: FromEnv,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FromEnv {
    Yes,
    No,
}

impl fmt::Debug for AzureOpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureOpenAi")
            .field("version", &self.version)
            .field("key", &self.key)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl AzureOpenAi {
    /// A resource by its address, such as `https://NAME.openai.azure.com`, by the routes of `v1`.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), version: None, key: None, tokens: None, proxy: FromEnv::No }
    }

    /// Uses the dated routes of this API version, such as `2024-10-21`.
    pub fn with_api_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets the resource's key, in place of tokens.
    pub fn with_api_key(mut self, key: impl Into<Secret>) -> Self {
        self.key = Some(key.into());
        self.tokens = None;
        self
    }

    /// Sets where tokens come from, in place of a key. For the routes of `v1` they are of the scope
    /// `https://ai.azure.com/.default`, for the dated ones of `https://cognitiveservices.azure.com/.default`.
    pub fn with_token_source(mut self, tokens: Arc<dyn TokenSource>) -> Self {
        self.tokens = Some(tokens);
        self.key = None;
        self
    }

    /// By the environment: `AZURE_OPENAI_ENDPOINT`, `OPENAI_API_VERSION` (without it, the routes of `v1`), and the first of
    /// `AZURE_OPENAI_API_KEY`, `AZURE_OPENAI_AD_TOKEN` and, with the feature `entra`, what
    /// `katena_http::EntraToken::from_env` finds.
    ///
    /// # Errors
    /// Kind `Config` if the address is missing, `Unauthenticated` if there is nothing that opens it.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), with variables from elsewhere.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let endpoint = variable(&lookup, "AZURE_OPENAI_ENDPOINT").ok_or_else(|| {
            Error::config("the variable AZURE_OPENAI_ENDPOINT is not set").with_vendor(VENDOR)
        })?;
        let mut this = Self { proxy: FromEnv::Yes, ..Self::new(endpoint) };
        this.version = variable(&lookup, "OPENAI_API_VERSION");
        if let Some(key) = variable(&lookup, "AZURE_OPENAI_API_KEY") {
            return Ok(this.with_api_key(key));
        }
        if let Some(token) = variable(&lookup, "AZURE_OPENAI_AD_TOKEN") {
            return Ok(this.with_token_source(Arc::new(StaticToken::new(token))));
        }
        match entra(&lookup, this.version.is_some())? {
            Some(tokens) => Ok(this.with_token_source(tokens)),
            None => Err(Error::new(
                ErrorKind::Unauthenticated,
                "none of the variables AZURE_OPENAI_API_KEY and AZURE_OPENAI_AD_TOKEN is set",
            )
            .with_vendor(VENDOR)),
        }
    }

    /// The way to a deployment's route: below it (dated), or beside all others. Components of other crates make theirs
    /// from [`endpoint`](Self::endpoint).
    pub(crate) fn link(&self, deployment: Option<&str>) -> Result<Link> {
        let endpoint = self.endpoint(deployment)?;
        let mut link = Link::new(endpoint.base().as_str())?;
        // The list of models has no deployment in its address.
        link.catalog = match deployment {
            Some(_) if self.version.is_some() => Some(self.endpoint(None)?),
            _ => None,
        };
        link.endpoint = endpoint;
        link.tokens.clone_from(&self.tokens);
        Ok(if self.proxy == FromEnv::Yes { link.with_env_proxy() } else { link })
    }

    /// The address below which the routes are, with the key's header. With a deployment, the dated routes are below it;
    /// those of `v1` name it as the model in the body.
    ///
    /// # Errors
    /// Kind `Config` if the resource's address is none, or the deployment's name has a slash in it.
    pub fn endpoint(&self, deployment: Option<&str>) -> Result<Endpoint> {
        // The portal shows the address with the routes of one version at its end.
        let base = self.endpoint.trim().trim_end_matches('/');
        let base = base.strip_suffix("/openai/v1").or_else(|| base.strip_suffix("/openai")).unwrap_or(base);
        let root = Endpoint::new(base)?;
        let url = match (&self.version, deployment) {
            (None, _) => root.join("openai/v1")?,
            (Some(_), None) => root.join("openai")?,
            (Some(_), Some(name)) => {
                if name.is_empty() || name.contains(['/', '%']) {
                    return Err(Error::config("a deployment's name has no slash in it").with_vendor(VENDOR));
                }
                root.join(&format!("openai/deployments/{name}"))?
            }
        };
        let mut url = url.to_string();
        if let Some(version) = &self.version {
            if !version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
                return Err(Error::config("the API version is no date or word").with_vendor(VENDOR));
            }
            url.push_str("?api-version=");
            url.push_str(version);
        }
        let endpoint = Endpoint::new(url)?.with_vendor(VENDOR);
        Ok(match &self.key {
            Some(key) if !key.is_empty() => endpoint.with_header("api-key", key.clone()),
            _ => endpoint,
        })
    }

    /// Where tokens come from, if a key does not open it.
    pub fn token_source(&self) -> Option<Arc<dyn TokenSource>> {
        self.tokens.clone()
    }
}

#[cfg(feature = "entra")]
fn entra(lookup: &impl Fn(&str) -> Option<String>, dated: bool) -> Result<Option<Arc<dyn TokenSource>>> {
    use katena_http::EntraToken;
    let scope = if dated { EntraToken::COGNITIVE_SCOPE } else { EntraToken::AI_SCOPE };
    Ok(Some(Arc::new(EntraToken::from_lookup(lookup)?.with_scope(scope))))
}

#[cfg(not(feature = "entra"))]
#[allow(clippy::unnecessary_wraps, reason = "as with the feature")]
fn entra(_: &impl Fn(&str) -> Option<String>, _: bool) -> Result<Option<Arc<dyn TokenSource>>> {
    Ok(None)
}

#[cfg(feature = "openai")]
impl crate::OpenAiChat {
    /// A model of Azure OpenAI, by the name of its deployment.
    ///
    /// # Errors
    /// Kind `Config` for an address or name that is none.
    pub fn azure(azure: &AzureOpenAi, deployment: impl Into<String>) -> Result<Self> {
        let deployment = deployment.into();
        let link = azure.link(Some(&deployment))?;
        Ok(Self::of(link, VENDOR, deployment, crate::openai_chat::Dialect::OpenAi))
    }

    /// A model of Azure OpenAI by the environment, as [`AzureOpenAi::from_env`] says.
    ///
    /// # Errors
    /// As [`AzureOpenAi::from_env`].
    pub fn azure_from_env(deployment: impl Into<String>) -> Result<Self> {
        Self::azure(&AzureOpenAi::from_env()?, deployment)
    }
}

#[cfg(feature = "responses")]
impl crate::OpenAiResponses {
    /// A model of Azure OpenAI, by the name of its deployment.
    ///
    /// # Errors
    /// Kind `Config` for an address that is none.
    pub fn azure(azure: &AzureOpenAi, deployment: impl Into<String>) -> Result<Self> {
        // These routes name the deployment as the model in the body, dated ones too.
        Ok(Self::of(azure.link(None)?, VENDOR, deployment))
    }

    /// A model of Azure OpenAI by the environment, as [`AzureOpenAi::from_env`] says.
    ///
    /// # Errors
    /// As [`AzureOpenAi::from_env`].
    pub fn azure_from_env(deployment: impl Into<String>) -> Result<Self> {
        Self::azure(&AzureOpenAi::from_env()?, deployment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Result<AzureOpenAi> {
        AzureOpenAi::from_lookup(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    const HERE: (&str, &str) = ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/");

    #[test]
    fn routes_with_and_without_a_date() {
        let url = |azure: &AzureOpenAi, name, path| {
            azure.endpoint(name).unwrap().join(path).unwrap().as_str().to_owned()
        };
        for base in ["https://r", "https://r/", "https://r/openai/v1/", "https://r/openai"] {
            let azure = AzureOpenAi::new(base);
            let path = "chat/completions";
            assert_eq!(url(&azure, Some("d"), path), "https://r/openai/v1/chat/completions");
            let dated = azure.with_api_version("2024-10-21");
            let want = "https://r/openai/deployments/d/chat/completions?api-version=2024-10-21";
            assert_eq!(url(&dated, Some("d"), path), want);
            assert_eq!(url(&dated, None, "responses"), "https://r/openai/responses?api-version=2024-10-21");
            let catalog = dated.link(Some("d")).unwrap().catalog.unwrap().join("models").unwrap();
            assert_eq!(catalog.as_str(), "https://r/openai/models?api-version=2024-10-21");
            assert!(dated.endpoint(Some("../d")).is_err());
            assert!(dated.with_api_version("1&x=2").endpoint(None).is_err());
        }
    }

    #[test]
    fn the_environment_decides_what_opens_it() {
        assert_eq!(of(&[]).unwrap_err().kind(), ErrorKind::Config);
        let keyed =
            of(&[HERE, ("AZURE_OPENAI_API_KEY", "very-hidden"), ("OPENAI_API_VERSION", "v")]).unwrap();
        assert!(keyed.token_source().is_none() && keyed.version.as_deref() == Some("v"));
        assert!(!format!("{keyed:?}").contains("hidden"));
        let token = of(&[HERE, ("AZURE_OPENAI_AD_TOKEN", "very-hidden")]).unwrap();
        assert!(token.token_source().is_some());
        assert!(!format!("{token:?}").contains("hidden"));
        #[cfg(not(feature = "entra"))]
        assert_eq!(of(&[HERE]).unwrap_err().kind(), ErrorKind::Unauthenticated);
        #[cfg(feature = "entra")]
        assert!(of(&[HERE]).unwrap().token_source().is_some());
    }
}
