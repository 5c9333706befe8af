//! Memories that recall turns as they were said.

use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{ChatHistory, Memory, Message, RecallRequest, RecordRequest, Result};

use super::turns::{Tail, whole};

/// Recalls everything. The conversation outgrows the model's context one day; see [`TokenMemory`](crate::TokenMemory).
///
/// ```
/// use katena_core::{Memory, Message, RecallRequest, RecordRequest};
/// use katena_memory::{BufferMemory, MemoryHistory};
/// # futures_util::future::FutureExt::now_or_never(async {
/// let memory = BufferMemory::new(MemoryHistory::new());
/// memory.record(RecordRequest::new("anna", vec![Message::user("Hi"), Message::assistant("Hello")])).await?;
/// assert_eq!(memory.recall(&RecallRequest::new("anna")).await?.len(), 2);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct BufferMemory {
    history: Arc<dyn ChatHistory>,
}

impl BufferMemory {
    /// All that `history` has.
    pub fn new(history: impl ChatHistory + 'static) -> Self {
        Self { history: Arc::new(history) }
    }
}

#[async_trait]
impl Memory for BufferMemory {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        request.context.check()?;
        Ok(whole(self.history.messages(&request.session).await?, &request.input))
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        self.history.append(&request.session, request.messages).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.history.clear(session).await
    }
}

/// Recalls the last turns. A turn begins with a user message and holds everything up to the next, tool calls included.
///
/// ```
/// use katena_core::{Memory, Message, RecallRequest, RecordRequest};
/// use katena_memory::{MemoryHistory, WindowMemory};
/// # futures_util::future::FutureExt::now_or_never(async {
/// let memory = WindowMemory::new(MemoryHistory::new(), 1);
/// memory.record(RecordRequest::new("anna", vec![Message::user("1"), Message::assistant("one")])).await?;
/// memory.record(RecordRequest::new("anna", vec![Message::user("2"), Message::assistant("two")])).await?;
/// assert_eq!(memory.recall(&RecallRequest::new("anna")).await?[0].text(), "2");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct WindowMemory {
    history: Arc<dyn ChatHistory>,
    turns: usize,
}

impl WindowMemory {
    /// The last `turns` of what `history` has; 0 recalls nothing.
    pub fn new(history: impl ChatHistory + 'static, turns: usize) -> Self {
        Self { history: Arc::new(history), turns }
    }
}

/// The last turns of a session, and the place where they begin.
pub(super) async fn window(
    history: &dyn ChatHistory,
    session: &str,
    turns: usize,
) -> Result<(usize, Vec<Message>)> {
    let tail = Tail::read(history, session, 0, |tail| tail.starts.len() >= turns).await?;
    let first = tail.starts.len().saturating_sub(turns);
    let place = tail.first + tail.starts.get(first).copied().unwrap_or(tail.messages.len());
    Ok((place, tail.into_turns_from(first)))
}

#[async_trait]
impl Memory for WindowMemory {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        request.context.check()?;
        let (_, messages) = window(&*self.history, &request.session, self.turns).await?;
        Ok(whole(messages, &request.input))
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        self.history.append(&request.session, request.messages).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.history.clear(session).await
    }
}

/// Remembers nothing: each call stands alone.
///
/// ```
/// use katena_core::{Memory, Message, RecallRequest, RecordRequest};
/// # futures_util::future::FutureExt::now_or_never(async {
/// let memory = katena_memory::NoMemory;
/// memory.record(RecordRequest::new("anna", vec![Message::user("Hi")])).await?;
/// assert!(memory.recall(&RecallRequest::new("anna")).await?.is_empty());
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMemory;

#[async_trait]
impl Memory for NoMemory {
    async fn recall(&self, _: &RecallRequest) -> Result<Vec<Message>> {
        Ok(Vec::new())
    }
    async fn record(&self, _: RecordRequest) -> Result<()> {
        Ok(())
    }
    async fn clear(&self, _: &str) -> Result<()> {
        Ok(())
    }
}
