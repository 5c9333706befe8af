//! A running summary, and as many of the last turns as fit a budget.

use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatHistory, ChatModel, Context, Memory, Message, RecallRequest, RecordRequest, Result, Tokenizer,
};

use super::background::Compaction;
use super::summary::SummaryMemory;

/// Recalls a summary of the older turns, written by a model, and the later ones up to a budget of tokens as they were said.
///
/// When those that no summary covers are over the budget, turns are summarised until the rest fills at most half of it, so
/// that not every turn costs a model call; the last turn always stays. Tokens are counted as by
/// [`TokenMemory`](crate::TokenMemory); all else is as with [`SummaryMemory`]. Until a summary is there, what is recalled may
/// be over the budget: no turn is lost.
///
/// ```
/// use katena_core::{Context, Memory, Message, RecallRequest, RecordRequest, Span, Tokenizer, fake::ScriptedChat};
/// use katena_memory::{Compaction, MemoryHistory, SummaryBufferMemory};
/// #[derive(Debug)]
/// struct Words;
/// impl Tokenizer for Words {
///     fn name(&self) -> &str { "words" }
///     fn count(&self, text: &str) -> usize { text.split_whitespace().count() }
///     fn encode(&self, _: &str) -> Vec<Span> { Vec::new() }
/// }
/// # futures_util::future::FutureExt::now_or_never(async {
/// let model = ScriptedChat::texts(["Anna said one and two."]);
/// let memory = SummaryBufferMemory::new(MemoryHistory::new(), model, Words, 24).with_compaction(Compaction::Inline);
/// for n in ["one", "two", "three"] {
///     memory.record(RecordRequest::new("anna", vec![Message::user(n), Message::assistant("ok")])).await?;
/// }
/// assert_eq!(memory.recall(&RecallRequest::new("anna")).await?.len(), 3);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SummaryBufferMemory(SummaryMemory);

impl SummaryBufferMemory {
    /// A summary by `model`, and turns of up to `max_tokens` as `tokenizer` counts them.
    pub fn new(
        history: impl ChatHistory + 'static,
        model: impl ChatModel + 'static,
        tokenizer: impl Tokenizer + 'static,
        max_tokens: usize,
    ) -> Self {
        let (history, model) = (Arc::new(history), Arc::new(model));
        Self(SummaryMemory::buffered(history, model, Arc::new(tokenizer), max_tokens))
    }

    /// Sets when summaries are written.
    pub fn with_compaction(self, compaction: Compaction) -> Self {
        Self(self.0.with_compaction(compaction))
    }

    /// Sets what the model is told to do; summary and messages follow it.
    pub fn with_instructions(self, instructions: impl Into<String>) -> Self {
        Self(self.0.with_instructions(instructions))
    }

    /// Summarises what is over the budget; gives the number of messages that the summary now covers more than before.
    ///
    /// # Errors
    /// As [`SummaryMemory::compact`].
    pub async fn compact(&self, session: &str, context: &Context) -> Result<usize> {
        self.0.compact(session, context).await
    }

    /// Waits for what is being done in the background.
    ///
    /// # Errors
    /// As [`SummaryMemory::settle`].
    pub async fn settle(&self) -> Result<()> {
        self.0.settle().await
    }
}

#[async_trait]
impl Memory for SummaryBufferMemory {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        self.0.recall(request).await
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        self.0.record(request).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.0.clear(session).await
    }
}
