//! Embedders: texts to vectors.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::response::Usage;
use crate::splitter::Tokenizer;

/// What a text is embedded for; some models treat the two differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmbedRole {
    /// Something that is searched for.
    Query,
    /// Something that is found.
    #[default]
    Document,
}

/// One call of an embedder.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct EmbedRequest {
    /// The texts; empty ones are allowed.
    pub texts: Vec<String>,
    /// What for.
    pub role: EmbedRole,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for EmbedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedRequest")
            .field("texts", &self.texts.len())
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl EmbedRequest {
    /// Texts to be found.
    pub fn documents<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self { texts: texts.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// A text to search for.
    pub fn query(text: impl Into<String>) -> Self {
        Self { texts: vec![text.into()], role: EmbedRole::Query, ..Self::default() }
    }

    /// Sets the role.
    pub fn with_role(mut self, role: EmbedRole) -> Self {
        self.role = role;
        self
    }

    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// The vectors, in the order of the texts.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct EmbedResponse {
    /// One vector a text, all of the same length.
    pub vectors: Vec<Vec<f32>>,
    /// Token counts.
    pub usage: Usage,
}

impl fmt::Debug for EmbedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedResponse")
            .field("vectors", &self.vectors.len())
            .field("usage", &self.usage)
            .finish()
    }
}

impl EmbedResponse {
    /// Vectors without usage.
    pub fn new(vectors: Vec<Vec<f32>>) -> Self {
        Self { vectors, usage: Usage::default() }
    }

    /// Sets the token counts.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }
}

/// An embedder's identity and limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmbedderInfo {
    /// Names the vector space: two embedders with the same `model` give comparable vectors, others never do. Includes
    /// whatever changes the vectors (file hash, pooling, prefix).
    pub model: String,
    /// Length of each vector.
    pub dimensions: usize,
    /// Most tokens of one text that count, if there is a limit.
    pub max_tokens: Option<usize>,
    /// True if each vector has length 1.
    pub normalized: bool,
}

impl EmbedderInfo {
    /// Normalised vectors without a token limit.
    pub fn new(model: impl Into<String>, dimensions: usize) -> Self {
        Self { model: model.into(), dimensions, max_tokens: None, normalized: true }
    }

    /// Sets the most tokens of one text.
    pub fn with_max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Says that vectors are not of length 1.
    pub fn with_raw_vectors(mut self) -> Self {
        self.normalized = false;
        self
    }
}

/// Turns texts into vectors.
///
/// # Contract
/// - `one_vector_a_text`: as many vectors as texts, in their order.
/// - `dimensions_as_stated`: each vector is as long as `info` says, and finite.
/// - `same_text_same_vector`: within 1e-4 per component, alone or in a batch.
/// - `order_is_kept`: a batch equals its texts embedded one by one (cosine ≥ 0.999).
/// - `no_texts_no_vectors`: an empty request gives an empty response.
/// - `empty_text_has_a_vector`: an empty text gives a finite vector or `InvalidInput`, never a shift of the others.
/// - `unicode_is_welcome`: any text, NUL and emoji included, gives a vector or a typed error.
/// - `normalized_as_stated`: with `normalized`, each length is 1 within 1e-3.
/// - `large_batches_work`: 100 texts in one request.
/// - `cancelled_before_the_call`: a cancelled context is `Cancelled`.
/// - `debug_hides_content`: `Debug` prints names and shapes only.
#[async_trait]
pub trait Embedder: fmt::Debug + Send + Sync {
    /// Identity and limits.
    fn info(&self) -> &EmbedderInfo;

    /// The model's own tokenizer, where it can be had, so that chunks are measured in the tokens that count.
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>>;

    /// Embeds all texts of the request.
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse>;
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<E: Embedder + ?Sized> Embedder for $ptr {
            fn info(&self) -> &EmbedderInfo {
                (**self).info()
            }
            fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
                (**self).tokenizer()
            }
            async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
                (**self).embed(request).await
            }
        }
    )*};
}
forward!(Arc<E>, Box<E>);

/// Conveniences of every [`Embedder`].
#[async_trait]
pub trait EmbedderExt: Embedder {
    /// Wraps the embedder in a layer.
    fn layer<L: Layer<dyn Embedder>>(self, layer: L) -> Arc<dyn Embedder>
    where
        Self: Sized + 'static,
    {
        layer.layer(Arc::new(self))
    }

    /// The vector of one query.
    async fn embed_query(&self, text: &str, context: &Context) -> Result<Vec<f32>> {
        let request = EmbedRequest::query(text).with_context(context.clone());
        let mut vectors = self.embed(&request).await?.vectors;
        match (vectors.pop(), vectors.is_empty()) {
            (Some(vector), true) => Ok(vector),
            _ => Err(Error::invalid_output("the embedder did not give one vector for one text")),
        }
    }
}

impl<E: Embedder + ?Sized> EmbedderExt for E {}
