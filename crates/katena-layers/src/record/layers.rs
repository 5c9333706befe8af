//! Recording and replaying around each kind of component.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use katena_core::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Context, Document, EmbedRequest,
    EmbedResponse, Embedder, EmbedderInfo, Error, Layer, ModelInfo, Query, RerankRequest, Reranker, Result,
    Retriever, Run, Scored, Tokenizer, Tool, ToolCall, ToolOutput, ToolSpec,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cassette::{Asked, Entry, Found, Mode, Reply};
use super::{Deck, Record, Replay};
use crate::stored::{self, StoredEmbeddings, StoredError, StoredEvent, StoredOutput, replay, to_value};
use crate::watch::{Watch, watch};

#[derive(Debug)]
struct Played<S: ?Sized> {
    deck: Deck,
    inner: Arc<S>,
}

macro_rules! layers {
    ($($kind:ident),+) => {$(
        impl Layer<dyn $kind> for Record {
            fn layer(&self, inner: Arc<dyn $kind>) -> Arc<dyn $kind> {
                Arc::new(Played { deck: self.0.clone(), inner })
            }
        }
        impl Layer<dyn $kind> for Replay {
            fn layer(&self, inner: Arc<dyn $kind>) -> Arc<dyn $kind> {
                Arc::new(Played { deck: self.0.clone(), inner })
            }
        }
    )+};
}
layers!(ChatModel, Embedder, Reranker, Retriever, Tool);

fn damaged() -> Error {
    Error::invalid_input("a reply in the cassette can't be read")
}

impl Deck {
    /// The recording of a request; `None` if it is to be asked.
    fn find(&self, asked: &Asked) -> Result<Option<Entry>> {
        match (self.mode, || self.cassette.find(asked)) {
            (Mode::Record, _) => Ok(None),
            (mode, find) => match find() {
                Found::Entry(entry) => Ok(Some(*entry)),
                Found::Missing(error) if mode == Mode::Strict => Err(error),
                Found::Missing(_) => Ok(None),
            },
        }
    }

    /// Gives the recording, or asks and records.
    async fn call<T: Serialize + DeserializeOwned>(
        &self,
        asked: Asked,
        context: &Context,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        context.check()?;
        if let Some(entry) = self.find(&asked)? {
            return match entry.reply {
                Reply::Response(value) => serde_json::from_value(value).map_err(|e| damaged().with_source(e)),
                Reply::Error(error) => Err(error.into_error()),
                Reply::Events(_) => Err(damaged()),
            };
        }
        let result = call.await;
        let reply = match &result {
            Ok(value) => Reply::Response(to_value(value)?),
            Err(error) => Reply::Error(StoredError::of(error)),
        };
        self.cassette.record(asked, reply, None);
        result
    }
}

/// Collects a stream that is recorded; what is dropped before its end is not.
struct Collecting {
    deck: Deck,
    asked: Option<Asked>,
    events: Vec<StoredEvent>,
}

impl Collecting {
    fn end(&mut self, cut: Option<StoredError>) {
        if let Some(asked) = self.asked.take() {
            let events = std::mem::take(&mut self.events);
            let reply = match (events.is_empty(), &cut) {
                (true, Some(error)) => Reply::Error(error.clone()),
                _ => Reply::Events(events),
            };
            self.deck.cassette.record(asked, reply, cut);
        }
    }
}

impl Watch for Collecting {
    fn event(&mut self, event: &mut ChatEvent) {
        match StoredEvent::of(event) {
            Ok(stored) => self.events.push(stored),
            Err(error) => {
                tracing::error!(%error, "a stream can't be recorded");
                self.asked = None;
            }
        }
        if matches!(event, ChatEvent::Finished(_)) {
            self.end(None);
        }
    }

    fn failed(&mut self, error: Error) -> Error {
        self.end(Some(StoredError::of(&error)));
        error
    }
}

impl Played<dyn ChatModel> {
    fn asked(&self, request: &ChatRequest) -> Result<Asked> {
        let info = self.inner.info();
        let component = json!({ "vendor": info.vendor, "model": info.model });
        Ok(self.deck.cassette.asked("chat", component, to_value(request)?))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Played<dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        request.context.check()?;
        let asked = self.asked(request)?;
        if let Some(entry) = self.deck.find(&asked)? {
            return match entry.reply {
                Reply::Response(value) => serde_json::from_value(value).map_err(|e| damaged().with_source(e)),
                Reply::Error(error) => Err(error.into_error()),
                Reply::Events(events) => match (entry.cut, events.into_iter().next_back()) {
                    (Some(error), _) => Err(error.into_error()),
                    (None, Some(StoredEvent::Finished(response))) => Ok(*response),
                    _ => Err(damaged()),
                },
            };
        }
        let result = self.inner.generate(request).await;
        let reply = match &result {
            Ok(response) => Reply::Response(to_value(response)?),
            Err(error) => Reply::Error(StoredError::of(error)),
        };
        self.deck.cassette.record(asked, reply, None);
        result
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        request.context.check()?;
        let asked = self.asked(request)?;
        if let Some(entry) = self.deck.find(&asked)? {
            let events = match entry.reply {
                Reply::Error(error) => return Err(error.into_error()),
                Reply::Events(events) => events,
                Reply::Response(value) => {
                    let response: ChatResponse =
                        serde_json::from_value(value).map_err(|e| damaged().with_source(e))?;
                    ChatEvent::of_response(response).iter().map(StoredEvent::of).collect::<Result<_>>()?
                }
            };
            let cut = entry.cut.map(|error| Err(error.into_error()));
            return Ok(replay(events, &request.context).chain(stream::iter(cut)).boxed());
        }
        match self.inner.stream(request).await {
            Ok(stream) => {
                let events = Vec::new();
                Ok(watch(stream, Collecting { deck: self.deck.clone(), asked: Some(asked), events }))
            }
            Err(error) => {
                self.deck.cassette.record(asked, Reply::Error(StoredError::of(&error)), None);
                Err(error)
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for Played<dyn Embedder> {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let component = json!({ "model": self.inner.info().model });
        let asked = self.deck.cassette.asked("embed", component, stored::embed_request(request));
        let call = async { Ok(StoredEmbeddings::of(&self.inner.embed(request).await?)) };
        Ok(self.deck.call(asked, &request.context, call).await?.into_response())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Reranker for Played<dyn Reranker> {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let context = request.context.clone();
        let component = json!({ "name": self.deck.name });
        let asked = self.deck.cassette.asked("rerank", component, stored::rerank_request(&request)?);
        self.deck.call(asked, &context, self.inner.rerank(request)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Retriever for Played<dyn Retriever> {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        let component = json!({ "name": self.deck.name });
        let asked = self.deck.cassette.asked("retrieve", component, stored::query(query)?);
        self.deck.call(asked, &query.context, self.inner.retrieve(query)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tool for Played<dyn Tool> {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let component = json!({ "name": self.inner.spec().name });
        // The id is new each time; arguments are compared as JSON where they are JSON.
        let arguments =
            serde_json::from_str(&call.arguments).unwrap_or(Value::String(call.arguments.clone()));
        let asked = self.deck.cassette.asked("tool", component, json!({ "arguments": arguments }));
        let work = async { Ok(StoredOutput::of(&self.inner.call(call, run).await?)) };
        Ok(self.deck.call(asked, run.context(), work).await?.into_output())
    }
}
