//! Chains that remember what was said.

mod condense;
mod retrieval;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    Chain, ChatModel, ChatRequest, ChatResponse, Error, Memory, Message, Part, RecallRequest, RecordRequest,
    Result, Role, Run,
};
use katena_prompts::{ChatPrompt, Vars};

pub use condense::{CondenseQuestion, FollowUp};
pub use retrieval::{AskedAs, ConversationalAnswer, ConversationalQuestion, ConversationalRetrievalQa};

use crate::llm::ask::{check, said};

/// What a person says in a session.
///
/// ```
/// use katena_chains::Turn;
/// use katena_core::Message;
/// let turn = Turn::new("session-7", "Hello!");
/// assert_eq!((turn.session.as_str(), turn.message.text().as_str()), ("session-7", "Hello!"));
/// assert_eq!(Turn::from(("session-7", "Hello!")).message, Message::user("Hello!"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Turn {
    /// The session; whoever knows its name reads along, so don't take it from the person unchecked.
    pub session: String,
    /// The message, images included.
    pub message: Message,
}

impl Turn {
    /// A text.
    pub fn new(session: impl Into<String>, text: impl Into<String>) -> Self {
        Self::of(session, Message::user(text))
    }
    /// A message with any parts.
    pub fn of(session: impl Into<String>, message: Message) -> Self {
        Self { session: session.into(), message }
    }
}

impl<S: Into<String>, T: Into<String>> From<(S, T)> for Turn {
    fn from((session, text): (S, T)) -> Self {
        Self::new(session, text)
    }
}

/// A model that remembers: recalls the session, asks, records the turn.
///
/// The turn is recorded once, both sides together, and only when the answer is complete: an error, a refusal, a cancelled or
/// dropped run leave the memory as it was. An answer that hit the token limit is complete in this sense: the person saw it, and
/// "go on" works. If recording fails, so does the chain. The answer streams.
///
/// Two turns of one session at the same time don't see each other; the memory keeps each turn together.
///
/// # Errors
/// `InvalidInput` for a message without words or media, `Refused`, `InvalidOutput` for an empty reply or one that asks for a tool,
/// and those of the memory and the model.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use std::sync::Mutex;
/// use katena_chains::Conversation;
/// use katena_core::{ChainExt, Memory, Message, RecallRequest, RecordRequest, Result, fake::ScriptedChat};
///
/// /// Remembers one session; the crate `katena-memory` has real ones.
/// #[derive(Debug, Default)]
/// struct OneSession(Mutex<Vec<Message>>);
/// #[async_trait::async_trait]
/// impl Memory for OneSession {
///     async fn recall(&self, _: &RecallRequest) -> Result<Vec<Message>> {
///         Ok(self.0.lock().unwrap().clone())
///     }
///     async fn record(&self, turn: RecordRequest) -> Result<()> {
///         self.0.lock().unwrap().extend(turn.messages);
///         Ok(())
///     }
///     async fn clear(&self, _: &str) -> Result<()> {
///         self.0.lock().unwrap().clear();
///         Ok(())
///     }
/// }
///
/// let model = ScriptedChat::texts(["Hello Ada.", "Ada."]);
/// let chat = Conversation::new(model.clone(), OneSession::default()).with_system("Be brief.");
/// chat.run(("s", "I am Ada.")).await?;
/// assert_eq!(chat.run(("s", "Who am I?")).await?.text(), "Ada.");
/// let asked: Vec<String> = model.requests()[1].messages.iter().map(Message::text).collect();
/// assert_eq!(asked, ["Be brief.", "I am Ada.", "Hello Ada.", "Who am I?"]);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct Conversation {
    model: Arc<dyn ChatModel>,
    memory: Arc<dyn Memory>,
    system: Option<String>,
    prompt: Option<ChatPrompt>,
    request: Option<ChatRequest>,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("model", &self.model.info().model)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl Conversation {
    /// Talks with `model`, remembers by `memory`.
    pub fn new(model: impl ChatModel + 'static, memory: impl Memory + 'static) -> Self {
        Self { model: Arc::new(model), memory: Arc::new(memory), system: None, prompt: None, request: None }
    }

    /// Puts an instruction before everything.
    pub fn with_system(mut self, instruction: impl Into<String>) -> Self {
        self.system = Some(instruction.into());
        self
    }

    /// Asks with a prompt of your own: `history` is the place of the recalled messages, `input` that of the new one.
    ///
    /// # Errors
    /// `Config` if one of the two is missing, or another variable is used.
    pub fn with_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["history", "input"], &[])?;
        self.prompt = Some(prompt);
        Ok(self)
    }

    /// Asks with the options of this request (temperature, most tokens, …); its messages are put before all others.
    pub fn with_request(mut self, request: ChatRequest) -> Self {
        self.request = Some(request);
        self
    }

    fn ask(&self, history: Vec<Message>, message: &Message) -> Result<ChatRequest> {
        let prompted = match &self.prompt {
            Some(prompt) => {
                let vars = Vars::new().with_messages("history", history);
                prompt.request(&vars.with_messages("input", vec![message.clone()]))?
            }
            None => {
                let mut messages = history;
                messages.push(message.clone());
                ChatRequest::new(messages)
            }
        };
        let mut messages = prompted.messages.clone();
        if let Some(system) = &self.system {
            messages.insert(0, Message::system(system));
        }
        let mut request = self.request.clone().unwrap_or(prompted);
        match &self.request {
            Some(own) => request.messages = [own.messages.clone(), messages].concat(),
            None => request.messages = messages,
        }
        Ok(request)
    }
}

/// Refuses a message that says nothing, or that claims to be somebody else's.
fn check_message(message: &Message) -> Result<()> {
    let blank = message.parts.iter().all(|p| matches!(p, Part::Text { text } if text.trim().is_empty()));
    if blank || message.role != Role::User {
        return Err(Error::invalid_input("a turn is a message of the user with words or media"));
    }
    Ok(())
}

/// The session's messages, as a step.
async fn recall(memory: &dyn Memory, session: &str, message: &Message, run: &Run) -> Result<Vec<Message>> {
    run.step("recall", |step| async move {
        let request = RecallRequest::new(session).with_input(vec![message.clone()]);
        memory.recall(&request.with_context(step.context().clone())).await
    })
    .await
}

/// Takes the turn in, as a step.
async fn record(memory: &dyn Memory, session: &str, turn: Vec<Message>, run: &Run) -> Result<()> {
    run.step("record", |step| async move {
        memory.record(RecordRequest::new(session, turn).with_context(step.context().clone())).await
    })
    .await
}

#[async_trait]
impl Chain for Conversation {
    type Input = Turn;
    type Output = ChatResponse;

    async fn call(&self, turn: Turn, run: &Run) -> Result<ChatResponse> {
        check_message(&turn.message)?;
        let history = recall(&*self.memory, &turn.session, &turn.message, run).await?;
        let response = run.chat(&*self.model, self.ask(history, &turn.message)?).await?;
        said(&response)?;
        if response.tool_calls().next().is_some() {
            return Err(Error::invalid_output("the model asks for a tool, and this chain runs none"));
        }
        record(&*self.memory, &turn.session, vec![turn.message, response.message.clone()], run).await?;
        Ok(response)
    }
}
