//! Spans around a chat model.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use katena_core::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, FinishReason, Layer, ModelInfo,
    Result,
};
use tracing::field::{Empty, debug};
use tracing::{Instrument as _, Level, Span, event, info_span};

use super::{Answer, Observed, Trace, What, labels, provider};
use crate::watch::{Watch, watch};

#[derive(Debug)]
pub(super) struct Traced<S: ?Sized> {
    pub(super) trace: Trace,
    pub(super) inner: Arc<S>,
}

impl Layer<dyn ChatModel> for Trace {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Traced { trace: self.clone(), inner })
    }
}

fn finish_name(finish: &FinishReason) -> &str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
        _ => "other",
    }
}

impl Observed {
    fn answered(&mut self, response: &ChatResponse) {
        let span = &self.span;
        if let Some(model) = &response.model {
            span.record("gen_ai.response.model", model);
        }
        if let Some(id) = &response.id {
            span.record("gen_ai.response.id", id);
        }
        if let Some(attempts) = response.attempts {
            span.record("katena.attempts", attempts);
        }
        span.record("gen_ai.response.finish_reasons", debug([finish_name(&response.finish)]));
        if self.trace.shows_contents() {
            let messages = serde_json::to_string(&[&response.message]).unwrap_or_default();
            span.in_scope(
                || event!(target: "katena::contents", Level::INFO, gen_ai.output.messages = messages),
            );
        }
        let (vendor, model) = (response.vendor.as_deref(), response.model.as_deref());
        self.finish(&Answer { usage: response.usage, vendor, model });
    }
}

impl Watch for Observed {
    fn event(&mut self, event: &mut ChatEvent) {
        match event {
            ChatEvent::Finished(response) => self.answered(response),
            _ => self.first_token(),
        }
    }

    fn failed(&mut self, error: Error) -> Error {
        self.fail(&error);
        error
    }
}

/// A stream that is read inside of a span.
struct Inside {
    stream: ChatStream,
    span: Span,
}

impl Stream for Inside {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let _inside = this.span.enter();
        this.stream.poll_next_unpin(cx)
    }
}

impl Traced<dyn ChatModel> {
    fn open(&self, request: &ChatRequest) -> Observed {
        let info = self.inner.info();
        let span = info_span!(
            "chat",
            otel.name = format!("chat {}", info.model),
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = provider(&info.vendor),
            gen_ai.request.model = %info.model,
            gen_ai.request.temperature = request.temperature.map(f64::from),
            gen_ai.request.top_p = request.top_p.map(f64::from),
            gen_ai.request.top_k = request.top_k,
            gen_ai.request.max_tokens = request.max_tokens,
            gen_ai.request.seed = request.seed,
            gen_ai.request.presence_penalty = request.presence_penalty.map(f64::from),
            gen_ai.request.frequency_penalty = request.frequency_penalty.map(f64::from),
            "gen_ai.output.type" = request.response_format.as_ref().map(|_| "json"),
            gen_ai.response.model = Empty,
            gen_ai.response.id = Empty,
            gen_ai.response.finish_reasons = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            gen_ai.usage.cache_read.input_tokens = Empty,
            gen_ai.usage.cache_creation.input_tokens = Empty,
            "error.type" = Empty,
            katena.labels = labels(&request.context.labels),
            katena.time_to_first_token = Empty,
            katena.cost = Empty,
            katena.attempts = Empty,
        );
        if self.trace.shows_contents() {
            let messages = serde_json::to_string(&request.messages).unwrap_or_default();
            span.in_scope(
                || event!(target: "katena::contents", Level::INFO, gen_ai.input.messages = messages),
            );
        }
        let what = What {
            operation: "chat",
            vendor: info.vendor.clone(),
            model: info.model.clone(),
            labels: request.context.labels.clone(),
        };
        self.trace.observe(span, what)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Traced<dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let mut observed = self.open(request);
        let result = self.inner.generate(request).instrument(observed.span.clone()).await;
        match &result {
            Ok(response) => observed.answered(response),
            Err(error) => observed.fail(error),
        }
        result
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let mut observed = self.open(request);
        match self.inner.stream(request).instrument(observed.span.clone()).await {
            Ok(stream) => {
                let span = observed.span.clone();
                Ok(watch(Inside { stream, span }.boxed(), observed))
            }
            Err(error) => {
                observed.fail(&error);
                Err(error)
            }
        }
    }
}
