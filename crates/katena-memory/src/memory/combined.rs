//! Several memories as one.

use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Memory, Message, RecallRequest, RecordRequest, Result};

use super::turns::starts;

/// One memory that keeps the turns, and others that add to it.
///
/// The first records and recalls the conversation; what the others recall goes before it, in their order, without the turns
/// that the first recalls itself. Others over the same history are made with `beside()`, so that a turn is recorded once:
/// they look at it after the first has recorded it.
///
/// ```
/// use std::sync::Arc;
/// use katena_core::{ChatHistory, Memory, Message, RecallRequest, RecordRequest, fake::ScriptedChat};
/// use katena_memory::{CombinedMemory, Compaction, EntityMemory, MemoryHistory, WindowMemory};
/// # futures_util::future::FutureExt::now_or_never(async {
/// let history = MemoryHistory::new();
/// let model = ScriptedChat::texts([r#"{"entities": [{"name": "Anna", "facts": ["lives in Delft"]}]}"#]);
/// let facts = EntityMemory::new(history.clone(), model).with_compaction(Compaction::Inline).beside();
/// let memory = CombinedMemory::new(WindowMemory::new(history.clone(), 1)).with(facts);
/// let turn = vec![Message::user("I am Anna, from Delft."), Message::assistant("Hello!")];
/// memory.record(RecordRequest::new("s", turn)).await?;
/// assert_eq!(history.count("s").await?, 2);
/// assert_eq!(memory.recall(&RecallRequest::new("s")).await?.len(), 3);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct CombinedMemory {
    turns: Arc<dyn Memory>,
    others: Vec<Arc<dyn Memory>>,
}

impl CombinedMemory {
    /// The memory that keeps the turns.
    pub fn new(turns: impl Memory + 'static) -> Self {
        Self { turns: Arc::new(turns), others: Vec::new() }
    }

    /// Adds a memory whose recollections go before the turns.
    pub fn with(mut self, other: impl Memory + 'static) -> Self {
        self.others.push(Arc::new(other));
        self
    }
}

/// The turns of `messages`, with what stands before the first user message as one of its own.
fn cut(messages: &[Message]) -> impl Iterator<Item = &[Message]> {
    let borders = starts(messages, true);
    let ends: Vec<usize> = borders.iter().skip(1).copied().chain([messages.len()]).collect();
    borders.into_iter().zip(ends).map(|(from, to)| &messages[from..to])
}

#[async_trait]
impl Memory for CombinedMemory {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        let turns = self.turns.recall(request).await?;
        let mut out: Vec<Message> = Vec::new();
        for other in &self.others {
            let more = other.recall(request).await?;
            let new = cut(&more).filter(|&turn| !cut(&turns).chain(cut(&out)).any(|t| t == turn));
            let new: Vec<Message> = new.flatten().cloned().collect();
            out.extend(new);
        }
        out.extend(turns);
        Ok(out)
    }

    async fn record(&self, request: RecordRequest) -> Result<()> {
        self.turns.record(request.clone()).await?;
        for other in &self.others {
            other.record(request.clone()).await?;
        }
        Ok(())
    }

    async fn clear(&self, session: &str) -> Result<()> {
        self.turns.clear(session).await?;
        for other in &self.others {
            other.clear(session).await?;
        }
        Ok(())
    }
}
