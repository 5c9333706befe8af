//! Parsers that show what they read while the model still writes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, Chain, ChatEvent, ChatModel, ChatRequest, ChatResponse, Event, IntoRequest, PartKind,
    Reply as _, Result, Run,
};

use super::OutputParser;

/// A parser that can show what it has read so far.
pub trait StreamParser: OutputParser {
    /// A reader of one reply.
    fn reader(&self) -> Box<dyn StreamReader>;
}

/// Reads one reply while it arrives.
pub trait StreamReader: Send {
    /// Reads on; gives what to show, if there is something new.
    fn push(&mut self, text: &str) -> Option<Event>;

    /// The reply is over; gives what is left to show.
    fn finish(&mut self) -> Option<Event>;
}

/// A model whose reply is parsed, and shown as the parser reads it; see [`LiveExt::chat_parsed`].
pub struct ChatParsed<C, P> {
    chain: C,
    model: Arc<dyn ChatModel>,
    parser: P,
}

impl<C: fmt::Debug, P: fmt::Debug> fmt::Debug for ChatParsed<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatParsed")
            .field("chain", &self.chain)
            .field("model", &self.model.info().model)
            .field("parser", &self.parser)
            .finish()
    }
}

/// Asking a model through a parser.
pub trait LiveExt: Chain {
    /// Asks a model with the output and parses its reply. A listener does not see the model's events but what the parser
    /// reads: with [`XmlTag`](crate::XmlTag) the inside of the tag as [`Event::Text`], with
    /// [`JsonParser`](crate::JsonParser) the values so far as [`Event::Custom`] events named `partial`. These are previews;
    /// the output is the truth.
    ///
    /// ```
    /// # futures_util::FutureExt::now_or_never(async {
    /// use futures_util::StreamExt;
    /// use katena_core::{ChainExt, Event, Streamed, fake::ScriptedChat};
    /// use katena_prompts::{LiveExt, PromptTemplate, XmlTag, vars};
    /// let model = ScriptedChat::texts(["<think>Hm, 6 by 7.</think> <answer>It is 42.</answer>"]);
    /// let chain = PromptTemplate::fstring("{q}")?.chat_parsed(model, XmlTag::new("answer"));
    /// let (mut shown, mut output) = (String::new(), String::new());
    /// let mut stream = chain.stream(vars! { "q" => "6 × 7?" });
    /// while let Some(item) = stream.next().await {
    ///     match item? {
    ///         Streamed::Event(event) => if let Event::Text(text) = event.event { shown.push_str(&text) },
    ///         Streamed::Output(text) => output = text,
    ///     }
    /// }
    /// assert_eq!((shown.as_str(), output.as_str()), ("It is 42.", "It is 42."));
    /// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
    /// ```
    fn chat_parsed<P: StreamParser>(self, model: impl ChatModel + 'static, parser: P) -> ChatParsed<Self, P>
    where
        Self: Sized,
        Self::Output: IntoRequest,
    {
        ChatParsed { chain: self, model: Arc::new(model), parser }
    }
}

impl<C: Chain> LiveExt for C {}

impl<C, P: StreamParser> ChatParsed<C, P> {
    async fn ask(&self, request: ChatRequest, run: &Run) -> Result<ChatResponse> {
        if !run.is_listened() {
            return run.chat(&*self.model, request).await;
        }
        run.step(&self.model.info().model, async |run: Run| {
            let mut stream = run.chat_stream(&*self.model, request).await?;
            let mut answer = Accumulator::new();
            let mut reader = self.parser.reader();
            let mut texts = Vec::new();
            while let Some(event) = stream.next().await {
                let event = event?;
                answer.push(&event)?;
                let shown = match &event {
                    ChatEvent::Start { kind, .. } => {
                        texts.push(*kind == PartKind::Text);
                        None
                    }
                    ChatEvent::Delta { part, text } if texts.get(*part) == Some(&true) => reader.push(text),
                    _ => None,
                };
                if let Some(event) = shown {
                    run.emit(event).await;
                }
            }
            let response = answer.finish()?;
            if let Some(event) = reader.finish() {
                run.emit(event).await;
            }
            Ok(response)
        })
        .await
    }
}

#[async_trait]
impl<C, P> Chain for ChatParsed<C, P>
where
    C: Chain,
    C::Output: IntoRequest,
    P: StreamParser,
{
    type Input = C::Input;
    type Output = P::Output;
    async fn call(&self, input: C::Input, run: &Run) -> Result<P::Output> {
        let request = self.chain.call(input, run).await?.into_request();
        let response = self.ask(request, run).await?;
        response.check()?;
        self.parser.parse(&response.text())
    }
}
