//! One question in several wordings, and one list of what they find.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use katena_core::{ChatModel, ChatRequest, Document, Error, Query, Result, Retriever, Role, Run, Scored};
use katena_prompts::{ChatPrompt, Vars};

use crate::llm::ask::{Ask, check};

const USER: &str = "Put this question in {count} other wordings, for a search in documents: other words for the same things, no \
     further questions. Keep its language.\n\nQuestion: {question}";
/// Wordings beside the question's own, unless told otherwise.
const WORDINGS: usize = 3;
/// Passages, unless told otherwise.
const TOP_K: usize = 4;
/// Passages that each wording brings, unless `top_k` is more.
const CANDIDATES: usize = 10;
/// The constant of reciprocal rank fusion (Cormack et al. 2009).
const RANK_CONSTANT: f32 = 60.0;

/// A retriever that asks another one in several wordings and fuses the lists by reciprocal rank: "multi-query", "RAG fusion".
///
/// A model puts the question in other words, by a schema; the question's own wording always counts too. All wordings are searched at
/// once. A passage's score is the sum of 1 / (60 + rank) over the lists that hold it; equal scores keep the order in which they were
/// found, that of the question's own wording first. Passages are the same if their ids are, or without an id source and text.
///
/// # Errors
/// `InvalidInput` for a query without words, `Refused`, `InvalidOutput` if no wording came, those of the model and the retriever.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// # use katena_core::{Document, Scored, Source};
/// use katena_chains::MultiQueryRetriever;
/// use katena_core::{Query, Result, Retriever, fake::ScriptedChat};
/// # #[derive(Debug)] struct Shelf;
/// # #[async_trait::async_trait] impl Retriever for Shelf {
/// #     async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
/// #         Ok(vec![Scored::new(Document::new(&query.text, Source::new("a.md")), 0.9)])
/// #     }
/// # }
/// let model = ScriptedChat::texts([r#"{"value": ["departure of the ferry"]}"#]);
/// let retriever = MultiQueryRetriever::new(model, Shelf).with_wordings(1);
/// assert_eq!(retriever.retrieve(&Query::new("When does the ferry leave?")).await?.len(), 2);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct MultiQueryRetriever {
    ask: Ask,
    inner: Arc<dyn Retriever>,
    wordings: usize,
    top_k: usize,
}

impl fmt::Debug for MultiQueryRetriever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiQueryRetriever")
            .field("model", &self.ask.model.info().model)
            .field("inner", &self.inner)
            .field("wordings", &self.wordings)
            .field("top_k", &self.top_k)
            .finish_non_exhaustive()
    }
}

impl MultiQueryRetriever {
    /// Asks `model` for 3 other wordings, `inner` for documents; gives 4.
    pub fn new(model: impl ChatModel + 'static, inner: impl Retriever + 'static) -> Self {
        let prompt = ChatPrompt::fstring([(Role::User, USER)]).expect("a constant template");
        let ask = Ask::new(Arc::new(model), prompt);
        Self { ask, inner: Arc::new(inner), wordings: WORDINGS, top_k: TOP_K }
    }

    /// Asks for so many other wordings, 1 and up.
    pub fn with_wordings(mut self, wordings: usize) -> Self {
        self.wordings = wordings.max(1);
        self
    }

    /// Gives at most so many passages, 1 and up; a query's own number wins.
    pub fn with_top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Asks with a prompt of your own over `question` and `count`.
    ///
    /// # Errors
    /// `Config` if `question` is missing, or another variable is used.
    pub fn with_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["question"], &["count"])?;
        self.ask.prompt = prompt;
        Ok(self)
    }

    /// Asks with the options of this request (temperature, most tokens, …); its messages are put before the prompt's.
    pub fn with_request(mut self, request: ChatRequest) -> Self {
        self.ask.request = Some(request);
        self
    }

    /// The question, then its other wordings, each once.
    async fn wordings(&self, question: &str, query: &Query) -> Result<Vec<String>> {
        let vars = Vars::new().with("question", question).with("count", self.wordings);
        let run = Run::from(query.context.clone());
        let written: Vec<String> = self.ask.typed(&vars, &run).await?;
        let mut all = vec![question.to_owned()];
        for text in written.iter().map(|w| w.trim()).filter(|w| !w.is_empty()) {
            if all.len() <= self.wordings && !all.iter().any(|w| w == text) {
                all.push(text.to_owned());
            }
        }
        if all.len() == 1 {
            return Err(Error::invalid_output("the model gave no other wording"));
        }
        Ok(all)
    }
}

#[async_trait]
impl Retriever for MultiQueryRetriever {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        query.context.check()?;
        let question = query.text.trim();
        if question.is_empty() {
            return Err(Error::invalid_input("the query has no words"));
        }
        let top_k = query.top_k.unwrap_or(self.top_k);
        let wordings = self.wordings(question, query).await?;
        let searches = wordings.into_iter().map(|text| {
            let mut search = query.clone().with_top_k(top_k.max(CANDIDATES));
            search.text = text;
            async move { self.inner.retrieve(&search).await }
        });
        let mut fused = fuse(try_join_all(searches).await?);
        fused.truncate(top_k);
        Ok(fused)
    }
}

fn fuse(lists: Vec<Vec<Scored<Document>>>) -> Vec<Scored<Document>> {
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let mut fused: Vec<Scored<Document>> = Vec::new();
    for list in lists {
        for (rank, hit) in list.into_iter().enumerate() {
            let document = hit.item;
            let key = match document.id.as_str() {
                "" => (document.source.to_string(), document.text.clone()),
                id => (id.to_owned(), String::new()),
            };
            let score = 1.0 / (RANK_CONSTANT + rank as f32 + 1.0);
            let place = *places.entry(key).or_insert(fused.len());
            match fused.get_mut(place) {
                Some(known) => known.score += score,
                None => fused.push(Scored::new(document, score)),
            }
        }
    }
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    fused
}
