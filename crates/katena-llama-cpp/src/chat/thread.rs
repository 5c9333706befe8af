//! A chat model's thread as its callers hold it, and what every request does before it goes there.

use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::StreamExt;
use katena_core::{ChatEvent, ChatRequest, ChatResponse, Error, ErrorKind, Result};
use llama_cpp_2::model::LlamaModel;
use tokio::sync::mpsc;

use super::plan::{Calling, Plan};
use super::stream::Events;
use crate::handover::Sender;
use crate::sample::{Chooser, Grammars, Vocabulary};

pub(super) fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the model's thread has ended")
}

/// The way to a thread that takes `W`. Dropping it waits until the model is put away.
pub(super) struct ModelThread<W> {
    /// Taken when dropped.
    jobs: Option<Sender<W>>,
    thread: Option<JoinHandle<()>>,
    /// Held by each answer under way.
    answers: Arc<()>,
}

impl<W> ModelThread<W> {
    pub(super) fn new(jobs: Sender<W>, thread: JoinHandle<()>) -> Self {
        Self { jobs: Some(jobs), thread: Some(thread), answers: Arc::default() }
    }

    /// Sends work; callers have taken a place, so there is always room.
    ///
    /// # Errors
    /// `Unavailable` if the thread has ended.
    pub(super) fn send(&self, work: W) -> Result<&Sender<W>> {
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.try_send(work).map_err(|_| ended())?;
        Ok(jobs)
    }

    /// Sends a request whose events come through `receiver`.
    ///
    /// # Errors
    /// As [`ModelThread::send`].
    pub(super) fn ask(
        &self,
        work: W,
        receiver: mpsc::Receiver<Result<ChatEvent>>,
        request: &ChatRequest,
    ) -> Result<Events<W>> {
        let jobs = self.send(work)?.clone();
        Ok(Events::new(receiver, jobs, self.answers.clone(), &request.context))
    }
}

impl<W> Drop for ModelThread<W> {
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        // The model is put away when this returns, one step of the computation later at most: a program that ends now must
        // not tear C++'s statics down under a thread that still uses them. An answer that is still being read keeps the
        // thread at work, and may be read by this very thread: then nothing waits.
        if Arc::strong_count(&self.answers) == 1 && thread.thread().id() != std::thread::current().id() {
            // A panic of the thread has shown in its answers.
            drop(thread.join());
        }
    }
}

/// What chooses the answer's tokens, held to the form that the request asks for.
///
/// # Errors
/// Those of compiling the form; `Cancelled`.
pub(super) async fn chooser(
    request: &ChatRequest,
    plan: &Plan,
    model: &LlamaModel,
    grammars: &Arc<Grammars>,
    context_tokens: usize,
) -> Result<Chooser> {
    let chooser = Chooser::new(&plan.sampling, Vocabulary::Model(model), context_tokens)?;
    let Some(form) = &plan.form else { return Ok(chooser) };
    let held = request.context.cancel.guard(grammars.compile(form)).await?;
    let held = match &plan.calling {
        Calling::Forced(call) => held.after(&call.prefix),
        Calling::Off | Calling::Free => held,
    };
    Ok(chooser.with_constraint(Some(held)))
}

/// The whole answer.
///
/// # Errors
/// The stream's.
pub(super) async fn whole<W>(mut events: Events<W>) -> Result<ChatResponse> {
    while let Some(event) = events.next().await {
        if let ChatEvent::Finished(response) = event? {
            return Ok(*response);
        }
    }
    Err(ended())
}
