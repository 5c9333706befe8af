//! Chat history (storage by session) and memory (policy over it).

use std::fmt;
use std::ops::Range;
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
/// - `count_and_range_agree`: a range is that part of the messages; what lies past the end is left out, no error.
/// - `sessions_are_listed`: those with messages, each once, in the order of their bytes, page by page.
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

    /// How many messages the session has.
    async fn count(&self, session: &str) -> Result<usize>;

    /// The messages at these places, counted from 0 for the oldest.
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>>;

    /// Up to `limit` names of sessions that have messages, by their bytes, those after `after`.
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
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
    async fn count(&self, session: &str) -> Result<usize> {
        (**self).count(session).await
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        (**self).range(session, range).await
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        (**self).sessions(after, limit).await
    }
}

/// How many sessions [`ChatHistoryExt::session_count`] asks for at once.
const PAGE: usize = 1_000;

/// Conveniences of every [`ChatHistory`].
#[async_trait]
pub trait ChatHistoryExt: ChatHistory {
    /// The last `n` messages, oldest first.
    async fn tail(&self, session: &str, n: usize) -> Result<Vec<Message>> {
        let count = self.count(session).await?;
        self.range(session, count.saturating_sub(n)..count).await
    }

    /// How many sessions have messages; goes through their names.
    async fn session_count(&self) -> Result<usize> {
        let (mut count, mut after) = (0, None::<String>);
        loop {
            let mut page = self.sessions(after.as_deref(), PAGE).await?;
            count += page.len();
            after = page.pop();
            if after.is_none() {
                return Ok(count);
            }
        }
    }

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
/// - `clear_forgets`: afterwards nothing of the session is recalled, and other sessions are as they were.
#[async_trait]
pub trait Memory: fmt::Debug + Send + Sync {
    /// The messages to put before the new turn.
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>>;

    /// Takes in a finished turn.
    async fn record(&self, request: RecordRequest) -> Result<()>;

    /// Forgets the session: its turns and what was derived from them.
    async fn clear(&self, session: &str) -> Result<()>;
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
    async fn clear(&self, session: &str) -> Result<()> {
        (**self).clear(session).await
    }
}
