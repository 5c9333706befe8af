//! Parsers as steps of a chain.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    Chain, ChatModel, ChatRequest, ChatResponse, Error, ErrorKind, Message, Reply as _, Result, Run,
};

use super::OutputParser;

/// What a parser can read: a model's reply or a text.
pub trait ParserInput: Send + 'static {
    /// The text.
    ///
    /// # Errors
    /// Kind `Refused` with the model's words if the reply is a refusal.
    fn into_parser_text(self) -> Result<String>;
}

impl ParserInput for ChatResponse {
    fn into_parser_text(self) -> Result<String> {
        self.check()?;
        Ok(self.text())
    }
}

impl ParserInput for String {
    fn into_parser_text(self) -> Result<String> {
        Ok(self)
    }
}

/// Parsing the output of a chain.
pub trait ParseExt: Chain {
    /// Parses the output: a model's reply or a text.
    ///
    /// ```
    /// # futures_util::FutureExt::now_or_never(async {
    /// use katena_core::{ChainExt, fake::ScriptedChat};
    /// use katena_prompts::{ListParser, OutputParser, ParseExt, PromptTemplate, vars};
    /// let parser = ListParser::commas();
    /// let prompt = PromptTemplate::fstring("Name {n} colours. {format}")?
    ///     .with_partial_value("format", parser.format_instructions());
    /// let chain = prompt.chat(ScriptedChat::texts(["red, green, blue"])).parse(parser);
    /// assert_eq!(chain.run(vars! { "n" => 3 }).await?, ["red", "green", "blue"]);
    /// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
    /// ```
    fn parse<P: OutputParser>(self, parser: P) -> Parsed<Self, P>
    where
        Self: Sized,
        Self::Output: ParserInput,
    {
        Parsed { chain: self, parser, repair: None }
    }
}

impl<C: Chain> ParseExt for C {}

/// A chain whose output is parsed, with the model's help if that fails; see [`ParseExt::parse`].
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChainExt, fake::ScriptedChat};
/// use katena_prompts::{BooleanParser, ParseExt, PromptTemplate, vars};
/// let model = ScriptedChat::texts(["Well, it depends.", "yes"]);
/// let chain = PromptTemplate::fstring("Is it {x}?")?.chat(model.clone()).parse(BooleanParser::new()).with_repair(model, 1);
/// assert!(chain.run(vars! { "x" => "late" }).await?);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct Parsed<C, P> {
    chain: C,
    parser: P,
    repair: Option<(Arc<dyn ChatModel>, usize)>,
}

impl<C: fmt::Debug, P: fmt::Debug> fmt::Debug for Parsed<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed")
            .field("chain", &self.chain)
            .field("parser", &self.parser)
            .field("repairs", &self.repair.as_ref().map_or(0, |r| r.1))
            .finish()
    }
}

impl<C, P> Parsed<C, P> {
    /// Lets a model correct an answer that can't be read, at most `times` times: it gets the answer, what is wrong with it,
    /// and the parser's instructions. Its calls are quiet.
    pub fn with_repair(mut self, model: impl ChatModel + 'static, times: usize) -> Self {
        self.repair = Some((Arc::new(model), times));
        self
    }
}

#[async_trait]
impl<C, P> Chain for Parsed<C, P>
where
    C: Chain,
    C::Output: ParserInput,
    P: OutputParser,
{
    type Input = C::Input;
    type Output = P::Output;
    async fn call(&self, input: C::Input, run: &Run) -> Result<P::Output> {
        let mut text = self.chain.call(input, run).await?.into_parser_text()?;
        let mut left = self.repair.as_ref().map_or(0, |r| r.1);
        loop {
            let error = match self.parser.parse(&text) {
                Err(error) if error.kind() == ErrorKind::InvalidOutput && left > 0 => error,
                done => return done,
            };
            let Some((model, _)) = &self.repair else { return Err(error) };
            left -= 1;
            let request = repair_request(&text, &error, &self.parser.format_instructions());
            text = run.quiet().chat(&**model, request).await?.into_parser_text()?;
        }
    }
}

fn repair_request(text: &str, error: &Error, instructions: &str) -> ChatRequest {
    let reason = error.context("reason").map_or_else(String::new, |r| format!(": {r}"));
    let words = format!(
        "The text in the next message is an answer that can't be read: {}{reason}.\n{instructions}\n\
         Write the answer again in that form, without changing what it says, and nothing else.",
        error.message()
    );
    ChatRequest::new([Message::system(words), Message::user(text)])
}
