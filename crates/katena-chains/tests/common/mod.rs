//! Doubles that the tests of this crate share.
#![allow(
    dead_code,
    clippy::unnecessary_wraps,
    reason = "not every test file needs all of it; scripts hold results"
)]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use katena_core::{
    Chain, ChainExt as _, ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream,
    Document, Error, Event, FinishReason, Memory, Message, ModelInfo, Part, Query, RecallRequest,
    RecordRequest, Result, Retriever, Role, Scored, Source, Streamed,
};

/// A model made from an async function; keeps the requests.
#[derive(Clone)]
pub(crate) struct FnChat {
    info: ModelInfo,
    answer: Arc<dyn Fn(ChatRequest) -> BoxFuture<'static, Result<ChatResponse>> + Send + Sync>,
    pub(crate) asked: Arc<Mutex<Vec<ChatRequest>>>,
}

impl fmt::Debug for FnChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnChat")
    }
}

impl FnChat {
    pub(crate) fn new<Fut>(answer: impl Fn(ChatRequest) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<ChatResponse>> + Send + 'static,
    {
        let can = ChatCapabilities::none().with_json_schema().with_tools();
        Self {
            info: ModelInfo::new("fake", "function").with_capabilities(can),
            answer: Arc::new(move |request| Box::pin(answer(request))),
            asked: Arc::default(),
        }
    }

    /// Answers with a text made from the last message.
    pub(crate) fn says(text: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::new(move |request| {
            let reply = text(&last(&request));
            async move { Ok(reply_of(reply, FinishReason::Stop)) }
        })
    }

    pub(crate) fn requests(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl ChatModel for FnChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        request.context.check()?;
        self.asked.lock().unwrap().push(request.clone());
        (self.answer)(request.clone()).await
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.asked.lock().unwrap().push(request.clone());
        let response = (self.answer)(request.clone()).await?;
        Ok(stream::iter(ChatEvent::of_response(response)).map(Ok).boxed())
    }
}

pub(crate) fn last(request: &ChatRequest) -> String {
    request.messages.last().map(Message::text).unwrap_or_default()
}

/// All text of a request.
pub(crate) fn prompt(request: &ChatRequest) -> String {
    request.messages.iter().map(Message::text).collect::<Vec<_>>().join("\n")
}

pub(crate) fn reply_of(text: impl Into<String>, finish: FinishReason) -> ChatResponse {
    let text = text.into();
    let parts = if text.is_empty() { Vec::new() } else { vec![Part::text(text)] };
    ChatResponse::new(Message::new(Role::Assistant, parts), finish)
}

pub(crate) fn refusal() -> Result<ChatResponse> {
    let message = Message::new(Role::Assistant, vec![Part::Refusal { text: "I won't".into() }]);
    Ok(ChatResponse::new(message, FinishReason::Stop))
}

pub(crate) fn cut_off(text: &str) -> Result<ChatResponse> {
    Ok(reply_of(text, FinishReason::Length))
}

pub(crate) fn says(text: &str) -> Result<ChatResponse> {
    Ok(reply_of(text, FinishReason::Stop))
}

/// Remembers everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    pub(crate) sessions: Arc<Mutex<HashMap<String, Vec<Message>>>>,
    pub(crate) fails: bool,
}

impl Buffer {
    pub(crate) fn texts(&self, session: &str) -> Vec<String> {
        let sessions = self.sessions.lock().unwrap();
        sessions.get(session).into_iter().flatten().map(Message::text).collect()
    }
}

#[async_trait]
impl Memory for Buffer {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        request.context.check()?;
        Ok(self.sessions.lock().unwrap().get(&request.session).cloned().unwrap_or_default())
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        if self.fails {
            return Err(Error::new(katena_core::ErrorKind::Unavailable, "the disk is full"));
        }
        self.sessions.lock().unwrap().entry(request.session).or_default().extend(request.messages);
        Ok(())
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.sessions.lock().unwrap().remove(session);
        Ok(())
    }
}

/// Gives the documents that share a word with the query, and keeps the queries.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    pub(crate) documents: Vec<Document>,
    pub(crate) asked: Arc<Mutex<Vec<Query>>>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf")
    }
}

impl Shelf {
    pub(crate) fn new<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self { documents: documents(texts), ..Self::default() }
    }
    pub(crate) fn queries(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|q| q.text.clone()).collect()
    }
}

#[async_trait]
impl Retriever for Shelf {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        query.context.check()?;
        self.asked.lock().unwrap().push(query.clone());
        let words = words(&query.text);
        let mut found: Vec<Scored<Document>> = self
            .documents
            .iter()
            .filter(|d| query.filter.as_ref().is_none_or(|f| f.matches(&d.metadata)))
            .map(|d| (d, words_in_common(&words, d)))
            .filter(|(_, n)| *n > 0)
            .map(|(d, n)| Scored::new(d.clone(), n as f32))
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(query.top_k.unwrap_or(4));
        Ok(found)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| w.len() > 2).map(str::to_lowercase).collect()
}

fn words_in_common(asked: &[String], document: &Document) -> usize {
    let held = words(&document.text);
    asked.iter().filter(|w| held.contains(w)).count()
}

/// Documents `doc1.md`, `doc2.md`, ….
pub(crate) fn documents<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Vec<Document> {
    let numbered = texts.into_iter().enumerate();
    let document = |(n, text): (usize, S)| {
        Document::new(text, Source::new(format!("doc{}.md", n + 1))).with_id(format!("d{}", n + 1))
    };
    numbered.map(document).collect()
}

/// What a listener sees: the answer's text, the names and values of custom events, the output.
pub(crate) struct Heard<O> {
    pub(crate) preview: String,
    pub(crate) custom: Vec<(String, serde_json::Value)>,
    pub(crate) output: Result<O>,
}

impl<O> Heard<O> {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.custom.iter().map(|(name, _)| name.as_str()).collect()
    }
}

pub(crate) async fn listen<C: Chain>(chain: &C, input: impl Into<C::Input>) -> Heard<C::Output>
where
    C::Output: Unpin,
{
    let mut heard =
        Heard { preview: String::new(), custom: Vec::new(), output: Err(Error::unexpected("no output")) };
    let mut stream = chain.stream(input);
    while let Some(item) = stream.next().await {
        match item {
            Ok(Streamed::Event(event)) => match event.event {
                Event::Text(text) | Event::Model(ChatEvent::Delta { text, .. }) => {
                    heard.preview.push_str(&text);
                }
                Event::Custom { name, value } => heard.custom.push((name, value)),
                _ => {}
            },
            Ok(Streamed::Output(output)) => heard.output = Ok(output),
            Err(error) => heard.output = Err(error),
        }
    }
    heard
}
