//! Who parses: this process or another.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use async_trait::async_trait;
use katena_core::{Document, Error, ErrorKind, Result, Source};

use crate::format::Format;
use crate::limits::Limits;

/// One file to be parsed.
///
/// ```
/// use katena_core::Source;
/// use katena_loaders::{Format, ParseJob};
/// let job = ParseJob::new("docs/a.pdf", Format::Pdf, Source::new("a.pdf"));
/// assert_eq!(job.limits.max_pages, 10_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseJob {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub format: Format,
    /// What is known of where it comes from; at least its address.
    pub source: Source,
    /// What it may ask for.
    pub limits: Limits,
}

impl ParseJob {
    /// A job with the default limits.
    pub fn new(path: impl Into<PathBuf>, format: Format, source: Source) -> Self {
        Self { path: path.into(), format, source, limits: Limits::default() }
    }

    /// Sets the limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Parses files for the loaders. [`InProcessParser`] does it here, [`ProcessParser`](crate::ProcessParser) in another
/// process that can be stopped.
///
/// A failure is an `Err` that has the source's address in its context under `uri`.
#[async_trait]
pub trait Parser: fmt::Debug + Send + Sync {
    /// All documents of one file.
    async fn parse(&self, job: ParseJob) -> Result<Vec<Document>>;
}

/// Parses on tokio's blocking threads of this process.
///
/// Bytes, pages, rows, text and nesting are bounded, and a parser's panic becomes an error. What can't be bounded in
/// process, because no thread can be stopped from outside:
/// - **Time**: after [`Limits::timeout`] the file is an error, but its thread goes on until the parser ends by itself. A file
///   that makes it run for ever keeps that thread, and its memory, until the process ends.
/// - **Memory**: a small PDF can hold streams that unpack to hundreds of megabytes; running out of memory ends the process.
/// - **Stack**: a parser's overflow ends the process. (Our HTML, CSV, Markdown and text parsers do not recurse.)
///
/// So use [`ProcessParser`](crate::ProcessParser) for PDFs that you don't trust.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcessParser;

impl InProcessParser {
    /// The parser of this process.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Parser for InProcessParser {
    /// # Errors
    /// As [`parse`](crate::parse), `NotFound` and `PermissionDenied` for the file; `Timeout` beyond the time limit; `Config`
    /// without a tokio runtime.
    async fn parse(&self, job: ParseJob) -> Result<Vec<Document>> {
        let uri = job.source.uri.clone();
        let timeout = job.limits.timeout;
        let runtime = runtime().map_err(|e| e.with_context("uri", uri.clone()))?;
        let work = runtime.spawn_blocking(move || parse_here(&job));
        let ended = async {
            match tokio::time::timeout(timeout, work).await {
                Ok(Ok(documents)) => documents,
                Ok(Err(error)) => Err(Error::unexpected("the parser's thread is gone").with_source(error)),
                Err(_) => Err(took_too_long(timeout)),
            }
        };
        named(ended.await, &uri)
    }
}

/// Reads and parses one file on this thread; a panic is an error.
pub(crate) fn parse_here(job: &ParseJob) -> Result<Vec<Document>> {
    let bytes = crate::read::read(&job.path, &job.limits)?;
    let work = AssertUnwindSafe(|| crate::parse(bytes, job.format, &job.source, &job.limits));
    catch_unwind(work)
        .unwrap_or_else(|_| Err(Error::invalid_input("the file can't be read: the parser gave up")))
}

/// The error with its document's address, once.
pub(crate) fn named<T>(result: Result<T>, uri: &str) -> Result<T> {
    result.map_err(|e| if e.context("uri").is_some() { e } else { e.with_context("uri", uri) })
}

pub(crate) fn took_too_long(limit: std::time::Duration) -> Error {
    let message = format!("reading it took longer than {} s", limit.as_secs_f32());
    // Trying the same file again would take as long.
    Error::new(ErrorKind::Timeout, message).with_temporary(false)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Handle> {
    tokio::runtime::Handle::try_current().map_err(|e| {
        Error::config("loaders need a tokio runtime: poll their stream inside one").with_source(e)
    })
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<P: Parser + ?Sized> Parser for $ptr {
            async fn parse(&self, job: ParseJob) -> Result<Vec<Document>> {
                (**self).parse(job).await
            }
        }
    )*};
}
forward!(std::sync::Arc<P>, Box<P>);
