//! As many of the last turns as fit a budget of tokens.

use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{ChatHistory, Memory, Message, Part, RecallRequest, RecordRequest, Result, Tokenizer};

use super::turns::{Tail, whole};

/// What chat formats put around a message, in tokens; an estimate.
const PER_MESSAGE: usize = 4;
/// What a picture, sound, video or file counts as, in tokens; an estimate.
const PER_MEDIA: usize = 1_000;

/// Recalls as many of the last turns as fit a budget of tokens. The cut is made once, at the border of a turn; a tool call
/// and its result are never parted. If even the last turn is over the budget, nothing is recalled.
///
/// Counted are all texts, tool calls with their arguments, tool results, and 4 a message for the format around it; a medium
/// counts as 1,000.
///
/// ```
/// use katena_core::{Memory, Message, RecallRequest, RecordRequest, Span, Tokenizer};
/// use katena_memory::{MemoryHistory, TokenMemory};
/// #[derive(Debug)]
/// struct Words;
/// impl Tokenizer for Words {
///     fn name(&self) -> &str { "words" }
///     fn count(&self, text: &str) -> usize { text.split_whitespace().count() }
///     fn encode(&self, _: &str) -> Vec<Span> { Vec::new() }
/// }
/// # futures_util::future::FutureExt::now_or_never(async {
/// let memory = TokenMemory::new(MemoryHistory::new(), Words, 12);
/// memory.record(RecordRequest::new("anna", vec![Message::user("one"), Message::assistant("two")])).await?;
/// memory.record(RecordRequest::new("anna", vec![Message::user("three"), Message::assistant("four")])).await?;
/// assert_eq!(memory.recall(&RecallRequest::new("anna")).await?[0].text(), "three");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct TokenMemory {
    history: Arc<dyn ChatHistory>,
    tokenizer: Arc<dyn Tokenizer>,
    max_tokens: usize,
}

impl TokenMemory {
    /// The last turns of what `history` has, up to `max_tokens` as `tokenizer` counts them.
    pub fn new(
        history: impl ChatHistory + 'static,
        tokenizer: impl Tokenizer + 'static,
        max_tokens: usize,
    ) -> Self {
        Self { history: Arc::new(history), tokenizer: Arc::new(tokenizer), max_tokens }
    }
}

/// The tokens of a message, by the texts in it.
pub(super) fn tokens(tokenizer: &dyn Tokenizer, message: &Message) -> usize {
    PER_MESSAGE + message.parts.iter().map(|p| part(tokenizer, p)).sum::<usize>()
}

fn part(tokenizer: &dyn Tokenizer, it: &Part) -> usize {
    match it {
        Part::Text { text } | Part::Reasoning { text, .. } | Part::Refusal { text } => tokenizer.count(text),
        Part::ToolCall(call) => tokenizer.count(&call.name) + tokenizer.count(&call.arguments),
        Part::ToolResult(result) => result.parts.iter().map(|p| part(tokenizer, p)).sum(),
        Part::Opaque { value, .. } => tokenizer.count(&value.to_string()),
        _ => PER_MEDIA,
    }
}

/// The first of `starts` from which the messages fit; the messages' end if none does.
pub(super) fn fitting(
    tokenizer: &dyn Tokenizer,
    messages: &[Message],
    starts: &[usize],
    max_tokens: usize,
) -> usize {
    let (mut cut, mut used) = (messages.len(), 0_usize);
    let mut borders = starts.iter().rev().peekable();
    for (at, message) in messages.iter().enumerate().rev() {
        used = used.saturating_add(tokens(tokenizer, message));
        if used > max_tokens {
            break;
        }
        if borders.peek() == Some(&&at) {
            borders.next();
            cut = at;
        }
    }
    cut
}

#[async_trait]
impl Memory for TokenMemory {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        request.context.check()?;
        let mut used = 0_usize;
        let mut counted = 0;
        let full = |tail: &Tail| {
            let new = tail.messages.len() - counted;
            counted = tail.messages.len();
            used += tail.messages[..new].iter().map(|m| tokens(&*self.tokenizer, m)).sum::<usize>();
            used > self.max_tokens
        };
        let mut tail = Tail::read(&*self.history, &request.session, 0, full).await?;
        let cut = fitting(&*self.tokenizer, &tail.messages, &tail.starts, self.max_tokens);
        Ok(whole(tail.messages.split_off(cut), &request.input))
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        self.history.append(&request.session, request.messages).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.history.clear(session).await
    }
}
