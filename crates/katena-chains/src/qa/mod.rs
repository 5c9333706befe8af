//! Question answering over retrieved passages.

pub(crate) mod answer;
mod generate;
mod hyde;
pub(crate) mod marks;
mod matching;
mod multi_query;
pub(crate) mod prompt;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, Chain, ChatEvent, ChatModel, ChatRequest, ChatResponse, Error, ErrorKind, Event, PartKind,
    Query, Result, Retriever, Role, Run, Scored, Tokenizer,
};

pub use answer::{Answer, AnswerKind, Citation, CitationOrigin, Passage, Question};
pub use generate::{GeneratedQuestion, QuestionGenerator};
pub use hyde::{HydeEmbedder, HydeQuery, HydeRetriever};
pub use multi_query::MultiQueryRetriever;

use katena_prompts::ChatPrompt;
use marks::Marks;

use crate::llm::ask::check;

/// What is answered when nothing relevant was found.
const NOT_FOUND: &str = "Not in the documents.";
/// What is answered when the model says nothing.
const NO_WORDS: &str = "The model gave no answer; see the sources.";
/// Most passages, unless told otherwise.
const MOST_PASSAGES: usize = 4;
/// Most tokens of the prompt, unless told otherwise.
const PROMPT_TOKENS: usize = 700;

/// Answers questions from what a retriever finds, with checked citations.
///
/// 1. The retriever is asked; [`Event::Sources`] tells what it found before the model starts.
/// 2. Nothing found: the answer says so, and the model is not asked. Whether a passage is relevant enough to count is
///    for the retriever to decide; [`with_min_score`](RetrievalQa::with_min_score) adds a plain threshold.
/// 3. The model gets a short instruction, the passages with their numbers, and the question, within
///    [a token budget](RetrievalQa::with_prompt_tokens).
/// 4. Its text streams as [`Event::Text`], a preview that equals the final text: a mark `[n]` is held back until it is
///    whole and dropped if it points to no passage that the model was shown.
/// 5. If the model named no passage, the sentences of its text are looked up in the passages.
///
/// Passages are data: marks in them are made unusable before the model sees them.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::RetrievalQa;
/// use katena_core::{ChainExt, Document, Query, Result, Retriever, Scored, Source, fake::ScriptedChat};
///
/// #[derive(Debug)]
/// struct Shelf;
/// #[async_trait::async_trait]
/// impl Retriever for Shelf {
///     async fn retrieve(&self, _query: &Query) -> Result<Vec<Scored<Document>>> {
///         let source = Source::new("leave.md").with_lines(7, 7);
///         Ok(vec![Scored::new(Document::new("Everybody has 25 days of leave.", source), 0.9)])
///     }
/// }
///
/// let qa = RetrievalQa::new(ScriptedChat::texts(["You have 25 days [1], or more [5]."]), Shelf);
/// let answer = qa.run("How much leave do I get?").await?;
/// assert_eq!(answer.to_string(), "You have 25 days [1], or more.");
/// assert_eq!(answer.sources[0].to_string(), "leave.md, line 7: \"Everybody has 25 days of leave.\"");
/// # Ok::<(), katena_core::Error>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct RetrievalQa {
    pub(crate) model: Arc<dyn ChatModel>,
    retriever: Arc<dyn Retriever>,
    passages: usize,
    min_score: Option<f32>,
    prompt_tokens: usize,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    instruction: String,
    not_found: String,
    prompt: Option<ChatPrompt>,
    request: Option<ChatRequest>,
}

impl fmt::Debug for RetrievalQa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetrievalQa")
            .field("model", &self.model.info().model)
            .field("retriever", &self.retriever)
            .field("passages", &self.passages)
            .field("prompt_tokens", &self.prompt_tokens)
            .finish_non_exhaustive()
    }
}

impl RetrievalQa {
    /// Answers by `model` from what `retriever` finds.
    pub fn new(model: impl ChatModel + 'static, retriever: impl Retriever + 'static) -> Self {
        Self {
            model: Arc::new(model),
            retriever: Arc::new(retriever),
            passages: MOST_PASSAGES,
            min_score: None,
            prompt_tokens: PROMPT_TOKENS,
            tokenizer: None,
            instruction: prompt::INSTRUCTION.to_owned(),
            not_found: NOT_FOUND.to_owned(),
            prompt: None,
            request: None,
        }
    }

    /// Uses at most so many passages (default 4), whatever the retriever gives.
    pub fn with_passages(mut self, most: usize) -> Self {
        self.passages = most;
        self
    }

    /// Counts only passages of at least this score as relevant.
    pub fn with_min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }

    /// Keeps the prompt under so many tokens (default 700) by trimming and dropping the weakest passages.
    pub fn with_prompt_tokens(mut self, tokens: usize) -> Self {
        self.prompt_tokens = tokens;
        self
    }

    /// Counts the prompt's tokens by this tokenizer; without one they are estimated.
    pub fn with_tokenizer(mut self, tokenizer: Arc<dyn Tokenizer>) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Replaces the instruction. It should ask for marks like `[1]`, and say what to answer when the passages do not help.
    pub fn with_instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = instruction.into();
        self
    }

    /// Asks with a prompt of your own over `passages`, the numbered passages, and `question`, in place of the instruction. It
    /// should ask for marks like `[1]`, and say what to answer when the passages do not help.
    ///
    /// # Errors
    /// `Config` if one of the two is missing, or another variable is used.
    pub fn with_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["passages", "question"], &[])?;
        self.prompt = Some(prompt);
        Ok(self)
    }

    /// Replaces the text that is given when nothing relevant was found.
    pub fn with_not_found(mut self, text: impl Into<String>) -> Self {
        self.not_found = text.into();
        self
    }

    /// Asks with the options of this request (temperature, most tokens, …); its messages are put before the chain's own.
    pub fn with_request(mut self, request: ChatRequest) -> Self {
        self.request = Some(request);
        self
    }

    /// What the retriever finds, numbered.
    async fn find(&self, question: &Question, run: Run) -> Result<Vec<Passage>> {
        let search = question.search.as_ref().unwrap_or(&question.text);
        let mut query = Query::new(search).with_context(run.context().clone());
        query.filter.clone_from(&question.filter);
        query.top_k = question.top_k;
        let found = self.retriever.retrieve(&query).await?;
        let relevant = found.into_iter().filter(|s| self.min_score.is_none_or(|least| s.score >= least));
        let numbered = relevant.take(self.passages).enumerate();
        Ok(numbered.map(|(n, s)| Passage::new(n + 1, s.item, s.score)).collect())
    }

    /// The request, and how many of the passages it shows.
    fn request(&self, question: &Question, passages: &[Passage]) -> Result<(ChatRequest, usize)> {
        let (budget, tokenizer) = (self.prompt_tokens, self.tokenizer.as_ref());
        let (mut prompted, shown) = match &self.prompt {
            Some(prompt) => prompt::fill(prompt, &question.text, passages, budget, tokenizer)?,
            None => prompt::build(&self.instruction, &question.text, passages, budget, tokenizer),
        };
        if !question.history.is_empty() {
            let at = prompted.messages.iter().take_while(|m| m.role == Role::System).count();
            prompted.messages.splice(at..at, question.history.iter().cloned());
        }
        let request = match &self.request {
            Some(request) => {
                let mut request = request.clone();
                request.messages.extend(prompted.messages);
                request
            }
            None => prompted,
        };
        Ok((request, shown))
    }

    /// Asks the model and shows its text through `marks`, as a preview if somebody listens.
    async fn ask(
        &self,
        request: ChatRequest,
        marks: &mut Marks,
        run: &Run,
    ) -> Result<(String, ChatResponse)> {
        if !run.is_listened() {
            let response = run.chat(&*self.model, request).await?;
            let mut text = marks.push(&response.text());
            text.push_str(&marks.finish());
            return Ok((text, response));
        }
        run.step(&self.model.info().model, async |run: Run| {
            let mut stream = run.chat_stream(&*self.model, request).await?;
            let (mut answer, mut text) = (Accumulator::new(), String::new());
            let mut is_text: Vec<bool> = Vec::new();
            while let Some(event) = stream.next().await {
                let event = event?;
                answer.push(&event)?;
                let piece = match &event {
                    ChatEvent::Start { kind, .. } => {
                        is_text.push(*kind == PartKind::Text);
                        continue;
                    }
                    ChatEvent::Delta { part, text } if is_text.get(*part) == Some(&true) => marks.push(text),
                    _ => continue,
                };
                show(piece, &mut text, &run).await;
            }
            show(marks.finish(), &mut text, &run).await;
            let response = answer.finish()?;
            if run.is_recording() {
                // What `run.chat` notes by itself.
                run.emit(Event::Custom { name: "reply".into(), value: response.text().into() }).await;
            }
            Ok((text, response))
        })
        .await
    }
}

async fn show(piece: String, text: &mut String, run: &Run) {
    if !piece.is_empty() {
        text.push_str(&piece);
        run.emit(Event::Text(piece)).await;
    }
}

/// True if a text without citations says that there is no answer.
fn declines(text: &str) -> bool {
    const SIGNS: [&str; 12] = [
        "not in the documents",
        "not in the passages",
        "do not hold the answer",
        "do not contain",
        "does not contain",
        "don't contain",
        "doesn't contain",
        "not mentioned",
        "no information",
        "not provided in",
        "cannot answer",
        "can't answer",
    ];
    let text = text.to_lowercase().replace('’', "'");
    text.len() < 300 && SIGNS.iter().any(|s| text.contains(s))
}

#[async_trait]
impl Chain for RetrievalQa {
    type Input = Question;
    type Output = Answer;

    async fn call(&self, question: Question, run: &Run) -> Result<Answer> {
        if question.text.trim().is_empty() {
            return Err(Error::invalid_input("the question has no words"));
        }
        let passages = run.step("retrieve", |run| self.find(&question, run)).await?;
        if run.is_listened() {
            let told = passages.iter().map(|p| Scored::new(p.document.clone(), p.score)).collect();
            run.emit(Event::Sources(told)).await;
        }
        if passages.is_empty() {
            run.emit(Event::Text(self.not_found.clone())).await;
            return Ok(
                Answer::new(&self.not_found, passages, Vec::new()).with_kind(AnswerKind::NothingRelevant)
            );
        }

        let (request, shown) = self.request(&question, &passages)?;
        let mut marks = Marks::new(shown);
        let (mut text, response) = self.ask(request, &mut marks, run).await?;
        if let Some(words) = response.refusal() {
            return Err(Error::new(ErrorKind::Refused, words.to_owned()));
        }

        let mut kind = AnswerKind::Answered;
        let named = std::mem::take(&mut marks.named).into_iter();
        let mut citations: Vec<Citation> =
            named.map(|(n, at)| Citation::new(n, CitationOrigin::NamedByModel, at)).collect();
        if text.is_empty() {
            show(NO_WORDS.to_owned(), &mut text, run).await;
        } else if citations.is_empty() {
            if declines(&text) {
                kind = AnswerKind::DeclinedByModel;
            } else {
                citations = matching::matched(&text, &question.text, &passages[..shown]);
            }
        }
        let answer = Answer::new(text, passages, citations).with_kind(kind);
        Ok(answer.with_finish(response.finish).with_usage(response.usage))
    }
}
