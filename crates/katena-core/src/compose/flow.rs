//! Combinators that know nothing of models.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};

use crate::chain::Chain;
use crate::context::Labels;
use crate::error::Result;
use crate::run::Run;

/// One chain after another.
#[derive(Clone, Debug)]
pub struct Then<A, B>(A, B);

impl<A, B> Then<A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        Self(first, second)
    }
}

#[async_trait]
impl<A: Chain, B: Chain<Input = A::Output>> Chain for Then<A, B> {
    type Input = A::Input;
    type Output = B::Output;
    async fn call(&self, input: A::Input, run: &Run) -> Result<B::Output> {
        let middle = self.0.call(input, run).await?;
        run.context().check()?;
        self.1.call(middle, run).await
    }
}

macro_rules! opaque_debug {
    ($name:ident<$($p:ident),*>, $inner:tt) => {
        impl<$($p),*> fmt::Debug for $name<$($p),*> where C: fmt::Debug {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.$inner).finish()
            }
        }
    };
}

/// A chain whose output goes through a function.
#[derive(Clone)]
pub struct Map<C, F>(C, F);
opaque_debug!(Map<C, F>, 0);

impl<C, F> Map<C, F> {
    pub(crate) fn new(chain: C, f: F) -> Self {
        Self(chain, f)
    }
}

#[async_trait]
impl<C: Chain, O: Send + 'static, F: Fn(C::Output) -> O + Send + Sync> Chain for Map<C, F> {
    type Input = C::Input;
    type Output = O;
    async fn call(&self, input: C::Input, run: &Run) -> Result<O> {
        Ok(self.1(self.0.call(input, run).await?))
    }
}

/// A chain whose output goes through an async function that may fail.
#[derive(Clone)]
pub struct AndThen<C, F>(C, F);
opaque_debug!(AndThen<C, F>, 0);

impl<C, F> AndThen<C, F> {
    pub(crate) fn new(chain: C, f: F) -> Self {
        Self(chain, f)
    }
}

#[async_trait]
impl<C, O, Fut, F> Chain for AndThen<C, F>
where
    C: Chain,
    O: Send + 'static,
    Fut: Future<Output = Result<O>> + Send,
    F: Fn(C::Output, Run) -> Fut + Send + Sync,
{
    type Input = C::Input;
    type Output = O;
    async fn call(&self, input: C::Input, run: &Run) -> Result<O> {
        let middle = self.0.call(input, run).await?;
        run.context().check()?;
        self.1(middle, run.clone()).await
    }
}

/// A chain made from an async function; see [`func`].
pub struct FnChain<I, O, F>(F, PhantomData<fn(I) -> O>);

impl<I, O, F> fmt::Debug for FnChain<I, O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnChain")
    }
}

/// A chain from an async function; the start of most compositions.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChainExt, func};
/// let chain = func(async |name: String, _run| Ok(format!("Hello {name}"))).map(|s: String| s.len());
/// assert_eq!(chain.run("Ada").await.unwrap(), 9);
/// # }).unwrap();
/// ```
pub fn func<I, O, Fut, F>(f: F) -> FnChain<I, O, F>
where
    I: Send + 'static,
    O: Send + 'static,
    Fut: Future<Output = Result<O>> + Send,
    F: Fn(I, Run) -> Fut + Send + Sync,
{
    FnChain(f, PhantomData)
}

#[async_trait]
impl<I, O, Fut, F> Chain for FnChain<I, O, F>
where
    I: Send + 'static,
    O: Send + 'static,
    Fut: Future<Output = Result<O>> + Send,
    F: Fn(I, Run) -> Fut + Send + Sync,
{
    type Input = I;
    type Output = O;
    async fn call(&self, input: I, run: &Run) -> Result<O> {
        self.0(input, run.clone()).await
    }
}

/// One of two chains, by a condition.
#[derive(Clone)]
pub struct Branch<F, A, B> {
    when: F,
    yes: A,
    no: B,
}

impl<F, A: fmt::Debug, B: fmt::Debug> fmt::Debug for Branch<F, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch").field("yes", &self.yes).field("no", &self.no).finish_non_exhaustive()
    }
}

impl<F, A, B> Branch<F, A, B> {
    pub(crate) fn new(when: F, yes: A, no: B) -> Self {
        Self { when, yes, no }
    }
}

#[async_trait]
impl<F, A, B> Chain for Branch<F, A, B>
where
    A: Chain,
    B: Chain<Input = A::Input, Output = A::Output>,
    F: Fn(&A::Input) -> bool + Send + Sync,
{
    type Input = A::Input;
    type Output = A::Output;
    async fn call(&self, input: A::Input, run: &Run) -> Result<A::Output> {
        if (self.when)(&input) { self.yes.call(input, run).await } else { self.no.call(input, run).await }
    }
}

/// Several chains over clones of one input, at once. The first error ends the others.
#[derive(Clone, Debug)]
pub struct Parallel<P>(P);

impl<P> Parallel<P> {
    /// Chains as a tuple of 2 to 6.
    pub fn new(chains: P) -> Self {
        Self(chains)
    }
}

macro_rules! parallel {
    ($first:ident $($more:ident)+) => {
        #[async_trait]
        #[allow(non_snake_case, reason = "the type parameters name the tuple's fields")]
        impl<$first, $($more),+> Chain for Parallel<($first, $($more),+)>
        where
            $first: Chain,
            $first::Input: Clone,
            $($more: Chain<Input = $first::Input>),+
        {
            type Input = $first::Input;
            type Output = ($first::Output, $($more::Output),+);
            async fn call(&self, input: Self::Input, run: &Run) -> Result<Self::Output> {
                let ($first, $($more),+) = &self.0;
                $(let $more = $more.call(input.clone(), run);)+
                futures_util::try_join!($first.call(input, run), $($more),+)
            }
        }
    };
}
parallel!(A B);
parallel!(A B C);
parallel!(A B C D);
parallel!(A B C D E);
parallel!(A B C D E F);
parallel!(A B C D E F G);
parallel!(A B C D E F G H);

/// A chain over a list of inputs.
#[derive(Clone, Debug)]
pub struct Batch<C> {
    chain: C,
    concurrency: usize,
}

impl<C> Batch<C> {
    pub(crate) fn new(chain: C, concurrency: usize) -> Self {
        Self { chain, concurrency: concurrency.max(1) }
    }
}

#[async_trait]
impl<C: Chain> Chain for Batch<C> {
    type Input = Vec<C::Input>;
    type Output = Vec<Result<C::Output>>;
    async fn call(&self, inputs: Self::Input, run: &Run) -> Result<Self::Output> {
        let calls = inputs
            .into_iter()
            .map(|input| -> BoxFuture<'_, Result<C::Output>> { self.chain.call(input, run) });
        Ok(stream::iter(calls.collect::<Vec<_>>()).buffered(self.concurrency).collect().await)
    }
}

/// A chain with labels of its own.
#[derive(Clone, Debug)]
pub struct Labelled<C> {
    chain: C,
    labels: Labels,
}

impl<C> Labelled<C> {
    pub(crate) fn new(chain: C, labels: Labels) -> Self {
        Self { chain, labels }
    }
}

#[async_trait]
impl<C: Chain> Chain for Labelled<C> {
    type Input = C::Input;
    type Output = C::Output;
    async fn call(&self, input: C::Input, run: &Run) -> Result<C::Output> {
        let labels = run.context().labels.clone().merged_over(&self.labels);
        let run = run.clone().with_labels(labels);
        self.chain.call(input, &run).await
    }
}
