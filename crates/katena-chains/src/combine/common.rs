//! Budget, options and outputs that the chains over documents share.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use katena_core::{Document, Error, ErrorKind, FinishReason, Result, Run, Source, Tokenizer};

use super::quote::{quote, trimmed};
use crate::qa::prompt::count;

/// Most tokens of documents in one prompt, unless told otherwise.
pub(super) const TOKENS: usize = 3_000;
/// Most model calls at once, unless told otherwise.
pub(super) const CONCURRENCY: usize = 4;

/// What happens to documents that don't fit into the token budget of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// An error of kind `ContextTooLong`.
    #[default]
    Fail,
    /// What is too much is left out, and the output names the documents that were not read whole.
    Trim,
}

/// What happens when the call over one of the documents fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The chain fails with that error; its context names the document.
    #[default]
    Fail,
    /// The document is skipped and reported in the output. If all fail, the chain does. Cancelling, the deadline and a spent
    /// budget end the chain in any case.
    Skip,
}

/// A document that was skipped.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailedDocument {
    /// Its place in the input, from 1.
    pub number: usize,
    /// Where it comes from.
    pub source: Source,
    /// Why.
    pub error: Error,
}

/// What came of the documents. `Display` prints the text.
#[derive(Clone)]
#[non_exhaustive]
pub struct Combined {
    /// The answer or summary.
    pub text: String,
    /// Why the model stopped; [`FinishReason::Length`] means that the text is cut off.
    pub finish: FinishReason,
    /// Numbers (from 1) of the documents of which the model saw only a beginning, or nothing.
    pub trimmed: Vec<usize>,
    /// Numbers of the documents whose intermediate answer hit the request's token limit; it was used as far as it went.
    pub cut_off: Vec<usize>,
    /// Documents that were skipped because their call failed.
    pub failed: Vec<FailedDocument>,
}

impl fmt::Debug for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combined")
            .field("bytes", &self.text.len())
            .field("finish", &self.finish)
            .field("trimmed", &self.trimmed)
            .field("cut_off", &self.cut_off)
            .field("failed", &self.failed)
            .finish()
    }
}

impl fmt::Display for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Combined {
    /// A text from documents that were all read whole.
    pub fn new(text: impl Into<String>, finish: FinishReason) -> Self {
        Self { text: text.into(), finish, trimmed: Vec::new(), cut_off: Vec::new(), failed: Vec::new() }
    }
}

/// How much of the documents goes into one prompt.
#[derive(Clone)]
pub(super) struct Budget {
    pub(super) tokens: usize,
    pub(super) tokenizer: Option<Arc<dyn Tokenizer>>,
    pub(super) overflow: Overflow,
}

impl Default for Budget {
    fn default() -> Self {
        Self { tokens: TOKENS, tokenizer: None, overflow: Overflow::Fail }
    }
}

impl Budget {
    pub(super) fn count(&self, text: &str) -> usize {
        count(text, self.tokenizer.as_ref())
    }

    /// The document's quote within `room` tokens, and whether it is whole. `None`: nothing of it fits.
    pub(super) fn fit(&self, numbered: &Numbered, room: usize) -> Result<Option<(String, bool)>> {
        let whole = quote(numbered.number, &numbered.document.text);
        let tokens = self.count(&whole);
        match self.overflow {
            _ if tokens <= room => Ok(Some((whole, true))),
            Overflow::Fail => Err(numbered.blame(too_long(tokens, room))),
            Overflow::Trim => {
                let count = |text: &str| self.count(text);
                let cut = trimmed(numbered.number, &numbered.document.text, room, &count);
                Ok(cut.map(|text| (text, false)))
            }
        }
    }
}

pub(super) fn too_long(tokens: usize, room: usize) -> Error {
    Error::new(
        ErrorKind::ContextTooLong,
        format!(
            "{tokens} tokens of documents do not fit into a prompt of {room}; split them, or raise the budget"
        ),
    )
}

/// A document and its place in the input, from 1.
pub(super) struct Numbered {
    pub(super) number: usize,
    pub(super) document: Document,
}

impl Numbered {
    pub(super) fn blame(&self, error: Error) -> Error {
        error.with_context("document", format!("{}: {}", self.number, self.document.source))
    }
}

/// The documents that hold text, with their numbers.
pub(super) fn numbered(documents: Vec<Document>) -> Result<Vec<Numbered>> {
    if documents.is_empty() {
        return Err(Error::invalid_input("there are no documents"));
    }
    let all = documents.into_iter().enumerate().map(|(n, document)| Numbered { number: n + 1, document });
    let full: Vec<Numbered> = all.filter(|d| !d.document.text.trim().is_empty()).collect();
    if full.is_empty() {
        return Err(Error::invalid_input("the documents hold no text"));
    }
    Ok(full)
}

/// Runs the work, at most `concurrency` at once, and gives the results in order. The first error ends the rest. Each piece of
/// work is one future, so nothing is awaited beside the buffer.
pub(crate) async fn bounded<T: Send>(
    work: Vec<BoxFuture<'_, Result<T>>>,
    concurrency: usize,
) -> Result<Vec<T>> {
    let work = work.into_iter().enumerate().map(|(n, work)| -> BoxFuture<'_, Result<(usize, T)>> {
        Box::pin(async move { Ok((n, work.await?)) })
    });
    let work: Vec<_> = work.collect();
    let mut done: Vec<(usize, T)> =
        stream::iter(work).buffer_unordered(concurrency.max(1)).try_collect().await?;
    done.sort_by_key(|(n, _)| *n);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// What came of the documents one by one.
pub(super) struct Mapped<T> {
    pub(super) done: Vec<T>,
    pub(super) failed: Vec<FailedDocument>,
}

/// Does `work` for each document.
pub(super) async fn map<'a, T: Send + 'a>(
    documents: &'a [Numbered],
    work: impl Fn(usize, &'a Numbered) -> BoxFuture<'a, Result<T>>,
    concurrency: usize,
    on_failure: OnFailure,
    run: &'a Run,
) -> Result<Mapped<T>> {
    let calls = documents.iter().enumerate().map(
        |(n, document)| -> BoxFuture<'a, Result<Result<T, FailedDocument>>> {
            let call = work(n, document);
            Box::pin(async move {
                match call.await {
                    Ok(value) => Ok(Ok(value)),
                    Err(error) if on_failure == OnFailure::Skip && is_about_one(&error, run) => {
                        Ok(Err(FailedDocument {
                            number: document.number,
                            source: document.document.source.clone(),
                            error,
                        }))
                    }
                    Err(error) => Err(document.blame(error)),
                }
            })
        },
    );
    let mut mapped = Mapped { done: Vec::new(), failed: Vec::new() };
    for result in bounded(calls.collect(), concurrency).await? {
        match result {
            Ok(value) => mapped.done.push(value),
            Err(failed) => mapped.failed.push(failed),
        }
    }
    match mapped.failed.first() {
        Some(first) if mapped.done.is_empty() => Err(first.error.clone()),
        _ => Ok(mapped),
    }
}

/// False for errors that would come for every document.
pub(crate) fn is_about_one(error: &Error, run: &Run) -> bool {
    !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Budget | ErrorKind::Config)
        && run.context().check().is_ok()
}

/// The options that all chains over documents have. `parts` has a `budget` and the named `Ask`s.
macro_rules! options {
    ($chain:ident, [$($ask:ident),+]) => {
        impl<I> $chain<I> {
            /// Asks with the options of this request (temperature, most tokens, …); its messages are put before the prompts'.
            pub fn with_request(mut self, request: ChatRequest) -> Self {
                $(self.parts.$ask.request = Some(request.clone());)+
                self
            }

            /// Puts at most so many tokens of documents into one prompt (default 3,000). The prompt's own words are not counted.
            pub fn with_tokens(mut self, tokens: usize) -> Self {
                self.parts.budget.tokens = tokens;
                self
            }

            /// Counts by this tokenizer; without one, four ASCII characters or one other character count as a token.
            pub fn with_tokenizer(mut self, tokenizer: Arc<dyn Tokenizer>) -> Self {
                self.parts.budget.tokenizer = Some(tokenizer);
                self
            }

            /// Says what happens to documents that don't fit (default: an error).
            pub fn with_overflow(mut self, overflow: Overflow) -> Self {
                self.parts.budget.overflow = overflow;
                self
            }
        }

        impl<I> fmt::Debug for $chain<I> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let model = [$(&self.parts.$ask),+][0].model.info();
                f.debug_struct(stringify!($chain))
                    .field("model", &model.model)
                    .field("tokens", &self.parts.budget.tokens)
                    .field("overflow", &self.parts.budget.overflow)
                    .finish_non_exhaustive()
            }
        }

        impl<I> Clone for $chain<I> {
            fn clone(&self) -> Self {
                Self { parts: self.parts.clone(), input: PhantomData }
            }
        }
    };
}
pub(super) use options;
