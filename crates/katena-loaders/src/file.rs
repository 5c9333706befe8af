//! Loaders of one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use katena_core::{Document, DocumentLoader, DocumentStream, Result, Source};

use crate::format::Format;
use crate::limits::Limits;
use crate::parser::{InProcessParser, ParseJob, Parser};

/// The documents of one job, or its one error.
pub(crate) fn stream_of(parser: Arc<dyn Parser>, job: ParseJob) -> DocumentStream {
    let parsed = async move { stream::iter(items(parser.parse(job).await)) };
    stream::once(parsed).flatten().boxed()
}

pub(crate) fn items(result: Result<Vec<Document>>) -> Vec<Result<Document>> {
    match result {
        Ok(documents) => documents.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }
}

/// A path as an address: with `/`, and U+FFFD for what is no Unicode.
pub(crate) fn uri_of(path: &Path) -> String {
    let uri = path.to_string_lossy();
    if std::path::MAIN_SEPARATOR == '/' {
        uri.into_owned()
    } else {
        uri.replace(std::path::MAIN_SEPARATOR, "/")
    }
}

macro_rules! loader {
    ($(#[$doc:meta])* $name:ident, $format:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            path: PathBuf,
            uri: Option<String>,
            format: Format,
            limits: Limits,
            parser: Arc<dyn Parser>,
        }

        impl $name {
            /// Loads the file at `path`, whatever its extension; the path is the documents' `uri`.
            pub fn new(path: impl Into<PathBuf>) -> Self {
                Self {
                    path: path.into(),
                    uri: None,
                    format: $format,
                    limits: Limits::default(),
                    parser: Arc::new(InProcessParser::new()),
                }
            }

            /// Gives the documents another address than the path.
            pub fn with_uri(mut self, uri: impl Into<String>) -> Self {
                self.uri = Some(uri.into());
                self
            }

            /// Sets what the file may ask for.
            pub fn with_limits(mut self, limits: Limits) -> Self {
                self.limits = limits;
                self
            }

            /// Sets who parses; [`InProcessParser`] by default.
            pub fn with_parser(mut self, parser: impl Parser + 'static) -> Self {
                self.parser = Arc::new(parser);
                self
            }
        }

        impl DocumentLoader for $name {
            fn load(&self) -> DocumentStream {
                let uri = self.uri.clone().unwrap_or_else(|| uri_of(&self.path));
                let job = ParseJob::new(&self.path, self.format, Source::new(uri)).with_limits(self.limits.clone());
                stream_of(Arc::clone(&self.parser), job)
            }
        }
    };
}

loader! {
    /// Loads a text file as one document. UTF-8, UTF-16 and windows-1252 are told apart.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::StreamExt;
    /// use katena_core::DocumentLoader;
    /// use katena_loaders::TextLoader;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("note.txt");
    /// std::fs::write(&path, "hello").unwrap();
    /// let document = TextLoader::new(&path).load().next().await.unwrap()?;
    /// assert_eq!(document.text, "hello");
    /// # Ok::<(), katena_core::Error>(()) }).unwrap();
    /// ```
    TextLoader, Format::Text
}

loader! {
    /// Loads a Markdown file as one document: its own text, titled by the front matter or first heading. See
    /// [`TextLoader`] for an example.
    MarkdownLoader, Format::Markdown
}

#[cfg(feature = "html")]
loader! {
    /// Loads an HTML file as one document: what a reader sees of it, without scripts, navigation, page header and footer,
    /// and hidden text. Its anchors lead a passage back to the file's lines. Nothing that the page names is fetched. See
    /// [`TextLoader`] for an example.
    HtmlLoader, Format::Html
}

#[cfg(feature = "csv")]
loader! {
    /// Loads a table with a header row, one document per row: a line `header: value` for each value, the row's number in the
    /// metadata under `row`, its lines in the source. See [`TextLoader`] for an example.
    CsvLoader, Format::Csv
}

#[cfg(feature = "csv")]
impl CsvLoader {
    /// Sets the ASCII character between values; by default it is found in the header row.
    pub fn with_delimiter(mut self, delimiter: u8) -> Self {
        self.format = Format::Delimited(delimiter);
        self
    }
}

#[cfg(any(feature = "pdf", feature = "pdf-extract"))]
loader! {
    /// Loads a PDF, one document per page that has text. For files that you don't trust give it a
    /// [`ProcessParser`](crate::ProcessParser). See [`TextLoader`] for an example.
    PdfLoader, Format::Pdf
}
