//! What kind of file it is.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A format that [`parse`](crate::parse) understands.
///
/// ```
/// use katena_loaders::Format;
/// assert_eq!(Format::from_path("docs/guide.MD".as_ref()), Some(Format::Markdown));
/// assert_eq!(Format::from_path("photo.jpeg".as_ref()), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// Plain text, its encoding detected.
    Text,
    /// Markdown, kept as it is; the first heading is the title.
    Markdown,
    /// HTML: the readable text, without scripts, navigation and what is hidden.
    Html,
    /// Comma-separated values; the delimiter (comma, semicolon, tab or bar) is found in the header row.
    Csv,
    /// Values separated by this ASCII character.
    Delimited(u8),
    /// PDF: the text of each page.
    Pdf,
}

impl Format {
    /// The format that a file's extension tells, if it is a known one.
    pub fn from_path(path: &Path) -> Option<Self> {
        Self::from_extension(path.extension()?.to_str()?)
    }

    /// The format of an extension without its dot, in any case.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "txt" | "text" | "rst" | "adoc" | "org" | "log" => Self::Text,
            "md" | "markdown" | "mdown" | "mkd" => Self::Markdown,
            "html" | "htm" | "xhtml" => Self::Html,
            "csv" => Self::Csv,
            "tsv" => Self::Delimited(b'\t'),
            "pdf" => Self::Pdf,
            _ => return None,
        })
    }

    /// Its MIME type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Csv => "text/csv",
            Self::Delimited(b'\t') => "text/tab-separated-values",
            Self::Delimited(_) => "text/csv",
            Self::Pdf => "application/pdf",
        }
    }
}
