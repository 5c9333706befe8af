//! Documents, where they come from, and where in them a passage stands.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Facts about a document that filters can ask for.
pub type Metadata = Map<String, Value>;

/// A byte range in a document's text, `start..end`, on character borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// Lines of the original file, 1-based, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lines {
    /// First line.
    pub first: u32,
    /// Last line.
    pub last: u32,
}

/// Where a document or passage comes from.
///
/// ```
/// use katena_core::Source;
/// let source = Source::new("docs/guide.pdf").with_page(3);
/// assert_eq!(source.to_string(), "docs/guide.pdf, page 3");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Source {
    /// Address: a path, a URL, or any stable name.
    pub uri: String,
    /// Title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// MIME type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Lines of the original file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
    /// Byte range in the text of the document that the loader gave (of that page, of that row).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Source {
    /// A source of which only the address is known.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), ..Self::default() }
    }
    /// Sets the title.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }
    /// Sets the MIME type.
    pub fn with_mime(mut self, mime: impl Into<String>) -> Self {
        self.mime = Some(mime.into());
        self
    }
    /// Sets the page, from 1.
    pub fn with_page(mut self, page: u32) -> Self {
        self.page = Some(page);
        self
    }
    /// Sets the lines, from 1, both ends included.
    pub fn with_lines(mut self, first: u32, last: u32) -> Self {
        self.lines = Some(Lines { first, last });
        self
    }
    /// Sets the byte range.
    pub fn with_span(mut self, span: impl Into<Span>) -> Self {
        self.span = Some(span.into());
        self
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)?;
        if let Some(page) = self.page {
            write!(f, ", page {page}")?;
        }
        match self.lines {
            Some(Lines { first, last }) if first == last => write!(f, ", line {first}"),
            Some(Lines { first, last }) => write!(f, ", lines {first}-{last}"),
            None => Ok(()),
        }
    }
}

/// At `offset` bytes into a document's text begins what stood on `line` of the original file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineAnchor {
    /// Byte offset in the text.
    pub offset: usize,
    /// Line of the original file, from 1.
    pub line: u32,
}

/// A text with its origin: what a loader yields (a file, a page, a row) or a passage of it (a chunk).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Document {
    /// Stable id; empty until somebody (usually the ingestion) gives one.
    #[serde(default)]
    pub id: String,
    /// The text.
    pub text: String,
    /// Facts that filters can ask for.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
    /// Where it comes from.
    pub source: Source,
    /// For texts that are not the file's own text (HTML): where the original lines begin, by rising offset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<LineAnchor>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("id", &self.id)
            .field("bytes", &self.text.len())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Document {
    /// The source, then the text in quotes on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: \"", self.source)?;
        for (n, word) in self.text.split_whitespace().enumerate() {
            write!(f, "{}{word}", if n == 0 { "" } else { " " })?;
        }
        f.write_str("\"")
    }
}

impl Document {
    /// A document without metadata.
    pub fn new(text: impl Into<String>, source: Source) -> Self {
        Self { text: text.into(), source, ..Self::default() }
    }
    /// Sets the id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }
    /// Adds a fact.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
    /// Sets where the original lines begin.
    pub fn with_anchors(mut self, anchors: Vec<LineAnchor>) -> Self {
        self.anchors = anchors;
        self
    }

    /// Tells the source of passages of this document; make it once per document.
    pub fn locator(&self) -> Locator<'_> {
        let inherits = self.source.lines.is_some() || self.source.page.is_some();
        let starts = if inherits || !self.anchors.is_empty() {
            Vec::new()
        } else {
            self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1).collect()
        };
        Locator { document: self, starts, inherits }
    }
}

/// Finds page, lines and span of a passage. Lines are counted from newlines in the text, taken from the document's
/// anchors where it has some, or inherited where the document itself is a page or a row.
#[derive(Debug)]
pub struct Locator<'d> {
    document: &'d Document,
    starts: Vec<usize>,
    inherits: bool,
}

impl Locator<'_> {
    /// The source of `span`.
    ///
    /// ```
    /// use katena_core::{Document, Source};
    /// let document = Document::new("one\ntwo\nthree", Source::new("a.txt"));
    /// assert_eq!(document.locator().source((4..13).into()).to_string(), "a.txt, lines 2-3");
    /// ```
    pub fn source(&self, span: Span) -> Source {
        let mut source = self.document.source.clone().with_span(span);
        if !self.inherits {
            let last = span.end.saturating_sub(1).max(span.start);
            source = source.with_lines(self.line(span.start), self.line(last));
        }
        source
    }

    fn line(&self, offset: usize) -> u32 {
        let anchors = &self.document.anchors;
        if anchors.is_empty() {
            return self.starts.partition_point(|s| *s <= offset) as u32 + 1;
        }
        let at = anchors.partition_point(|a| a.offset <= offset);
        anchors[at.saturating_sub(1)].line
    }
}

/// Something with its score; higher is better, the range is stated by whoever scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored<T> {
    /// The thing.
    pub item: T,
    /// Its score.
    pub score: f32,
}

impl<T> Scored<T> {
    /// A thing and its score.
    pub fn new(item: T, score: f32) -> Self {
        Self { item, score }
    }
}
