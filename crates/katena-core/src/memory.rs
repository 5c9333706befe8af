//! Chat history (storage by session) and memory (policy over it).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::Result;
use crate::layer::Layer;
use crate::message::Message;

/// Stores the messages of sessions.
///
/// # Contract
/// - `starts_empty`: an unknown session has no messages; that is no error.
/// - `append_keeps_order`: messages come back as they went in, all parts included.
/// - `sessions_are_apart`: writing or clearing one leaves the others.
/// - `replace_is_whole`: afterwards exactly the new messages are there.
/// - `clear_forgets`: afterwards there are none; clearing twice is no error.
/// - `concurrent_appends_lose_nothing`: and the messages of one call stay together.
/// - `unicode_survives`: any session name and text.
#[async_trait]
pub trait ChatHistory: fmt::Debug + Send + Sync {
    /// The session's messages, oldest first.
    async fn messages(&self, session: &str) -> Result<Vec<Message>>;

    /// Adds messages at the end, together.
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()>;

    /// Puts these in place of all.
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()>;

    /// Forgets the session.
    async fn clear(&self, session: &str) -> Result<()>;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<H: ChatHistory + ?Sized> ChatHistory for Arc<H> {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        (**self).messages(session).await
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        (**self).append(session, messages).await
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        (**self).replace(session, messages).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        (**self).clear(session).await
    }
}

/// Conveniences of every [`ChatHistory`].
pub trait ChatHistoryExt: ChatHistory {
    /// Wraps the history in a layer.
    fn layer<L: Layer<dyn ChatHistory>>(self, layer: L) -> Arc<dyn ChatHistory>
    where
        Self: Sized + 'static,
    {
        layer.layer(Arc::new(self))
    }
}

impl<H: ChatHistory + ?Sized> ChatHistoryExt for H {}

/// What is to be remembered for the next call.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecallRequest {
    /// The session.
    pub session: String,
    /// The new turn, for memories that search.
    pub input: Vec<Message>,
    /// Labels, deadline, cancel signal: a memory may ask a model.
    pub context: Context,
}

impl RecallRequest {
    /// Recalls a session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into(), ..Self::default() }
    }
    /// Sets the new turn.
    pub fn with_input(mut self, input: Vec<Message>) -> Self {
        self.input = input;
        self
    }
    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// What has been said.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecordRequest {
    /// The session.
    pub session: String,
    /// The turn, both sides.
    pub messages: Vec<Message>,
    /// Labels, deadline, cancel signal: a memory may ask a model.
    pub context: Context,
}

impl RecordRequest {
    /// Records a turn.
    pub fn new(session: impl Into<String>, messages: Vec<Message>) -> Self {
        Self { session: session.into(), messages, context: Context::default() }
    }
    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// Decides what of a conversation the model sees again.
///
/// # Contract
/// - `recalls_what_was_recorded`: in order, as far as the policy keeps it.
/// - `tool_calls_are_never_orphaned`: a tool result is recalled only with its call.
#[async_trait]
pub trait Memory: fmt::Debug + Send + Sync {
    /// The messages to put before the new turn.
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>>;

    /// Takes in a finished turn.
    async fn record(&self, request: RecordRequest) -> Result<()>;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<M: Memory + ?Sized> Memory for Arc<M> {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        (**self).recall(request).await
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        (**self).record(request).await
    }
}
