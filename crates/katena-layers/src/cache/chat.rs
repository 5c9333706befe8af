//! The cache around a chat model.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use katena_core::{
    Cancel, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, FinishReason, Layer,
    ModelInfo, Part, Result,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Cache, Keep, count};
use crate::bounded::bounded_stream;
use crate::stored::{StoredEvent, replay, to_value};

/// A stored answer, as it came.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Response(Box<ChatResponse>),
    Events(Vec<StoredEvent>),
}

impl Answer {
    pub(super) fn into_response(self) -> Result<ChatResponse> {
        match self {
            Self::Response(response) => Ok(*response),
            Self::Events(mut events) => match events.pop() {
                Some(StoredEvent::Finished(response)) => Ok(*response),
                _ => Err(Error::unexpected("a stored answer has no end")),
            },
        }
    }

    pub(super) fn into_events(self) -> Result<Vec<StoredEvent>> {
        match self {
            Self::Events(events) => Ok(events),
            Self::Response(response) => {
                ChatEvent::of_response(*response).iter().map(StoredEvent::of).collect()
            }
        }
    }
}

/// Only what ended well is given again.
pub(super) fn is_kept(response: &ChatResponse) -> bool {
    matches!(response.finish, FinishReason::Stop | FinishReason::ToolCalls)
        && !response.message.parts.iter().any(|p| matches!(p, Part::Refusal { .. }))
}

/// Longer answers are not collected.
const MAX_EVENTS: usize = 1 << 20;

/// Hands all events of a stream that ends well to `keep`, before its last event goes on.
pub(super) fn collect<F, Fut>(source: ChatStream, keep: F) -> ChatStream
where
    F: FnOnce(Answer) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let state = (source, Some((Vec::new(), keep)));
    stream::unfold(state, |(mut source, mut collecting)| async move {
        let item = source.next().await?;
        let stored = item.as_ref().ok().map(StoredEvent::of);
        match (collecting.as_mut(), stored) {
            (Some((events, _)), Some(Ok(event))) if events.len() < MAX_EVENTS => events.push(event),
            _ => collecting = None,
        }
        if let Ok(ChatEvent::Finished(response)) = &item
            && let Some((events, keep)) = collecting.take()
            && is_kept(response)
        {
            keep(Answer::Events(events)).await;
        }
        Some((item, (source, collecting)))
    })
    .boxed()
}

/// The identity of a model and the request as the key sees them.
pub(super) fn parts_of_key(info: &ModelInfo, request: &ChatRequest) -> Result<(Value, Value)> {
    Ok((json!([info.vendor, info.model]), to_value(request)?))
}

struct CachedChat {
    inner: Arc<dyn ChatModel>,
    cache: Cache,
}

impl fmt::Debug for CachedChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedChat").field("inner", &self.inner).field("cache", &self.cache).finish()
    }
}

impl Layer<dyn ChatModel> for Cache {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(CachedChat { inner, cache: self.clone() })
    }
}

impl CachedChat {
    fn key(&self, request: &ChatRequest) -> Result<String> {
        let (identity, value) = parts_of_key(self.inner.info(), request)?;
        Ok(self.cache.key("chat", &identity, &value, &request.context))
    }

    /// The request as the shared call makes it: the first caller's signal must not end it for the others.
    fn shared_request(request: &ChatRequest) -> ChatRequest {
        let mut request = request.clone();
        request.context.cancel = Cancel::new();
        request
    }

    /// The stream that all equal callers read.
    fn source(&self, key: &str, request: &ChatRequest) -> ChatStream {
        let (inner, cache, key) = (self.inner.clone(), self.cache.clone(), key.to_owned());
        let mut request = Self::shared_request(request);
        // Each reader keeps its own deadline; the stream lasts as long as the last of them wants.
        request.context.deadline = None;
        let open = async move {
            if let Some(answer) = cache.load::<Answer>(&key).await {
                return Ok::<_, Error>(replay(answer.into_events()?, &request.context));
            }
            count(&cache.shared.counters.misses);
            let stream = inner.stream(&request).await?;
            Ok(collect(stream, async move |answer: Answer| cache.save(&key, &answer).await))
        };
        stream::once(open).try_flatten().boxed()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for CachedChat {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        request.context.check()?;
        if self.cache.skips(request) {
            return self.inner.generate(request).await;
        }
        let key = self.key(request)?;
        let ask = || {
            let (inner, request) = (self.inner.clone(), Self::shared_request(request));
            async move {
                let response = inner.generate(&request).await?;
                let keep = if is_kept(&response) { Keep::Yes } else { Keep::No };
                Ok((Answer::Response(Box::new(response)), keep))
            }
            .boxed()
        };
        self.cache.through::<Answer, _>(&key, &request.context, ask).await?.into_response()
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        request.context.check()?;
        if self.cache.skips(request) {
            return self.inner.stream(request).await;
        }
        let (context, time) = (&request.context, &self.cache.settings.time);
        let key = self.key(request)?;
        if let Some(answer) = self.cache.load::<Answer>(&key).await {
            return Ok(replay(answer.into_events()?, context));
        }
        let mut failed_before = false;
        loop {
            let (reader, led) = self.cache.shared.hubs.join(&key, || self.source(&key, request));
            if !led {
                count(&self.cache.shared.counters.joined);
            }
            match crate::watch::begin(bounded_stream(reader.boxed(), context, time)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => self.cache.give_up(error, led, &mut failed_before, context)?,
            }
        }
    }
}
