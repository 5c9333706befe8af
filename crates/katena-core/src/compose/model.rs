//! Combinators around a model.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::chain::Chain;
use crate::chat::{ChatModel, ChatRequest, ResponseFormat};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::response::ChatResponse;
use crate::run::Run;

/// What can be asked of a model: a request, messages, or a text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a model can be asked",
    label = "this step's output can't go into a model",
    note = "`.chat(model)` takes a ChatRequest, messages or a text"
)]
pub trait IntoRequest {
    /// As a request.
    fn into_request(self) -> ChatRequest;
}

impl IntoRequest for ChatRequest {
    fn into_request(self) -> ChatRequest {
        self
    }
}
impl IntoRequest for Vec<Message> {
    fn into_request(self) -> ChatRequest {
        ChatRequest::new(self)
    }
}
impl IntoRequest for Message {
    fn into_request(self) -> ChatRequest {
        ChatRequest::new([self])
    }
}
impl IntoRequest for String {
    fn into_request(self) -> ChatRequest {
        Message::user(self).into_request()
    }
}
impl IntoRequest for &str {
    fn into_request(self) -> ChatRequest {
        Message::user(self).into_request()
    }
}

/// What a model replied.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model's reply",
    label = "this step needs a model before it",
    note = "`.json::<T>()` and `.text()` come after `.chat(model)`"
)]
pub trait Reply {
    /// Its text.
    fn into_text(self) -> String;
    /// An error if it is a refusal or was cut off.
    fn check(&self) -> Result<()>;
}

impl Reply for ChatResponse {
    fn into_text(self) -> String {
        self.text()
    }
    fn check(&self) -> Result<()> {
        match self.refusal() {
            Some(words) => Err(Error::new(ErrorKind::Refused, words.to_owned())),
            None => Ok(()),
        }
    }
}

/// Parses a model's text as `T`, taking it out of a Markdown code fence if it stands in one.
///
/// # Errors
/// Kind `InvalidOutput` if it does not fit.
pub fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut body = text.trim();
    if let Some(fenced) = body.strip_prefix("```") {
        let fenced = fenced.strip_suffix("```").unwrap_or(fenced);
        body = fenced.split_once('\n').map_or(fenced, |(_language, rest)| rest).trim();
    }
    serde_json::from_str(body).map_err(|e| {
        Error::invalid_output("the model's reply is not the JSON that was asked for").with_source(e)
    })
}

/// A chain whose output is asked of a model.
#[derive(Clone)]
pub struct Chat<C> {
    chain: C,
    model: Arc<dyn ChatModel>,
}

impl<C: fmt::Debug> fmt::Debug for Chat<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("chain", &self.chain).field("model", &self.model.info().model).finish()
    }
}

impl<C> Chat<C> {
    pub(crate) fn new(chain: C, model: Arc<dyn ChatModel>) -> Self {
        Self { chain, model }
    }

    /// Asks for JSON that fits `T`'s schema and parses the reply, as [`extract`](super::extract) does.
    pub fn json<T: JsonSchema + DeserializeOwned + Send + 'static>(self) -> ChatJson<C, T> {
        ChatJson { chat: self, format: ResponseFormat::of::<T>(), output: PhantomData }
    }
}

#[async_trait]
impl<C: Chain> Chain for Chat<C>
where
    C::Output: IntoRequest,
{
    type Input = C::Input;
    type Output = ChatResponse;
    async fn call(&self, input: C::Input, run: &Run) -> Result<ChatResponse> {
        let request = self.chain.call(input, run).await?.into_request();
        run.chat(&*self.model, request).await
    }
}

/// A model that is asked for JSON of type `T`.
pub struct ChatJson<C, T> {
    chat: Chat<C>,
    format: ResponseFormat,
    output: PhantomData<fn() -> T>,
}

impl<C: fmt::Debug, T> fmt::Debug for ChatJson<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChatJson").field(&self.chat).finish()
    }
}

#[async_trait]
impl<C: Chain, T: DeserializeOwned + Send + 'static> Chain for ChatJson<C, T>
where
    C::Output: IntoRequest,
{
    type Input = C::Input;
    type Output = T;
    async fn call(&self, input: C::Input, run: &Run) -> Result<T> {
        let request = self.chat.chain.call(input, run).await?.into_request();
        super::structured::ask(&*self.chat.model, request, &self.format, run).await
    }
}

/// A chain whose reply is parsed as `T`.
pub struct Json<C, T> {
    chain: C,
    output: PhantomData<fn() -> T>,
}

impl<C: fmt::Debug, T> fmt::Debug for Json<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Json").field(&self.chain).finish()
    }
}

impl<C, T> Json<C, T> {
    pub(crate) fn new(chain: C) -> Self {
        Self { chain, output: PhantomData }
    }
}

#[async_trait]
impl<C: Chain, T: DeserializeOwned + Send + 'static> Chain for Json<C, T>
where
    C::Output: Reply,
{
    type Input = C::Input;
    type Output = T;
    async fn call(&self, input: C::Input, run: &Run) -> Result<T> {
        let reply = self.chain.call(input, run).await?;
        reply.check()?;
        parse_json(&reply.into_text())
    }
}
