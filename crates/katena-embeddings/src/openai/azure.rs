//! Azure: the same route at other addresses.
//!
//! Dated: `{endpoint}/openai/deployments/{deployment}/embeddings?api-version=…`. Without a date:
//! `{endpoint}/openai/v1/embeddings`. The key goes into `api-key`, an Entra ID token into `Authorization`.

use katena_core::{Error, Result};
use katena_http::Endpoint;

use super::{KeyHeader, LIMITS, MODELS, OpenAiEmbedder, OpenAiWire};
use crate::shell::Shell;
use crate::{EmbedModel, Encoding, env};

impl OpenAiEmbedder {
    /// A deployment on Azure, by the v1 API, which has no dates. Open it with [`with_api_key`](Self::with_api_key) or
    /// [`with_token_source`](Self::with_token_source) (scope `https://ai.azure.com/.default`).
    ///
    /// The model is the deployment's name: one that is not called as its model needs its dimensions.
    ///
    /// ```
    /// use katena_embeddings::{EmbedModel, OpenAiEmbedder};
    /// let own = EmbedModel::new("search-vectors", 1536);
    /// let embedder = OpenAiEmbedder::azure(own, "https://example.openai.azure.com")?.with_api_key("key");
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Kind `Config` if the dimensions are not known, or `endpoint` is no `http` or `https` address.
    pub fn azure(deployment: impl Into<EmbedModel>, endpoint: impl AsRef<str>) -> Result<Self> {
        let base = root(endpoint.as_ref())?.join("openai/v1")?;
        Self::on_azure(deployment.into(), Endpoint::new(base)?)
    }

    /// A deployment on Azure, by the API of a date, such as `2024-10-21`. Open it with
    /// [`with_api_key`](Self::with_api_key) or [`with_token_source`](Self::with_token_source) (scope
    /// `https://cognitiveservices.azure.com/.default`).
    ///
    /// # Errors
    /// As [`azure`](Self::azure), and for a deployment's name that can't stand in an address.
    pub fn azure_dated(
        deployment: impl Into<EmbedModel>,
        endpoint: impl AsRef<str>,
        api_version: impl AsRef<str>,
    ) -> Result<Self> {
        let deployment = deployment.into();
        if deployment.name().contains('/') {
            return Err(Error::config("a deployment's name has no slash in it"));
        }
        let mut base = root(endpoint.as_ref())?.join(&format!("openai/deployments/{}", deployment.name()))?;
        base.query_pairs_mut().append_pair("api-version", api_version.as_ref());
        Self::on_azure(deployment, Endpoint::new(base)?)
    }

    fn on_azure(deployment: EmbedModel, endpoint: Endpoint) -> Result<Self> {
        // Base64 is OpenAI's; Azure serves other makers' models too.
        let theirs = deployment.name().contains("text-embedding");
        let encoding = if theirs { Encoding::Base64 } else { Encoding::Floats };
        let model = deployment.resolve_by_name(MODELS)?;
        let wire = OpenAiWire { encoding, key: KeyHeader::ApiKey };
        Ok(Self(Shell::new("azure", endpoint, model, wire, LIMITS)))
    }

    /// A deployment on Azure by the environment: `AZURE_OPENAI_ENDPOINT`, `AZURE_OPENAI_API_KEY`, and
    /// `OPENAI_API_VERSION` for the API of a date.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` if the endpoint is.
    pub fn azure_from_env(deployment: impl Into<EmbedModel>) -> Result<Self> {
        Self::azure_from_lookup(deployment.into(), env::process)
    }

    pub(super) fn azure_from_lookup(
        deployment: EmbedModel,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let endpoint = env::get(&lookup, "AZURE_OPENAI_ENDPOINT")
            .ok_or_else(|| Error::config("the variable AZURE_OPENAI_ENDPOINT is not set"))?;
        let key = env::required(&lookup, &["AZURE_OPENAI_API_KEY"], "azure")?;
        let this = match env::get(&lookup, "OPENAI_API_VERSION") {
            Some(version) => Self::azure_dated(deployment, endpoint, version)?,
            None => Self::azure(deployment, endpoint)?,
        };
        Ok(this.with_api_key(key).with_client(env::client()))
    }
}

fn root(endpoint: &str) -> Result<Endpoint> {
    Endpoint::new(endpoint.trim().trim_end_matches('/'))
}
