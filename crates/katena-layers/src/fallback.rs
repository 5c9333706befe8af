//! Another model, vendor or replica when the first one fails.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Context, CountRequest,
    DeleteRequest, Document, EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Error, ErrorKind,
    GetRequest, Layer, ModelInfo, Part, Query, Record, RecordStore, RerankRequest, Reranker, ResponseFormat,
    Result, Retriever, Scored, StoreInfo, Tokenizer, UpsertRequest, VectorQuery, VectorStore,
};

use crate::clock::Time;
use crate::watch::{Watch, begin, watch};

/// Asks the next one where the one before failed, in order.
///
/// - What moves on: every temporary error, and the kinds `RateLimited`, `QuotaExceeded`, `Timeout` and `Unavailable` even where
///   the vendor says not to try again: that is said of the vendor, not of the next one. Faults of the request or the set-up (a
///   bad key, an unknown model, a prompt that is too long, a refusal) do not, since moving on would hide them;
///   [`also_on`](Fallback::also_on) adds kinds. Nothing moves on after the cancel signal or the deadline.
/// - If all fail, the last error comes back, with those before it under `tried_before` in its context.
/// - Streams move on until their first event. `stream` returns when that event is there.
/// - [`ChatResponse::vendor`] and [`ChatResponse::model`] say who answered. `info` is the first one's, with the abilities that
///   all of them have. A request that needs more is `Unsupported`, whoever would be asked: what works only on good days is
///   better found on one.
/// - Embedders must share one vector space ([`EmbedderInfo::model`] and dimensions), stores one metric; else each call is an
///   error of kind `Config`.
/// - A store's writes go to the first one alone, its reads move on: the others are replicas that something else fills.
/// - Scores of different rerankers are not comparable; compare within one answer.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::{EchoChat, FlakyChat}};
/// use katena_layers::Fallback;
/// let model = FlakyChat::new(EchoChat::new(), 1).layer(Fallback::chat(EchoChat::new()));
/// let answer = model.generate(&ChatRequest::new([Message::user("hello")])).await.unwrap();
/// assert_eq!((answer.text().as_str(), answer.vendor.as_deref()), ("hello", Some("fake")));
/// # }).unwrap();
/// ```
pub struct Fallback<S: ?Sized> {
    others: Vec<Arc<S>>,
    rule: Rule,
}

#[derive(Debug, Clone)]
struct Rule {
    kinds: Vec<ErrorKind>,
    time: Time,
}

impl<S: ?Sized> Clone for Fallback<S> {
    fn clone(&self) -> Self {
        Self { others: self.others.clone(), rule: self.rule.clone() }
    }
}

impl<S: ?Sized + fmt::Debug> fmt::Debug for Fallback<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("others", &self.others).field("kinds", &self.rule.kinds).finish()
    }
}

impl<S: ?Sized> Fallback<S> {
    /// To these, in order.
    pub fn new(others: impl IntoIterator<Item = Arc<S>>) -> Self {
        let kinds = vec![
            ErrorKind::RateLimited,
            ErrorKind::QuotaExceeded,
            ErrorKind::Timeout,
            ErrorKind::Unavailable,
        ];
        Self { others: others.into_iter().collect(), rule: Rule { kinds, time: Time::default() } }
    }

    /// Moves on after errors of this kind too, such as `ContextTooLong` to a model with a larger window.
    pub fn also_on(mut self, kind: ErrorKind) -> Self {
        self.rule.kinds.push(kind);
        self
    }

    /// Moves on after errors of these kinds, and of no others but temporary ones.
    pub fn only_on(mut self, kinds: impl IntoIterator<Item = ErrorKind>) -> Self {
        self.rule.kinds = kinds.into_iter().collect();
        self
    }

    /// Takes the time from this clock instead of tokio's.
    pub fn with_clock(mut self, clock: Arc<dyn katena_core::Clock>) -> Self {
        self.rule.time = clock.into();
        self
    }
}

macro_rules! to {
    ($($name:ident: $kind:ident, $what:literal;)+) => {$(
        impl Fallback<dyn $kind> {
            #[doc = concat!("To this ", $what, ".")]
            pub fn $name(other: impl $kind + 'static) -> Self {
                Self::new([Arc::new(other) as Arc<dyn $kind>])
            }

            #[doc = concat!("And then to this ", $what, ".")]
            pub fn or(mut self, other: impl $kind + 'static) -> Self {
                self.others.push(Arc::new(other));
                self
            }
        }
    )+};
}
to! {
    chat: ChatModel, "model";
    embedder: Embedder, "embedder of the same vector space";
    reranker: Reranker, "reranker";
    store: VectorStore, "replica";
    retriever: Retriever, "retriever";
}

/// The first one and the others, in order.
#[derive(Debug)]
struct Ordered<S: ?Sized> {
    members: Vec<Arc<S>>,
    /// How errors name a member.
    name: fn(&[Arc<S>], usize) -> String,
    rule: Rule,
}

impl<S: ?Sized> Ordered<S> {
    fn new(layer: &Fallback<S>, first: Arc<S>) -> Self {
        let members = std::iter::once(first).chain(layer.others.iter().cloned()).collect();
        Self { members, name: |_, number| format!("#{}", number + 1), rule: layer.rule.clone() }
    }

    fn first(&self) -> &S {
        &self.members[0]
    }

    fn moves_on(&self, context: &Context, error: &Error) -> bool {
        !context.cancel.is_cancelled()
            && self.rule.time.left(context).is_none_or(|left| !left.is_zero())
            && (error.is_temporary() || self.rule.kinds.contains(&error.kind()))
    }

    /// The first answer, and whose it is.
    async fn ask<'a, T, F>(&'a self, context: &Context, ask: impl Fn(&'a S) -> F) -> Result<(T, usize)>
    where
        F: Future<Output = Result<T>>,
    {
        let mut before = String::new();
        let last = self.members.len() - 1;
        let mut number = 0;
        loop {
            let member = &self.members[number];
            let error = match ask(member).await {
                Ok(answer) => return Ok((answer, number)),
                Err(error) => error,
            };
            if number == last || !self.moves_on(context, &error) {
                let told = if before.is_empty() { error } else { error.with_context("tried_before", before) };
                return Err(told);
            }
            let name = (self.name)(&self.members, number);
            tracing::warn!(failed = name, kind = %error.kind(), "falling back");
            let comma = if before.is_empty() { "" } else { ", " };
            before = format!("{before}{comma}{name}: {}", error.kind());
            number += 1;
        }
    }
}

#[derive(Debug)]
struct FallbackChat {
    models: Ordered<dyn ChatModel>,
    info: ModelInfo,
}

impl Layer<dyn ChatModel> for Fallback<dyn ChatModel> {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        let mut models = Ordered::new(self, inner);
        models.name = |models, number| {
            let info = models[number].info();
            format!("{}/{}", info.vendor, info.model)
        };
        let mut info = models.first().info().clone();
        for other in &self.others {
            let other = other.info();
            info.capabilities = info.capabilities.common(other.capabilities);
            info.context_tokens = info.context_tokens.into_iter().chain(other.context_tokens).min();
        }
        Arc::new(FallbackChat { models, info })
    }
}

impl FallbackChat {
    fn answered_by(&self, number: usize) -> Named {
        let info = self.models.members[number].info();
        Named { vendor: info.vendor.clone(), model: info.model.clone() }
    }

    fn check(&self, request: &ChatRequest) -> Result<()> {
        match lacks(self.info.capabilities, request) {
            Some(what) if self.models.members.len() > 1 => {
                Err(Error::unsupported(format!("not all of these models can do this: {what}"))
                    .with_context("layer", "fallback"))
            }
            _ => Ok(()),
        }
    }
}

/// What the request needs that is not among the abilities.
fn lacks(can: ChatCapabilities, request: &ChatRequest) -> Option<&'static str> {
    type Found = fn(&Part) -> bool;
    let has = |found: Found| request.messages.iter().flat_map(|m| &m.parts).any(found);
    let needs = [
        ("tools", can.tools, !request.tools.is_empty()),
        (
            "a schema",
            can.json_schema,
            matches!(request.response_format, Some(ResponseFormat::JsonSchema { .. })),
        ),
        ("reasoning", can.reasoning, request.reasoning.is_some()),
        ("prompt caching", can.prompt_cache, request.prompt_cache.is_some()),
        ("top-k sampling", can.top_k, request.top_k.is_some()),
        ("a seed", can.seed, request.seed.is_some()),
        ("log-probabilities", can.logprobs, request.logprobs.is_some()),
        ("stop texts", can.stop, !request.stop.is_empty()),
    ];
    let media: [(&str, bool, Found); 4] = [
        ("pictures", can.images, |p| matches!(p, Part::Image { .. })),
        ("sound", can.audio, |p| matches!(p, Part::Audio { .. })),
        ("videos", can.video, |p| matches!(p, Part::Video { .. })),
        ("files", can.files, |p| matches!(p, Part::File { .. })),
    ];
    let option = needs.iter().find(|(_, can, needed)| !can && *needed).map(|(name, ..)| *name);
    option.or_else(|| media.iter().find(|(_, can, needed)| !can && has(*needed)).map(|(name, ..)| *name))
}

/// Says who answered, where the answer does not say it.
struct Named {
    vendor: String,
    model: String,
}

impl Named {
    fn name(&mut self, response: &mut ChatResponse) {
        response.vendor.get_or_insert_with(|| std::mem::take(&mut self.vendor));
        response.model.get_or_insert_with(|| std::mem::take(&mut self.model));
    }
}

impl Watch for Named {
    fn event(&mut self, event: &mut ChatEvent) {
        if let ChatEvent::Finished(response) = event {
            self.name(response);
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for FallbackChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.check(request)?;
        let asked = self.models.ask(&request.context, |model| model.generate(request));
        let (mut response, number) = asked.await?;
        self.answered_by(number).name(&mut response);
        Ok(response)
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.check(request)?;
        let asked = self.models.ask(&request.context, |model| {
            let opening = model.stream(request);
            async { begin(opening.await?).await }
        });
        let (stream, number) = asked.await?;
        Ok(watch(stream, self.answered_by(number)))
    }
}

#[derive(Debug)]
struct FallbackEmbedder {
    embedders: Ordered<dyn Embedder>,
    bad: Option<Error>,
}

impl Layer<dyn Embedder> for Fallback<dyn Embedder> {
    fn layer(&self, inner: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        let embedders = Ordered::new(self, inner);
        let info = embedders.first().info();
        let stranger = self.others.iter().map(|e| e.info()).find(|other| {
            (&other.model, other.dimensions, other.normalized)
                != (&info.model, info.dimensions, info.normalized)
        });
        let bad = stranger.map(|other| {
            Error::config("a fallback embedder has another vector space")
                .with_context("first", info.model.clone())
                .with_context("other", other.model.clone())
        });
        Arc::new(FallbackEmbedder { embedders, bad })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for FallbackEmbedder {
    fn info(&self) -> &EmbedderInfo {
        self.embedders.first().info()
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.embedders.first().tokenizer()
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        if let Some(bad) = &self.bad {
            return Err(bad.clone());
        }
        Ok(self.embedders.ask(&request.context, |embedder| embedder.embed(request)).await?.0)
    }
}

impl Layer<dyn Reranker> for Fallback<dyn Reranker> {
    fn layer(&self, inner: Arc<dyn Reranker>) -> Arc<dyn Reranker> {
        Arc::new(Ordered::new(self, inner))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Reranker for Ordered<dyn Reranker> {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        Ok(self.ask(&request.context, |reranker| reranker.rerank(request.clone())).await?.0)
    }
}

impl Layer<dyn Retriever> for Fallback<dyn Retriever> {
    fn layer(&self, inner: Arc<dyn Retriever>) -> Arc<dyn Retriever> {
        Arc::new(Ordered::new(self, inner))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Retriever for Ordered<dyn Retriever> {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        Ok(self.ask(&query.context, |retriever| retriever.retrieve(query)).await?.0)
    }
}

#[derive(Debug)]
struct FallbackStore {
    stores: Ordered<dyn VectorStore>,
    bad: Option<Error>,
}

impl Layer<dyn VectorStore> for Fallback<dyn VectorStore> {
    fn layer(&self, inner: Arc<dyn VectorStore>) -> Arc<dyn VectorStore> {
        let stores = Ordered::new(self, inner);
        let metric = stores.first().info().metric;
        let bad = self.others.iter().any(|other| other.info().metric != metric);
        let bad = bad.then(|| Error::config("a fallback store compares vectors by another metric"));
        Arc::new(FallbackStore { stores, bad })
    }
}

impl FallbackStore {
    async fn read<'a, T, F>(
        &'a self,
        context: &Context,
        ask: impl Fn(&'a (dyn VectorStore + 'static)) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        if let Some(bad) = &self.bad {
            return Err(bad.clone());
        }
        Ok(self.stores.ask(context, ask).await?.0)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl VectorStore for FallbackStore {
    fn info(&self) -> &StoreInfo {
        self.stores.first().info()
    }
    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        self.stores.first().upsert(request).await
    }
    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        self.read(&query.context, |store| store.search(query)).await
    }
    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        self.read(&request.context, |store| store.get(request)).await
    }
    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        self.stores.first().delete(request).await
    }
    async fn count(&self, request: &CountRequest) -> Result<u64> {
        self.read(&request.context, |store| store.count(request)).await
    }
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        self.stores.first().records()
    }
}

#[cfg(test)]
#[path = "fallback_tests.rs"]
mod tests;
