//! Questions to documents within a conversation.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, ErrorKind, Event, Memory, Message, Result, Run};
use serde_json::json;

use super::{CondenseQuestion, FollowUp, check_message, recall, record};
use crate::qa::answer::without_marks;
use crate::qa::{Answer, Question, RetrievalQa};

/// A question in a session.
///
/// ```
/// use katena_chains::ConversationalQuestion;
/// let question = ConversationalQuestion::from(("session-7", "And on Sundays?"));
/// assert_eq!((question.session.as_str(), question.question.text.as_str()), ("session-7", "And on Sundays?"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConversationalQuestion {
    /// The session; whoever knows its name reads along, so don't take it from the person unchecked.
    pub session: String,
    /// The question, with filter and most passages.
    pub question: Question,
}

impl ConversationalQuestion {
    /// A question in a session.
    pub fn new(session: impl Into<String>, question: impl Into<Question>) -> Self {
        Self { session: session.into(), question: question.into() }
    }
}

impl<S: Into<String>, Q: Into<Question>> From<(S, Q)> for ConversationalQuestion {
    fn from((session, question): (S, Q)) -> Self {
        Self::new(session, question)
    }
}

/// How the model that answers sees a follow-up question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskedAs {
    /// Rewritten, without the conversation: short prompts, right for small models.
    #[default]
    Rewritten,
    /// As the person put it, after the conversation. The documents are still searched with the rewritten one.
    Original,
}

/// An answer within a conversation. `Display` prints the answer.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ConversationalAnswer {
    /// The answer with its sources and checked citations.
    pub answer: Answer,
    /// The rewritten question that the documents were searched with; none if the original was used.
    pub generated_question: Option<String>,
}

impl fmt::Debug for ConversationalAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConversationalAnswer")
            .field("answer", &self.answer)
            .field("rewritten", &self.generated_question.is_some())
            .finish()
    }
}

impl fmt::Display for ConversationalAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answer.fmt(f)
    }
}

/// [`RetrievalQa`] that remembers the conversation.
///
/// 1. The session is recalled.
/// 2. If there is something to recall, the question is rewritten so that it stands by itself (a quiet call, see
///    [`CondenseQuestion`]), and told as [`Event::Custom`] `generated_question`. A rewriting that is empty, cut off or endless is told as
///    `question_not_rewritten`, and the original goes on; a refusal is an error.
/// 3. [`RetrievalQa`] answers: sources, streamed text, checked citations.
/// 4. The turn is recorded, once, when the answer is complete: the question as the person put it and the answer without its marks,
///    which mean nothing to the next question's passages.
///
/// # Errors
/// Those of [`RetrievalQa`], of the memory, and of the model that rewrites.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// # use katena_core::{Document, Memory, Message, Query, RecallRequest, RecordRequest, Result, Retriever, Scored, Source};
/// # #[derive(Debug)] struct Shelf;
/// # #[async_trait::async_trait] impl Retriever for Shelf {
/// #     async fn retrieve(&self, _: &Query) -> Result<Vec<Scored<Document>>> {
/// #         Ok(vec![Scored::new(Document::new("The ferry leaves at 8, on Sundays at 10.", Source::new("ferry.md")), 0.9)])
/// #     }
/// # }
/// # #[derive(Debug, Default)] struct OneSession(std::sync::Mutex<Vec<Message>>);
/// # #[async_trait::async_trait] impl Memory for OneSession {
/// #     async fn recall(&self, _: &RecallRequest) -> Result<Vec<Message>> { Ok(self.0.lock().unwrap().clone()) }
/// #     async fn record(&self, turn: RecordRequest) -> Result<()> { self.0.lock().unwrap().extend(turn.messages); Ok(()) }
/// #     async fn clear(&self, _: &str) -> Result<()> { self.0.lock().unwrap().clear(); Ok(()) }
/// # }
/// use katena_chains::{ConversationalRetrievalQa, RetrievalQa};
/// use katena_core::{ChainExt, fake::ScriptedChat};
///
/// let model = ScriptedChat::texts(["At 8 [1].", "When does the ferry leave on Sundays?", "At 10 [1]."]);
/// let qa = ConversationalRetrievalQa::new(RetrievalQa::new(model, Shelf), OneSession::default());
/// qa.run(("s", "When does the ferry leave?")).await?;
/// let second = qa.run(("s", "And on Sundays?")).await?;
/// assert_eq!(second.to_string(), "At 10 [1].");
/// assert_eq!(second.generated_question.as_deref(), Some("When does the ferry leave on Sundays?"));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct ConversationalRetrievalQa {
    qa: RetrievalQa,
    condense: CondenseQuestion,
    memory: Arc<dyn Memory>,
    asked_as: AskedAs,
}

impl fmt::Debug for ConversationalRetrievalQa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConversationalRetrievalQa")
            .field("qa", &self.qa)
            .field("condense", &self.condense)
            .field("memory", &self.memory)
            .field("asked_as", &self.asked_as)
            .finish()
    }
}

impl ConversationalRetrievalQa {
    /// Answers by `qa`, remembers by `memory`; questions are rewritten by the model of `qa`.
    pub fn new(qa: RetrievalQa, memory: impl Memory + 'static) -> Self {
        let condense = CondenseQuestion::new(qa.model.clone());
        Self { qa, condense, memory: Arc::new(memory), asked_as: AskedAs::default() }
    }

    /// Rewrites questions by this chain: another model, prompt, options.
    pub fn with_condense(mut self, condense: CondenseQuestion) -> Self {
        self.condense = condense;
        self
    }

    /// Says how the model that answers sees the question (default: rewritten).
    pub fn with_asked_as(mut self, asked_as: AskedAs) -> Self {
        self.asked_as = asked_as;
        self
    }

    /// The rewritten question, if there is one.
    async fn rewrite(&self, question: &str, history: &[Message], run: &Run) -> Result<Option<String>> {
        if history.is_empty() {
            return Ok(None);
        }
        run.step("condense", |step| async move {
            let (name, value, rewritten) =
                match self.condense.call(FollowUp::new(question, history.to_vec()), &step.quiet()).await {
                    Ok(text) => ("generated_question", json!(text), Some(text)),
                    Err(error) if error.kind() == ErrorKind::InvalidOutput => {
                        ("question_not_rewritten", json!(error.message()), None)
                    }
                    Err(error) => return Err(error),
                };
            step.emit(Event::Custom { name: name.into(), value }).await;
            Ok(rewritten)
        })
        .await
    }
}

#[async_trait]
impl Chain for ConversationalRetrievalQa {
    type Input = ConversationalQuestion;
    type Output = ConversationalAnswer;

    async fn call(&self, input: ConversationalQuestion, run: &Run) -> Result<ConversationalAnswer> {
        let ConversationalQuestion { session, mut question } = input;
        let message = Message::user(&question.text);
        check_message(&message)?;
        let history = recall(&*self.memory, &session, &message, run).await?;
        let generated = self.rewrite(&question.text, &history, run).await?;
        match (self.asked_as, &generated) {
            (AskedAs::Rewritten, Some(text)) => question.text.clone_from(text),
            (AskedAs::Rewritten, None) => {}
            (AskedAs::Original, text) => {
                question.search = text.clone().or(question.search);
                question.history = history;
            }
        }
        let answer = self.qa.call(question, run).await?;
        let turn = vec![message, Message::assistant(without_marks(&answer.text).trim())];
        record(&*self.memory, &session, turn, run).await?;
        Ok(ConversationalAnswer { answer, generated_question: generated })
    }
}
