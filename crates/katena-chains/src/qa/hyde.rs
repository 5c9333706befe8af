//! Search by a hypothetical answer (HyDE, Gao et al. 2022, arXiv 2212.10496): a passage that a model makes up looks more like the
//! passages that are searched than the question does.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatModel, ChatRequest, Document, EmbedRequest, EmbedResponse, EmbedRole, Embedder, EmbedderInfo, Error,
    Query, Result, Retriever, Role, Run, Scored, Tokenizer,
};
use katena_prompts::{ChatPrompt, Vars};

use crate::llm::ask::{Ask, check};

const USER: &str = "Write a short passage, as it could stand in a handbook, that answers this question. Make up what you don't \
     know. Answer with the passage alone.\n\nQuestion: {question}";

fn ask(model: impl ChatModel + 'static) -> Ask {
    let prompt = ChatPrompt::fstring([(Role::User, USER)]).expect("a constant template");
    Ask::new(Arc::new(model), prompt)
}

macro_rules! options {
    ($name:ident) => {
        impl $name {
            /// Asks with a prompt of your own over `question`.
            ///
            /// # Errors
            /// `Config` if `question` is missing, or another variable is used.
            pub fn with_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
                check(&prompt, &["question"], &[])?;
                self.ask.prompt = prompt;
                Ok(self)
            }

            /// Asks with the options of this request (temperature, most tokens, …); its messages are put before the prompt's.
            pub fn with_request(mut self, request: ChatRequest) -> Self {
                self.ask.request = Some(request);
                self
            }
        }
    };
}
options!(HydeRetriever);
options!(HydeEmbedder);

/// What a [`HydeRetriever`] searches with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HydeQuery {
    /// The question and the hypothetical passage: right where words count too.
    #[default]
    QuestionAndPassage,
    /// The hypothetical passage alone, as in the paper.
    Passage,
}

/// A retriever that searches with a hypothetical answer, over any other retriever.
///
/// What the model makes up is only searched with; it reaches no answer. Its tokens are counted where its calls are metered, not in
/// the usage of the run around.
///
/// # Errors
/// `InvalidInput` for a query without words, `Refused`, `InvalidOutput` for an empty reply, those of the model and the retriever.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// # use katena_core::{Document, Scored, Source};
/// use katena_chains::HydeRetriever;
/// use katena_core::{Query, Result, Retriever, fake::ScriptedChat};
/// # #[derive(Debug)] struct Shelf;
/// # #[async_trait::async_trait] impl Retriever for Shelf {
/// #     async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
/// #         Ok(vec![Scored::new(Document::new(&query.text, Source::new("a.md")), 0.9)])
/// #     }
/// # }
/// let hyde = HydeRetriever::new(ScriptedChat::texts(["The ferry leaves at seven."]), Shelf);
/// let found = hyde.retrieve(&Query::new("When does the ferry leave?")).await?;
/// # assert_eq!(found[0].item.text, "When does the ferry leave?\nThe ferry leaves at seven.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct HydeRetriever {
    ask: Ask,
    inner: Arc<dyn Retriever>,
    query: HydeQuery,
}

impl fmt::Debug for HydeRetriever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HydeRetriever")
            .field("model", &self.ask.model.info().model)
            .field("inner", &self.inner)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl HydeRetriever {
    /// Asks `model` for the passage, `inner` for the documents.
    pub fn new(model: impl ChatModel + 'static, inner: impl Retriever + 'static) -> Self {
        Self { ask: ask(model), inner: Arc::new(inner), query: HydeQuery::default() }
    }

    /// Says what is searched with.
    pub fn with_query(mut self, query: HydeQuery) -> Self {
        self.query = query;
        self
    }
}

#[async_trait]
impl Retriever for HydeRetriever {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        let question = query.text.trim();
        if question.is_empty() {
            return Err(Error::invalid_input("the query has no words"));
        }
        let run = Run::from(query.context.clone());
        let passage = self.ask.say(&Vars::new().with("question", question), &run).await?.text;
        let mut search = query.clone();
        search.text = match self.query {
            HydeQuery::Passage => passage.trim().to_owned(),
            HydeQuery::QuestionAndPassage => format!("{question}\n{}", passage.trim()),
        };
        self.inner.retrieve(&search).await
    }
}

/// An embedder whose queries become the mean of hypothetical answers' vectors; documents are embedded as they are.
///
/// Put it where a retriever embeds questions, not where documents are taken in: both share the vector space of the embedder below.
/// Each query costs [as many](Self::with_passages) model calls, one after another. Unlike the embedder below it gives the same query
/// the same vector only if the model gives the same passage.
///
/// # Errors
/// Those of [`HydeRetriever`] and of the embedder.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::HydeEmbedder;
/// use katena_core::{Context, EmbedderExt, fake::{HashEmbedder, ScriptedChat}};
/// let embedder = HydeEmbedder::new(ScriptedChat::texts(["the ferry leaves"]), HashEmbedder::new(64));
/// let question = embedder.embed_query("When?", &Context::new()).await?;
/// let passage = HashEmbedder::new(64).embed_query("the ferry leaves", &Context::new()).await?;
/// assert!(question.iter().zip(&passage).all(|(a, b)| (a - b).abs() < 1e-6));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct HydeEmbedder {
    ask: Ask,
    inner: Arc<dyn Embedder>,
    passages: usize,
}

impl fmt::Debug for HydeEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HydeEmbedder")
            .field("model", &self.ask.model.info().model)
            .field("inner", &self.inner)
            .field("passages", &self.passages)
            .finish_non_exhaustive()
    }
}

impl HydeEmbedder {
    /// Asks `model` for the passages, `inner` for their vectors.
    pub fn new(model: impl ChatModel + 'static, inner: impl Embedder + 'static) -> Self {
        Self { ask: ask(model), inner: Arc::new(inner), passages: 1 }
    }

    /// Takes the mean over so many passages, 1 and up (default 1). More than one needs a model with some randomness.
    pub fn with_passages(mut self, passages: usize) -> Self {
        self.passages = passages.max(1);
        self
    }
}

#[async_trait]
impl Embedder for HydeEmbedder {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        if request.role != EmbedRole::Query || request.texts.is_empty() {
            return self.inner.embed(request).await;
        }
        let run = Run::from(request.context.clone());
        let mut passages = Vec::with_capacity(request.texts.len() * self.passages);
        for text in &request.texts {
            let vars = Vars::new().with("question", text.as_str());
            for _ in 0..self.passages {
                // A query without words has no answer; what its vector is, the embedder below says.
                let passage = match text.trim() {
                    "" => text.clone(),
                    _ => self.ask.say(&vars, &run).await?.text,
                };
                passages.push(passage);
            }
        }
        let count = passages.len();
        let hypothetical = EmbedRequest::documents(passages).with_context(request.context.clone());
        let response = self.inner.embed(&hypothetical).await?;
        if response.vectors.len() != count {
            return Err(Error::invalid_output("the embedder did not give one vector for one text"));
        }
        let normal = self.info().normalized;
        let means = response.vectors.chunks(self.passages).map(|vectors| mean(vectors, normal));
        Ok(EmbedResponse::new(means.collect()).with_usage(response.usage))
    }
}

fn mean(vectors: &[Vec<f32>], normal: bool) -> Vec<f32> {
    let mut mean = vec![0.0_f32; vectors[0].len()];
    for vector in vectors {
        mean.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x / vectors.len() as f32);
    }
    let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    if normal && length > 0.0 {
        for x in &mut mean {
            *x /= length;
        }
    }
    mean
}
