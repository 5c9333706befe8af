//! Chains: typed steps with one method to implement, all of which can stream.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _};

use crate::chat::ChatModel;
use crate::clock::Clock;
use crate::compose::{
    AndThen, Backoff, Batch, Branch, Chat, IntoRequest, Json, Labelled, Map, OrElse, Parallel, Reply,
    Retried, Then, TimedOut,
};
use crate::context::{Cancel, Labels};
use crate::error::{Error, Result};
use crate::report::Reported;
use crate::run::{Queue, Run, RunEvent};

/// A step from a typed input to a typed output.
///
/// Events go to `run`; the output comes last and is the truth. A chain asks models only through [`Run::chat`] or
/// [`Run::chat_stream`], so that labels, deadline and cancel signal reach them.
///
/// # Two deadlocks to avoid
/// No task is spawned: a chain moves only while its stream is polled.
/// 1. A consumer that awaits *the chain's own rate- or concurrency-limited model* between two events waits for a permit
///    that the unpolled chain holds. Take [`ChainExt::into_stream`] into a task of your own instead.
/// 2. A chain must not await in the body of a loop over a buffered stream (`buffered(n)`): the buffered calls are not
///    polled meanwhile and may hold the very permit. Put the work into the mapped future, or collect first.
///
/// Both are shown in this crate's `tests/deadlocks.rs`.
///
/// # Contract
/// - Dropping the future or stream stops the work.
/// - Errors of a step end the chain and come out as they are.
#[async_trait]
pub trait Chain: fmt::Debug + Send + Sync {
    /// What goes in.
    type Input: Send + 'static;
    /// What comes out.
    type Output: Send + 'static;

    /// Does the work.
    async fn call(&self, input: Self::Input, run: &Run) -> Result<Self::Output>;
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<C: Chain + ?Sized> Chain for $ptr {
            type Input = C::Input;
            type Output = C::Output;
            async fn call(&self, input: Self::Input, run: &Run) -> Result<Self::Output> {
                (**self).call(input, run).await
            }
        }
    )*};
}
forward!(Arc<C>, Box<C>);

/// A chain whose type is not spelled out.
pub type BoxChain<I, O> = Arc<dyn Chain<Input = I, Output = O>>;

/// Running and composing: what every [`Chain`] can do.
pub trait ChainExt: Chain {
    /// Runs the chain without listening.
    fn run<I: Into<Self::Input>>(&self, input: I) -> BoxFuture<'_, Result<Self::Output>> {
        self.run_with(input, Run::new())
    }

    /// Runs the chain in a given run: labels, deadline, cancel signal.
    fn run_with<I: Into<Self::Input>>(&self, input: I, run: Run) -> BoxFuture<'_, Result<Self::Output>> {
        let input = input.into();
        Box::pin(async move {
            run.context().check()?;
            run.guard(self.call(input, &run)).await
        })
    }

    /// Runs the chain and yields its events, then the output. Nothing moves unless the stream is polled.
    fn stream<I: Into<Self::Input>>(&self, input: I) -> RunStream<'_, Self::Output> {
        self.stream_with(input, Run::new())
    }

    /// Like [`stream`](ChainExt::stream), in a given run.
    fn stream_with<I: Into<Self::Input>>(&self, input: I, run: Run) -> RunStream<'_, Self::Output> {
        let input = input.into();
        RunStream::new(run, |run| Box::pin(self.run_with(input, run)))
    }

    /// A stream that owns its chain, for tasks and response bodies. Clone an `Arc`ed chain first to keep it.
    fn into_stream<I: Into<Self::Input>>(self, input: I, run: Run) -> RunStream<'static, Self::Output>
    where
        Self: Sized + 'static,
    {
        let input = input.into();
        RunStream::new(run, |run| Box::pin(async move { self.run_with(input, run).await }))
    }

    /// Feeds the output into another chain.
    fn then<C: Chain<Input = Self::Output>>(self, next: C) -> Then<Self, C>
    where
        Self: Sized,
    {
        Then::new(self, next)
    }

    /// Changes the output by a function.
    fn map<O: Send + 'static, F: Fn(Self::Output) -> O + Send + Sync>(self, f: F) -> Map<Self, F>
    where
        Self: Sized,
    {
        Map::new(self, f)
    }

    /// Changes the output by an async function that may fail; it gets the run by value (cheap).
    fn and_then<O, Fut, F>(self, f: F) -> AndThen<Self, F>
    where
        Self: Sized,
        O: Send + 'static,
        Fut: Future<Output = Result<O>> + Send,
        F: Fn(Self::Output, Run) -> Fut + Send + Sync,
    {
        AndThen::new(self, f)
    }

    /// Feeds clones of the output into several chains at once; their outputs come as a tuple.
    fn parallel<P>(self, chains: P) -> Then<Self, Parallel<P>>
    where
        Self: Sized,
        Parallel<P>: Chain<Input = Self::Output>,
    {
        Then::new(self, Parallel::new(chains))
    }

    /// Goes on with one of two chains.
    fn branch<F, A, B>(self, when: F, yes: A, no: B) -> Then<Self, Branch<F, A, B>>
    where
        Self: Sized,
        F: Fn(&Self::Output) -> bool + Send + Sync,
        A: Chain<Input = Self::Output>,
        B: Chain<Input = Self::Output, Output = A::Output>,
    {
        Then::new(self, Branch::new(when, yes, no))
    }

    /// Asks a model with the output.
    fn chat(self, model: impl ChatModel + 'static) -> Chat<Self>
    where
        Self: Sized,
        Self::Output: IntoRequest,
    {
        Chat::new(self, Arc::new(model))
    }

    /// Parses a model's reply as `T`. Directly after [`chat`](ChainExt::chat), `Chat::json` is taken instead, which also
    /// puts `T`'s schema into the request.
    fn json<T>(self) -> Json<Self, T>
    where
        Self: Sized,
        Self::Output: Reply,
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        Json::new(self)
    }

    /// The text of a model's reply.
    fn text(self) -> Map<Self, fn(Self::Output) -> String>
    where
        Self: Sized,
        Self::Output: Reply,
    {
        Map::new(self, Self::Output::into_text)
    }

    /// Runs a list of inputs, at most `concurrency` at once; outputs keep the order and fail one by one.
    fn batch(self, concurrency: usize) -> Batch<Self>
    where
        Self: Sized,
    {
        Batch::new(self, concurrency)
    }

    /// On an error, gives a clone of the input to another chain. Cancelling and the deadline end both. What the first had
    /// told the listener by then stays told, so a `fallback` event goes before the second one's.
    fn fallback<C>(self, other: C) -> OrElse<Self, C>
    where
        Self: Sized,
        Self::Input: Clone,
        C: Chain<Input = Self::Input, Output = Self::Output>,
    {
        OrElse::new(self, other)
    }

    /// Tries again after temporary errors; a `retry` event goes before each new attempt.
    fn retry(self, backoff: Backoff) -> Retried<Self>
    where
        Self: Sized,
        Self::Input: Clone,
    {
        Retried::new(self, backoff)
    }

    /// Ends the chain with an error of kind `Timeout` after this time by the clock; models and tools inside see it as
    /// their deadline.
    fn timeout(self, limit: Duration, clock: Arc<dyn Clock>) -> TimedOut<Self>
    where
        Self: Sized,
    {
        TimedOut::new(self, limit, clock)
    }

    /// Gives the output together with its token counts and all intermediate steps.
    ///
    /// ```
    /// # futures_util::FutureExt::now_or_never(async {
    /// use katena_core::{ChainExt, fake::ScriptedChat, func};
    /// let chain = func(async |q: String, _run| Ok(q)).chat(ScriptedChat::texts(["one two"])).text().reported();
    /// let report = chain.run("Count!").await?;
    /// assert_eq!((report.output.as_str(), report.usage.output_tokens), ("one two", Some(2)));
    /// assert_eq!(report.notes("reply").next().unwrap(), "one two");
    /// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
    /// ```
    fn reported(self) -> Reported<Self>
    where
        Self: Sized,
    {
        Reported::new(self)
    }

    /// Adds labels to everything that the chain asks; labels that the caller set win.
    fn with_labels(self, labels: Labels) -> Labelled<Self>
    where
        Self: Sized,
    {
        Labelled::new(self, labels)
    }

    /// Forgets the type.
    fn boxed(self) -> BoxChain<Self::Input, Self::Output>
    where
        Self: Sized + 'static,
    {
        Arc::new(self)
    }
}

impl<C: Chain + ?Sized> ChainExt for C {}

/// One item of a [`RunStream`].
#[derive(Debug, Clone, PartialEq)]
pub enum Streamed<O> {
    /// Something happened.
    Event(RunEvent),
    /// The chain is done; the last item.
    Output(O),
}

/// Events of a chain, then its output or error. Dropping it stops the chain and cancels its components, not the caller's own signal.
pub struct RunStream<'a, O> {
    work: Option<BoxFuture<'a, Result<O>>>,
    result: Option<Result<O>>,
    queue: Arc<Queue>,
    cancel: Cancel,
}

impl<O> fmt::Debug for RunStream<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunStream").field("running", &self.work.is_some()).finish_non_exhaustive()
    }
}

impl<'a, O> RunStream<'a, O> {
    fn new(run: Run, start: impl FnOnce(Run) -> BoxFuture<'a, Result<O>>) -> Self {
        let queue = Arc::new(Queue::default());
        let cancel = run.context().cancel.child();
        let context = run.context().clone().with_cancel(cancel.clone());
        let work = start(run.with_context(context).with_sink(queue.clone()));
        Self { work: Some(work), result: None, queue, cancel }
    }

    /// Ignores the remaining events and gives the output.
    ///
    /// # Errors
    /// The chain's own.
    pub async fn output(mut self) -> Result<O>
    where
        O: Unpin,
    {
        while let Some(item) = self.next().await {
            if let Streamed::Output(output) = item? {
                return Ok(output);
            }
        }
        Err(Error::unexpected("the stream had given its output already"))
    }
}

impl<O: Unpin> Stream for RunStream<'_, O> {
    type Item = Result<Streamed<O>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.queue.pop(cx.waker()) {
                return Poll::Ready(Some(Ok(Streamed::Event(event))));
            }
            let Some(work) = &mut this.work else {
                return Poll::Ready(this.result.take().map(|r| r.map(Streamed::Output)));
            };
            match work.as_mut().poll(cx) {
                Poll::Ready(result) => {
                    this.result = Some(result);
                    this.work = None;
                    this.queue.close();
                }
                Poll::Pending => {
                    return match this.queue.pop(cx.waker()) {
                        Some(event) => Poll::Ready(Some(Ok(Streamed::Event(event)))),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl<O> Drop for RunStream<'_, O> {
    fn drop(&mut self) {
        self.work = None;
        self.queue.close();
        self.cancel.cancel();
    }
}
