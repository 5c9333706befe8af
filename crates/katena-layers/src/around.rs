//! One wrapper for all kinds of components: a layer says what it does around a call, and every method is forwarded here.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, Context, CountRequest, DeleteRequest, Document,
    EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Error, GetRequest, ModelInfo, Query, Record,
    RecordStore, RerankRequest, Reranker, Result, Retriever, Run, Scored, StoreInfo, Tokenizer, Tool,
    ToolCall, ToolOutput, ToolSpec, UpsertRequest, Usage, VectorQuery, VectorStore,
};

/// What a layer sees of an answer.
pub(crate) trait Answer: Send {
    /// Token counts, if this kind of answer has them.
    fn usage(&self) -> Option<Usage> {
        None
    }
    /// Says how many tries went before.
    fn tried_before(&mut self, _tries: u32) {}
}

impl Answer for ChatResponse {
    fn usage(&self) -> Option<Usage> {
        Some(self.usage)
    }
    fn tried_before(&mut self, tries: u32) {
        self.attempts = Some(self.attempts.unwrap_or(1).saturating_add(tries));
    }
}
impl Answer for EmbedResponse {
    fn usage(&self) -> Option<Usage> {
        Some(self.usage)
    }
}
impl<T: Send> Answer for Vec<T> {}
impl<T: Send> Answer for Option<T> {}
impl Answer for () {}
impl Answer for u64 {}
impl Answer for usize {}
impl Answer for ToolOutput {}
/// A stream tells its usage when it is finished; see [`Around::stream`].
impl Answer for ChatStream {}

/// What is asked, as far as a layer measures it.
pub(crate) enum Asked<'a> {
    Chat(&'a ChatRequest),
    Embed(&'a EmbedRequest),
    Rerank(&'a RerankRequest),
    /// Nothing that has tokens.
    Other,
}

/// Tokens of a call, as far as they can be known before it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// One call, as a layer sees it.
pub(crate) struct Call<'a> {
    pub(crate) context: &'a Context,
    /// What [`Around::weigh`] said.
    pub(crate) weight: Weight,
}

/// True if a layer refused the call: that says nothing about the component, and the layer has already waited as long as it may.
pub(crate) fn is_own_refusal(error: &Error) -> bool {
    matches!(error.context("layer"), Some("circuit_breaker" | "rate_limit" | "concurrency"))
}

/// What a layer does around a call, whatever the component.
pub(crate) trait Around: fmt::Debug + Send + Sync + 'static {
    /// Whether `attempt` may be called more than once; requests that are given away are then copied.
    const REPEATS: bool = false;

    /// Estimates the tokens of a request.
    fn weigh(&self, _asked: Asked<'_>) -> Weight {
        Weight::default()
    }

    /// Makes the call by `attempt`.
    fn call<T, F>(
        &self,
        call: Call<'_>,
        attempt: impl FnMut() -> F + Send,
    ) -> impl Future<Output = Result<T>> + Send
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send;

    /// Makes a call that must not be made twice.
    fn once<T, F>(
        &self,
        call: Call<'_>,
        attempt: impl FnMut() -> F + Send,
    ) -> impl Future<Output = Result<T>> + Send
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        self.call(call, attempt)
    }

    /// Opens a stream by `attempt`.
    fn stream<F>(
        &self,
        call: Call<'_>,
        attempt: impl FnMut() -> F + Send,
    ) -> impl Future<Output = Result<ChatStream>> + Send
    where
        F: Future<Output = Result<ChatStream>> + Send;
}

/// A component under a layer.
#[derive(Debug)]
pub(crate) struct Wrapped<L, S: ?Sized> {
    pub(crate) layer: L,
    pub(crate) inner: Arc<S>,
}

impl<L, S: ?Sized> Wrapped<L, S> {
    pub(crate) fn new(layer: L, inner: Arc<S>) -> Self {
        Self { layer, inner }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> ChatModel for Wrapped<L, dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = Call { context: &request.context, weight: self.layer.weigh(Asked::Chat(request)) };
        self.layer.call(call, || self.inner.generate(request)).await
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = Call { context: &request.context, weight: self.layer.weigh(Asked::Chat(request)) };
        self.layer.stream(call, || self.inner.stream(request)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> Embedder for Wrapped<L, dyn Embedder> {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let call = Call { context: &request.context, weight: self.layer.weigh(Asked::Embed(request)) };
        self.layer.call(call, || self.inner.embed(request)).await
    }
}

/// Gives a request away: a copy if there may be another try, else the thing itself.
pub(crate) fn give<L: Around, R: Clone + Default>(request: &mut R) -> R {
    if L::REPEATS { request.clone() } else { std::mem::take(request) }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> Reranker for Wrapped<L, dyn Reranker> {
    async fn rerank(&self, mut request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let context = request.context.clone();
        let call = Call { context: &context, weight: self.layer.weigh(Asked::Rerank(&request)) };
        self.layer.call(call, || self.inner.rerank(give::<L, _>(&mut request))).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> VectorStore for Wrapped<L, dyn VectorStore> {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }
    async fn upsert(&self, mut request: UpsertRequest) -> Result<()> {
        let context = request.context.clone();
        let call = Call { context: &context, weight: self.layer.weigh(Asked::Other) };
        self.layer.call(call, || self.inner.upsert(give::<L, _>(&mut request))).await
    }
    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        let call = Call { context: &query.context, weight: self.layer.weigh(Asked::Other) };
        self.layer.call(call, || self.inner.search(query)).await
    }
    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        let call = Call { context: &request.context, weight: self.layer.weigh(Asked::Other) };
        self.layer.call(call, || self.inner.get(request)).await
    }
    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        let call = Call { context: &request.context, weight: self.layer.weigh(Asked::Other) };
        self.layer.call(call, || self.inner.delete(request)).await
    }
    async fn count(&self, request: &CountRequest) -> Result<u64> {
        let call = Call { context: &request.context, weight: self.layer.weigh(Asked::Other) };
        self.layer.call(call, || self.inner.count(request)).await
    }
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        self.inner.records()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> Retriever for Wrapped<L, dyn Retriever> {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        let call = Call { context: &query.context, weight: self.layer.weigh(Asked::Other) };
        self.layer.call(call, || self.inner.retrieve(query)).await
    }
}

fn give_call<L: Around>(call: &mut ToolCall) -> ToolCall {
    if L::REPEATS { call.clone() } else { std::mem::replace(call, ToolCall::new("", "", "")) }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> Tool for Wrapped<L, dyn Tool> {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }
    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let around = Call { context: run.context(), weight: self.layer.weigh(Asked::Other) };
        let mut given = call;
        self.layer.call(around, || self.inner.call(give_call::<L>(&mut given), run)).await
    }
}

/// Makes a type with `Around` a layer for these kinds.
macro_rules! layer_for {
    ($layer:ty: $($kind:ident),+) => {$(
        impl katena_core::Layer<dyn katena_core::$kind> for $layer {
            fn layer(
                &self,
                inner: std::sync::Arc<dyn katena_core::$kind>,
            ) -> std::sync::Arc<dyn katena_core::$kind> {
                std::sync::Arc::new($crate::around::Wrapped::new(self.clone(), inner))
            }
        }
    )+};
}
pub(crate) use layer_for;
