//! The nearest example chooses.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    BoxChain, Chain, ChainExt as _, Context, EmbedRequest, EmbedRole, Embedder, EmbedderExt as _, Error,
    Result, Run,
};
use serde_json::json;

use super::{DEFAULT, take};

type Describe<I> = Arc<dyn Fn(&I) -> String + Send + Sync>;

/// Goes on with the chain whose examples are nearest to the input: no model is asked, and a choice costs one embedding.
///
/// A route's score is the best cosine of its examples, −1 to 1. Under [the threshold](EmbeddingRouterBuilder::with_threshold) the
/// default goes on, or without one it is an error of kind `NotFound`. Equal scores: the route that was named first. The choice is told
/// as [`Event::Custom`](katena_core::Event::Custom) `route` with `route` and `why`, the scores.
///
/// # Errors
/// `InvalidInput` for a text without words, `NotFound` if no route is near enough, and those of the embedder and the chosen chain.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::EmbeddingRouter;
/// use katena_core::{ChainExt, fake::HashEmbedder, func};
/// let router = EmbeddingRouter::builder(HashEmbedder::new(256))
///     .route("ferry", ["when does the ferry leave", "ferry tickets"], func(async |_: String, _| Ok("At 8.")))
///     .route("bread", ["how to bake bread"], func(async |_: String, _| Ok("For an hour.")))
///     .with_threshold(0.3)
///     .with_default(func(async |_: String, _| Ok("Ask me of ferries and bread.")))
///     .build()
///     .await?;
/// assert_eq!(router.run("When does the last ferry leave?").await?, "At 8.");
/// assert_eq!(router.run("Who are you").await?, "Ask me of ferries and bread.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct EmbeddingRouter<I, O> {
    embedder: Arc<dyn Embedder>,
    describe: Describe<I>,
    routes: Vec<Route<I, O>>,
    threshold: f32,
    default: Option<BoxChain<I, O>>,
}

struct Route<I, O> {
    name: String,
    examples: Vec<Vec<f32>>,
    chain: BoxChain<I, O>,
}

impl<I, O> fmt::Debug for EmbeddingRouter<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingRouter")
            .field("embedder", &self.embedder)
            .field("routes", &self.routes.iter().map(|r| (&r.name, r.examples.len())).collect::<Vec<_>>())
            .field("threshold", &self.threshold)
            .field("default", &self.default.is_some())
            .finish_non_exhaustive()
    }
}

/// Puts an [`EmbeddingRouter`] together.
///
/// See there for an example.
pub struct EmbeddingRouterBuilder<I, O> {
    router: EmbeddingRouter<I, O>,
    examples: Vec<Vec<String>>,
    context: Context,
}

impl<I, O> fmt::Debug for EmbeddingRouterBuilder<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingRouterBuilder")
            .field("embedder", &self.router.embedder)
            .field("routes", &self.router.routes.iter().map(|r| &r.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Least cosine, unless told otherwise: anything that is not opposite.
const THRESHOLD: f32 = 0.0;

impl<I: AsRef<str> + Send + 'static, O: Send + 'static> EmbeddingRouter<I, O> {
    /// A router by the input's text.
    pub fn builder(embedder: impl Embedder + 'static) -> EmbeddingRouterBuilder<I, O> {
        Self::builder_by(embedder, |input: &I| input.as_ref().to_owned())
    }
}

impl<I: Send + 'static, O: Send + 'static> EmbeddingRouter<I, O> {
    /// A router by what `describe` says of the input.
    pub fn builder_by(
        embedder: impl Embedder + 'static,
        describe: impl Fn(&I) -> String + Send + Sync + 'static,
    ) -> EmbeddingRouterBuilder<I, O> {
        let router = Self {
            embedder: Arc::new(embedder),
            describe: Arc::new(describe),
            routes: Vec::new(),
            threshold: THRESHOLD,
            default: None,
        };
        EmbeddingRouterBuilder { router, examples: Vec::new(), context: Context::new() }
    }

    /// Each route's score, in the order of the routes.
    async fn scores(&self, text: &str, run: &Run) -> Result<Vec<f32>> {
        let vector = self.embedder.embed_query(text, run.context()).await?;
        let mut scores = Vec::with_capacity(self.routes.len());
        for route in &self.routes {
            let mut best = f32::NEG_INFINITY;
            for example in &route.examples {
                best = best.max(cosine(&vector, example)?);
            }
            scores.push(best);
        }
        Ok(scores)
    }
}

impl<I: Send + 'static, O: Send + 'static> EmbeddingRouterBuilder<I, O> {
    /// Adds a chain, with a name and inputs as people put them.
    pub fn route<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        examples: impl IntoIterator<Item = S>,
        chain: impl Chain<Input = I, Output = O> + 'static,
    ) -> Self {
        self.router.routes.push(Route { name: name.into(), examples: Vec::new(), chain: chain.boxed() });
        self.examples.push(examples.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the least cosine, −1 to 1 (default 0). A good one depends on the embedder: measure it.
    pub fn with_threshold(mut self, cosine: f32) -> Self {
        self.router.threshold = cosine;
        self
    }

    /// Goes on with this chain where no route is near enough.
    pub fn with_default(mut self, chain: impl Chain<Input = I, Output = O> + 'static) -> Self {
        self.router.default = Some(chain.boxed());
        self
    }

    /// Sets labels, deadline and cancel signal for the embedding of the examples.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Embeds the examples, once, as queries.
    ///
    /// # Errors
    /// `Config` without routes, for two routes of one name, or for one without examples; those of the embedder.
    pub async fn build(self) -> Result<EmbeddingRouter<I, O>> {
        let Self { mut router, examples, context } = self;
        if router.routes.is_empty() {
            return Err(Error::config("a router needs at least one route"));
        }
        for (n, (route, examples)) in router.routes.iter().zip(&examples).enumerate() {
            let twice = router.routes[..n].iter().any(|other| other.name == route.name);
            if twice || route.name == DEFAULT {
                return Err(
                    Error::config("each route needs a name of its own").with_context("route", &route.name)
                );
            }
            if examples.is_empty() || examples.iter().any(|e| e.trim().is_empty()) {
                return Err(
                    Error::config("each route needs examples with words").with_context("route", &route.name)
                );
            }
        }
        let texts: Vec<&String> = examples.iter().flatten().collect();
        let count = texts.len();
        let request = EmbedRequest::documents(texts).with_role(EmbedRole::Query).with_context(context);
        let vectors = router.embedder.embed(&request).await?.vectors;
        if vectors.len() != count {
            return Err(Error::invalid_output("the embedder did not give one vector for one text"));
        }
        let mut vectors = vectors.into_iter();
        for (route, examples) in router.routes.iter_mut().zip(&examples) {
            route.examples = vectors.by_ref().take(examples.len()).collect();
        }
        Ok(router)
    }
}

fn cosine(a: &[f32], b: &[f32]) -> Result<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    let cosine = if lengths == 0.0 { 0.0 } else { dot(a, b) / lengths };
    if a.len() == b.len() && cosine.is_finite() {
        Ok(cosine)
    } else {
        Err(Error::invalid_output("the embedder gave vectors that can't be compared"))
    }
}

#[async_trait]
impl<I: Send + 'static, O: Send + 'static> Chain for EmbeddingRouter<I, O> {
    type Input = I;
    type Output = O;

    async fn call(&self, input: I, run: &Run) -> Result<O> {
        let text = (self.describe)(&input);
        if text.trim().is_empty() {
            return Err(Error::invalid_input("the input has no words to choose a route by"));
        }
        let scores = run.step("choose", |step| async move { self.scores(&text, &step).await }).await?;
        let named = self.routes.iter().zip(&scores);
        let why = named.clone().map(|(r, s)| (r.name.clone(), json!(s))).collect();
        let best =
            named.rev().max_by(|a, b| a.1.total_cmp(b.1)).filter(|(_, score)| **score >= self.threshold);
        match (best, &self.default) {
            (Some((route, _)), _) => take(&route.name, &route.chain, why, input, run).await,
            (None, Some(default)) => take(DEFAULT, default, why, input, run).await,
            (None, None) => Err(Error::new(
                katena_core::ErrorKind::NotFound,
                "no route is near enough, and there is no default",
            )),
        }
    }
}
