//! Long texts in pieces: cut, asked about at once, put together in order.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use katena_core::{Error, Result, Run, Span, TextSplitter};

use crate::combine::{OnFailure, bounded, is_about_one};

/// Most model calls at once, unless told otherwise.
const CONCURRENCY: usize = 4;

/// A piece of a text that was skipped because its call failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailedPiece {
    /// Its place among the pieces, from 1.
    pub number: usize,
    /// Where it stands in the text, in bytes.
    pub span: Span,
    /// Why.
    pub error: Error,
}

/// How long texts are cut and asked about.
#[derive(Clone)]
pub(crate) struct Pieces {
    pub(crate) splitter: Option<Arc<dyn TextSplitter>>,
    pub(crate) concurrency: usize,
    pub(crate) on_failure: OnFailure,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { splitter: None, concurrency: CONCURRENCY, on_failure: OnFailure::Fail }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces")
            .field("splitter", &self.splitter.as_ref().map(|s| s.fingerprint()))
            .field("concurrency", &self.concurrency)
            .field("on_failure", &self.on_failure)
            .finish()
    }
}

/// One piece.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'t> {
    pub(crate) number: usize,
    pub(crate) span: Span,
    pub(crate) text: &'t str,
}

impl Piece<'_> {
    pub(crate) fn blame(&self, error: Error) -> Error {
        let Span { start, end } = self.span;
        error.with_context("piece", format!("{} (bytes {start}..{end})", self.number))
    }
}

/// What came of the pieces, in order.
pub(crate) struct Done<T> {
    pub(crate) done: Vec<(Span, T)>,
    pub(crate) failed: Vec<FailedPiece>,
}

impl Pieces {
    /// The pieces of a text; without a splitter it is one.
    pub(crate) fn cut<'t>(&self, text: &'t str) -> Result<Vec<Piece<'t>>> {
        let Some(splitter) = &self.splitter else {
            let span = Span { start: 0, end: text.len() };
            return Ok(vec![Piece { number: 1, span, text }]);
        };
        let chunks = splitter.split(text)?.into_iter().enumerate();
        Ok(chunks.map(|(n, c)| Piece { number: n + 1, span: c.span(), text: c.text }).collect())
    }

    /// Does `work` for each piece, each in a step of its own.
    pub(crate) async fn map<'a, T: Send + 'a>(
        &'a self,
        pieces: &'a [Piece<'a>],
        run: &'a Run,
        work: impl Fn(&'a Piece<'a>, Run) -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<Done<T>> {
        let work = &work;
        let calls = pieces.iter().map(|piece| -> BoxFuture<'_, Result<Result<T, FailedPiece>>> {
            Box::pin(async move {
                let name = format!("piece {}", piece.number);
                match run.step(&name, |step| work(piece, step)).await {
                    Ok(value) => Ok(Ok(value)),
                    Err(error) if self.on_failure == OnFailure::Skip && is_about_one(&error, run) => {
                        Ok(Err(FailedPiece { number: piece.number, span: piece.span, error }))
                    }
                    Err(error) => Err(piece.blame(error)),
                }
            })
        });
        let mut all = Done { done: Vec::new(), failed: Vec::new() };
        for (piece, result) in pieces.iter().zip(bounded(calls.collect(), self.concurrency).await?) {
            match result {
                Ok(value) => all.done.push((piece.span, value)),
                Err(failed) => all.failed.push(failed),
            }
        }
        match all.failed.first() {
            Some(first) if all.done.is_empty() => Err(first.error.clone()),
            _ => Ok(all),
        }
    }
}

/// The options of a chain that has `pieces`.
macro_rules! piece_options {
    ($(#[$splitter:meta])*) => {
        $(#[$splitter])*
        pub fn with_splitter(mut self, splitter: impl TextSplitter + 'static) -> Self {
            self.pieces.splitter = Some(Arc::new(splitter));
            self
        }

        /// Asks about at most so many pieces at once, 1 and up (default 4).
        pub fn with_concurrency(mut self, concurrency: usize) -> Self {
            self.pieces.concurrency = concurrency.max(1);
            self
        }
    };
}
pub(crate) use piece_options;
