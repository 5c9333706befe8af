//! The meter around chat models, embedders and rerankers.

use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Document, EmbedRequest, EmbedResponse,
    Embedder, EmbedderInfo, Error, Layer, ModelInfo, RerankRequest, Reranker, Result, Scored, Tokenizer,
    Usage,
};

use super::{ANSWER_TOKENS, Meter, Operation, Ticket};
use crate::estimate;
use crate::watch::{Watch, watch};

#[derive(Debug)]
struct Metered<S: ?Sized> {
    meter: Meter,
    inner: Arc<S>,
}

impl Layer<dyn ChatModel> for Meter {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Metered { meter: self.clone(), inner })
    }
}

impl Layer<dyn Embedder> for Meter {
    fn layer(&self, inner: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        Arc::new(Metered { meter: self.clone(), inner })
    }
}

impl Layer<dyn Reranker> for Meter {
    fn layer(&self, inner: Arc<dyn Reranker>) -> Arc<dyn Reranker> {
        Arc::new(Metered { meter: self.clone(), inner })
    }
}

impl Ticket {
    fn answered(&mut self, response: &ChatResponse) {
        self.finish(response.usage, response.vendor.as_deref(), response.model.as_deref());
    }
}

impl Watch for Ticket {
    fn event(&mut self, event: &mut ChatEvent) {
        self.begun = true;
        if let ChatEvent::Finished(response) = event {
            self.answered(response);
        }
    }

    fn failed(&mut self, error: Error) -> Error {
        Ticket::failed(self, error)
    }
}

impl Metered<dyn ChatModel> {
    fn open(&self, request: &ChatRequest) -> Result<Ticket> {
        request.context.check()?;
        let info = self.inner.info();
        let guess = || {
            let answer = request.max_tokens.map_or(ANSWER_TOKENS, u64::from);
            Usage::new(estimate::of_chat(request), answer)
        };
        self.meter.open(Operation::Chat, (&info.vendor, &info.model), &request.context.labels, guess)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Metered<dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let mut ticket = self.open(request)?;
        let response = self.inner.generate(request).await.map_err(|e| ticket.failed(e))?;
        ticket.answered(&response);
        Ok(response)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let mut ticket = self.open(request)?;
        let stream = self.inner.stream(request).await.map_err(|e| ticket.failed(e))?;
        Ok(watch(stream, ticket))
    }
}

/// Hosted embedders name their vector space `vendor/model?dimensions=…`; others have no vendor.
fn vendor_and_model(space: &str) -> (&str, &str) {
    let named = space.split_once("?dimensions=").and_then(|(name, _)| name.split_once('/'));
    named.unwrap_or(("", space))
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for Metered<dyn Embedder> {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        let name = vendor_and_model(&self.inner.info().model);
        let guess = || Usage::new(estimate::of_embed(request), 0);
        let labels = &request.context.labels;
        let mut ticket = self.meter.open(Operation::Embed, name, labels, guess)?;
        let response = self.inner.embed(request).await.map_err(|e| ticket.failed(e))?;
        ticket.finish(response.usage, None, None);
        Ok(response)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Reranker for Metered<dyn Reranker> {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        request.context.check()?;
        let guess = || Usage::new(estimate::of_rerank(&request), 0);
        let labels = &request.context.labels;
        let mut ticket = self.meter.open(Operation::Rerank, ("", ""), labels, guess)?;
        let ranked = self.inner.rerank(request).await.map_err(|e| ticket.failed(e))?;
        ticket.finish(Usage::default(), None, None);
        Ok(ranked)
    }
}
