//! Choosing examples.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::lock::Mutex;
use katena_core::{Context, EmbedRequest, EmbedRole, Embedder, Error, Result, Tokenizer};

use crate::template::PromptTemplate;
use crate::vars::Vars;

/// Chooses the examples that fit the variables of a prompt.
///
/// # Contract
/// - The same variables give the same examples in the same order.
/// - No examples is an answer; an error is one of a component.
#[async_trait]
pub trait ExampleSelector: fmt::Debug + Send + Sync {
    /// The examples, in the order in which they go into the prompt.
    async fn select(&self, vars: &Vars, context: &Context) -> Result<Vec<Vars>>;
}

/// Always the same examples.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::Context;
/// use katena_prompts::{ExampleSelector, FixedExamples, Vars, vars};
/// let selector = FixedExamples::new([vars! { "q" => "1+1" }]);
/// assert_eq!(selector.select(&Vars::new(), &Context::new()).await?.len(), 1);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct FixedExamples(Vec<Vars>);

impl FixedExamples {
    /// These examples.
    pub fn new(examples: impl IntoIterator<Item = Vars>) -> Self {
        Self(examples.into_iter().collect())
    }
}

#[async_trait]
impl ExampleSelector for FixedExamples {
    async fn select(&self, _vars: &Vars, _context: &Context) -> Result<Vec<Vars>> {
        Ok(self.0.clone())
    }
}

/// The first examples that fit into a budget beside the prompt's own variables: the longer the input, the fewer examples.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::Context;
/// use katena_prompts::{ExampleSelector, LengthSelector, PromptTemplate, vars};
/// let examples = [vars! { "q" => "one" }, vars! { "q" => "two" }, vars! { "q" => "three" }];
/// let selector = LengthSelector::new(examples, PromptTemplate::fstring("Q: {q}")?, 20);
/// assert_eq!(selector.select(&vars! { "q" => "short" }, &Context::new()).await?.len(), 2);
/// assert_eq!(selector.select(&vars! { "q" => "much longer" }, &Context::new()).await?.len(), 1);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct LengthSelector {
    examples: Vec<Vars>,
    template: PromptTemplate,
    budget: usize,
    tokenizer: Option<Arc<dyn Tokenizer>>,
}

impl fmt::Debug for LengthSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LengthSelector")
            .field("examples", &self.examples.len())
            .field("budget", &self.budget)
            .field("tokenizer", &self.tokenizer.as_ref().map(|t| t.name()))
            .finish_non_exhaustive()
    }
}

impl LengthSelector {
    /// Examples, the template that writes them, and the budget of examples and input together, in characters.
    pub fn new(examples: impl IntoIterator<Item = Vars>, template: PromptTemplate, budget: usize) -> Self {
        Self { examples: examples.into_iter().collect(), template, budget, tokenizer: None }
    }

    /// Counts in this model's tokens.
    pub fn with_tokenizer(mut self, tokenizer: impl Tokenizer + 'static) -> Self {
        self.tokenizer = Some(Arc::new(tokenizer));
        self
    }

    fn size(&self, text: &str) -> usize {
        self.tokenizer.as_ref().map_or_else(|| text.chars().count(), |t| t.count(text))
    }
}

#[async_trait]
impl ExampleSelector for LengthSelector {
    async fn select(&self, vars: &Vars, _context: &Context) -> Result<Vec<Vars>> {
        let input: usize = vars.names().filter_map(|n| vars.text(n)).map(|t| self.size(t)).sum();
        let mut left = self.budget.saturating_sub(input);
        let mut chosen = Vec::new();
        for example in &self.examples {
            let Some(rest) = left.checked_sub(self.size(&self.template.render(example)?)) else { break };
            left = rest;
            chosen.push(example.clone());
        }
        Ok(chosen)
    }
}

/// The examples that are most similar to the prompt's variables, by an embedder; the most similar stands last, next to the
/// question. The examples' vectors are made at the first use, once. With [`with_mmr`](SimilaritySelector::with_mmr) the
/// chosen ones also differ from each other.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{Context, fake::HashEmbedder};
/// use katena_prompts::{ExampleSelector, SimilaritySelector, vars};
/// let examples = [vars! { "q" => "cats and dogs" }, vars! { "q" => "the price of gold" }];
/// let selector = SimilaritySelector::new(examples, HashEmbedder::new(256), 1);
/// let chosen = selector.select(&vars! { "q" => "gold price today" }, &Context::new()).await?;
/// assert_eq!(chosen[0].text("q"), Some("the price of gold"));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct SimilaritySelector {
    examples: Vec<Vars>,
    embedder: Arc<dyn Embedder>,
    top_k: usize,
    keys: Option<Vec<String>>,
    mmr: Option<(f32, usize)>,
    vectors: Mutex<Option<Arc<Vec<Vec<f32>>>>>,
}

impl fmt::Debug for SimilaritySelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimilaritySelector")
            .field("examples", &self.examples.len())
            .field("embedder", &self.embedder.info().model)
            .field("top_k", &self.top_k)
            .field("mmr", &self.mmr)
            .finish_non_exhaustive()
    }
}

impl SimilaritySelector {
    /// Examples, an embedder, and how many to choose.
    pub fn new(
        examples: impl IntoIterator<Item = Vars>,
        embedder: impl Embedder + 'static,
        top_k: usize,
    ) -> Self {
        Self {
            examples: examples.into_iter().collect(),
            embedder: Arc::new(embedder),
            top_k,
            keys: None,
            mmr: None,
            vectors: Mutex::new(None),
        }
    }

    /// Compares these variables alone; without it all that hold text.
    pub fn with_keys<S: Into<String>>(mut self, keys: impl IntoIterator<Item = S>) -> Self {
        self.keys = Some(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Chooses by maximal marginal relevance among the `fetch_k` most similar (Carbonell and Goldstein, 1998): `lambda` 1 is
    /// similarity alone, 0 is variety alone.
    pub fn with_mmr(mut self, lambda: f32, fetch_k: usize) -> Self {
        self.mmr = Some((lambda.clamp(0.0, 1.0), fetch_k));
        self
    }

    fn key(&self, vars: &Vars) -> String {
        let texts: Vec<&str> = match &self.keys {
            Some(keys) => keys.iter().filter_map(|k| vars.text(k)).collect(),
            None => vars.names().filter_map(|n| vars.text(n)).collect(),
        };
        texts.join(" ")
    }

    async fn embed(&self, texts: Vec<String>, role: EmbedRole, context: &Context) -> Result<Vec<Vec<f32>>> {
        let count = texts.len();
        let request = EmbedRequest::documents(texts).with_role(role).with_context(context.clone());
        let mut vectors = self.embedder.embed(&request).await?.vectors;
        if vectors.len() != count {
            return Err(Error::invalid_output("the embedder did not give one vector for one text"));
        }
        for vector in &mut vectors {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            for x in vector.iter_mut() {
                *x /= length.max(f32::MIN_POSITIVE);
            }
        }
        Ok(vectors)
    }

    async fn vectors(&self, context: &Context) -> Result<Arc<Vec<Vec<f32>>>> {
        let mut slot = self.vectors.lock().await;
        if let Some(vectors) = &*slot {
            return Ok(vectors.clone());
        }
        let texts = self.examples.iter().map(|e| self.key(e)).collect();
        let vectors = Arc::new(self.embed(texts, EmbedRole::Document, context).await?);
        *slot = Some(vectors.clone());
        Ok(vectors)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Picks `top_k` of `found` (index and similarity, best first).
fn mmr(found: &[(usize, f32)], vectors: &[Vec<f32>], top_k: usize, lambda: f32) -> Vec<usize> {
    let mut open = found.to_vec();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < top_k && !open.is_empty() {
        let score = |(n, similarity): &(usize, f32)| {
            let near = chosen.iter().map(|c| dot(&vectors[*n], &vectors[*c])).fold(0.0_f32, f32::max);
            lambda * similarity - (1.0 - lambda) * near
        };
        let best = (0..open.len()).reduce(|a, b| if score(&open[b]) > score(&open[a]) { b } else { a });
        chosen.extend(best.map(|b| open.remove(b).0));
    }
    chosen
}

#[async_trait]
impl ExampleSelector for SimilaritySelector {
    async fn select(&self, vars: &Vars, context: &Context) -> Result<Vec<Vars>> {
        if self.examples.is_empty() || self.top_k == 0 {
            return Ok(Vec::new());
        }
        let vectors = self.vectors(context).await?;
        let query = self.embed(vec![self.key(vars)], EmbedRole::Query, context).await?.swap_remove(0);
        let mut found: Vec<(usize, f32)> = vectors.iter().map(|v| dot(v, &query)).enumerate().collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut chosen = match self.mmr {
            Some((lambda, fetch_k)) => {
                found.truncate(fetch_k.max(self.top_k));
                mmr(&found, &vectors, self.top_k, lambda)
            }
            None => found.iter().take(self.top_k).map(|(n, _)| *n).collect(),
        };
        chosen.reverse();
        Ok(chosen.into_iter().map(|n| self.examples[n].clone()).collect())
    }
}
