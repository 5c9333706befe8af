//! The cache around embedders, rerankers, retrievers and tools.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use katena_core::{
    Cancel, Context, Document, EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Error, Layer, Query,
    RerankRequest, Reranker, Result, Retriever, Run, Scored, Tokenizer, Tool, ToolCall, ToolOutput, ToolSpec,
    Usage,
};
use serde_json::{Value, json};

use super::{Cache, Keep};
use crate::stored::{self, StoredEmbeddings, StoredOutput, StoredPassages, to_value};

struct Cached<S: ?Sized> {
    inner: Arc<S>,
    cache: Cache,
    identity: Value,
}

impl<S: fmt::Debug + ?Sized> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("inner", &self.inner)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// What a shared call is made with: its first caller's labels and deadline, but not its signal.
fn shared(context: &Context) -> Context {
    context.clone().with_cancel(Cancel::new())
}

impl Layer<dyn Embedder> for Cache {
    fn layer(&self, inner: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        let info = inner.info();
        let identity = json!([info.model, info.dimensions]);
        Arc::new(Cached { inner, cache: self.clone(), identity })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for Cached<dyn Embedder> {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }

    /// The usage is that of the texts that had to be asked for.
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let context = &request.context;
        context.check()?;
        let role = stored::role_name(request.role);
        let key = |text: &str| self.cache.key("embed", &self.identity, &json!([role, text]), context);
        let mut vectors: Vec<Option<Vec<f32>>> = Vec::with_capacity(request.texts.len());
        for text in &request.texts {
            vectors.push(self.cache.load(&key(text)).await);
        }
        let mut missing: Vec<&str> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (text, _) in request.texts.iter().zip(&vectors).filter(|(_, v)| v.is_none()) {
            places.entry(text).or_insert_with(|| {
                missing.push(text);
                missing.len() - 1
            });
        }
        if missing.is_empty() {
            let vectors = vectors.into_iter().flatten().collect();
            return Ok(EmbedResponse::new(vectors).with_usage(Usage::new(0, 0)));
        }
        let asked = Arc::new(
            EmbedRequest::documents(missing.iter().copied())
                .with_role(request.role)
                .with_context(shared(context)),
        );
        let flight = self.cache.key("embeds", &self.identity, &stored::embed_request(&asked), context);
        let ask = || {
            let (inner, request) = (self.inner.clone(), asked.clone());
            async move {
                let response = inner.embed(&request).await?;
                if response.vectors.len() != request.texts.len() {
                    return Err(Error::invalid_output("the embedder did not give one vector a text"));
                }
                // Kept text by text below, not as this batch.
                Ok((StoredEmbeddings::of(&response), Keep::No))
            }
            .boxed()
        };
        let new = self.cache.through::<StoredEmbeddings, _>(&flight, context, ask).await?;
        for (text, vector) in asked.texts.iter().zip(&new.vectors) {
            self.cache.save(&key(text), vector).await;
        }
        for (text, vector) in request.texts.iter().zip(&mut vectors) {
            if vector.is_none() {
                *vector = places.get(text.as_str()).and_then(|at| new.vectors.get(*at)).cloned();
            }
        }
        Ok(EmbedResponse::new(vectors.into_iter().flatten().collect()).with_usage(new.usage))
    }
}

impl Layer<dyn Reranker> for Cache {
    fn layer(&self, inner: Arc<dyn Reranker>) -> Arc<dyn Reranker> {
        Arc::new(Cached { inner, cache: self.clone(), identity: self.identity() })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Reranker for Cached<dyn Reranker> {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let context = request.context.clone();
        let value = stored::rerank_request(&request)?;
        let key = self.cache.key("rerank", &self.identity, &value, &context);
        let asked = request.with_context(shared(&context));
        let ask = || {
            let (inner, request) = (self.inner.clone(), asked.clone());
            async move { Ok((inner.rerank(request).await?, Keep::Yes)) }.boxed()
        };
        self.cache.through::<StoredPassages, _>(&key, &context, ask).await
    }
}

/// An index changes: give the cache a TTL.
impl Layer<dyn Retriever> for Cache {
    fn layer(&self, inner: Arc<dyn Retriever>) -> Arc<dyn Retriever> {
        Arc::new(Cached { inner, cache: self.clone(), identity: self.identity() })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Retriever for Cached<dyn Retriever> {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        let context = &query.context;
        let key = self.cache.key("retrieve", &self.identity, &stored::query(query)?, context);
        let asked = Arc::new(query.clone().with_context(shared(context)));
        let ask = || {
            let (inner, query) = (self.inner.clone(), asked.clone());
            async move { Ok((inner.retrieve(&query).await?, Keep::Yes)) }.boxed()
        };
        self.cache.through::<StoredPassages, _>(&key, context, ask).await
    }
}

/// For tools without side effects, whose answer stays true.
impl Layer<dyn Tool> for Cache {
    fn layer(&self, inner: Arc<dyn Tool>) -> Arc<dyn Tool> {
        let spec = to_value(inner.spec()).unwrap_or_default();
        let identity = json!([spec, self.identity()]);
        Arc::new(Cached { inner, cache: self.clone(), identity })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tool for Cached<dyn Tool> {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let context = run.context();
        // The call's id is new each time; arguments that differ only in white space are the same.
        let arguments =
            serde_json::from_str(&call.arguments).unwrap_or(Value::String(call.arguments.clone()));
        let value = json!([call.name, arguments]);
        let key = self.cache.key("tool", &self.identity, &value, context);
        let ask = || {
            let (inner, call) = (self.inner.clone(), call.clone());
            let run = run.clone().with_context(shared(context));
            async move { Ok((StoredOutput::of(&inner.call(call, &run).await?), Keep::Yes)) }.boxed()
        };
        Ok(self.cache.through::<StoredOutput, _>(&key, context, ask).await?.into_output())
    }
}
