//! Amazon Bedrock's `InvokeModel`: Titan, Nova and Cohere embeddings, Amazon's and Cohere's rerankers.

mod wire;

use katena_core::{Error, Result};
use katena_http::Endpoint;
use katena_http::aws::{AwsAuth, check_region, domain, region_from};
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::model::Known;
use crate::rerank::{RerankCall, RerankShell, RerankWire};
use crate::shell::Shell;
use crate::{BatchLimits, EmbedModel, cohere, env};

pub use wire::decode_response;
use wire::{BedrockWire, Family, path};

/// The variable of Bedrock's API keys.
const BEARER: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// Dimensions and context lengths, by Bedrock's pages on the models.
const MODELS: &[Known] = &[
    ("amazon.titan-embed-text-v1", 1536, Some(8192)),
    ("amazon.titan-embed-text-v2:0", 1024, Some(8192)),
    ("amazon.nova-2-multimodal-embeddings-v1:0", 3072, Some(8192)),
    ("cohere.embed-english-v3", 1024, Some(512)),
    ("cohere.embed-multilingual-v3", 1024, Some(512)),
    ("cohere.embed-v4:0", 1536, Some(128_000)),
];

embedder! {
    /// Embedding models on Amazon Bedrock, opened by an API key or by signatures.
    ///
    /// The body follows the model's maker, told by the model's id: Titan (v1, v2), Nova, Cohere (v3, v4). Titan and Nova
    /// take one text a call, so many calls are made; Cohere takes 96. Cohere is told the role by `input_type`, Nova by
    /// `embeddingPurpose`. Titan knows no roles and has no field for texts that are too long: it refuses them.
    ///
    /// ```
    /// use katena_core::Embedder;
    /// use katena_embeddings::BedrockEmbedder;
    /// use katena_http::aws::AwsAuth;
    /// let auth = AwsAuth::bearer("key");
    /// let embedder = BedrockEmbedder::new("amazon.titan-embed-text-v2:0", "eu-central-1", auth)?.with_dimensions(256);
    /// assert_eq!(embedder.info().dimensions, 256);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    BedrockEmbedder, BedrockWire
}
embedder_setters!(BedrockEmbedder: dimensions, truncate);

fn endpoint(region: &str) -> Result<Endpoint> {
    check_region(region)?;
    Endpoint::new(format!("https://bedrock-runtime.{region}.{}", domain(region)))
}

/// The model's id without the region of an inference profile, such as `eu.`.
fn bare(id: &str) -> &str {
    let makers = ["amazon.", "cohere."];
    makers.into_iter().filter_map(|maker| id.find(maker)).min().map_or(id, |at| &id[at..])
}

fn region(lookup: &impl Fn(&str) -> Option<String>) -> Result<String> {
    region_from(lookup).ok_or_else(|| {
        Error::config("no region: neither AWS_REGION nor the profile names one").with_vendor("bedrock")
    })
}

impl BedrockEmbedder {
    /// A model, or an inference profile, in a region.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known or `region` is none, `Unsupported` for another maker's model.
    pub fn new(model: impl Into<EmbedModel>, region: impl AsRef<str>, auth: AwsAuth) -> Result<Self> {
        let model = model.into();
        let id = bare(model.name()).to_owned();
        let Some(family) = Family::of(&id) else {
            return Err(Error::unsupported(
                "of Bedrock's embedding models, Titan, Nova and Cohere are known",
            )
            .with_vendor("bedrock")
            .with_context("model", id));
        };
        let model = model.resolve(&id, MODELS)?;
        let limits = if family.one_text() { BatchLimits::new(1) } else { cohere::LIMITS };
        let region = region.as_ref();
        let mut shell = Shell::new("bedrock", endpoint(region)?, model, BedrockWire { family }, limits);
        shell.auth = Auth::Aws { auth, region: region.to_owned() };
        Ok(Self(shell))
    }

    /// A model by the environment: the region as AWS's tools find it, and `AWS_BEARER_TOKEN_BEDROCK` or the default
    /// chain of credentials.
    ///
    /// # Errors
    /// Kind `Config` if there is no region, and as [`new`](Self::new).
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        let region = region(&env::process)?;
        Ok(Self::new(model, region, AwsAuth::from_env(BEARER)?)?.with_client(env::client()))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct BedrockRerankWire;

impl RerankWire for BedrockRerankWire {
    fn path(&self, call: &RerankCall<'_>) -> String {
        path(call.model)
    }

    fn body(&self, call: &RerankCall<'_>) -> Value {
        let mut body = json!({ "query": call.query, "documents": call.texts });
        if bare(call.model).starts_with("cohere.") {
            body["api_version"] = 2.into();
        }
        if let Some(top) = call.top {
            body["top_n"] = top.into();
        }
        body
    }
}

reranker! {
    /// Rerankers on Amazon Bedrock: `cohere.rerank-v3-5:0`, `amazon.rerank-v1:0`. Scores are from 0 to 1.
    ///
    /// ```
    /// use katena_embeddings::BedrockReranker;
    /// use katena_http::aws::AwsAuth;
    /// let reranker = BedrockReranker::new("cohere.rerank-v3-5:0", "eu-central-1", AwsAuth::bearer("key"))?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    BedrockReranker, BedrockRerankWire
}

impl BedrockReranker {
    /// A model in a region.
    ///
    /// # Errors
    /// Kind `Config` if `region` is none.
    pub fn new(model: impl Into<String>, region: impl AsRef<str>, auth: AwsAuth) -> Result<Self> {
        let region = region.as_ref();
        // 1,000 documents, by Bedrock's page on reranking.
        let limits = BatchLimits::new(1000).with_bytes(4_000_000);
        let mut shell =
            RerankShell::new("bedrock", endpoint(region)?, model.into(), BedrockRerankWire, limits);
        shell.auth = Auth::Aws { auth, region: region.to_owned() };
        Ok(Self(shell))
    }

    /// A model by the environment, as [`BedrockEmbedder::from_env`].
    ///
    /// # Errors
    /// Kind `Config` if there is no region.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        let region = region(&env::process)?;
        Ok(Self::new(model, region, AwsAuth::from_env(BEARER)?)?.with_client(env::client()))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
