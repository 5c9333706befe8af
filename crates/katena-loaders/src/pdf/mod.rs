//! PDF: one document per page with text.

#[cfg(feature = "pdf")]
mod boss;
#[cfg(feature = "pdf-extract")]
mod extract;
#[cfg(feature = "pdf")]
mod flow;

use katena_core::{Document, Error, Result, Source};
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::parse::check_text;

/// The library that reads PDFs. docs/adr/0003-pdf-engine.md has the figures behind the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PdfEngine {
    /// The pdfboss crates: paragraphs, lists and tables are told apart, wrapped lines joined.
    #[cfg(feature = "pdf")]
    Boss,
    /// The pdf-extract crate: lines as they stand on the page.
    #[cfg(feature = "pdf-extract")]
    Extract,
}

#[allow(clippy::derivable_impls, reason = "which variant is the default depends on the features")]
impl Default for PdfEngine {
    fn default() -> Self {
        #[cfg(feature = "pdf")]
        return Self::Boss;
        #[cfg(not(feature = "pdf"))]
        return Self::Extract;
    }
}

/// What an engine finds in a file.
struct Pages {
    title: Option<String>,
    /// The text of each page, in order.
    pages: Vec<String>,
    /// What could not be read, for people.
    skipped: Vec<String>,
}

/// Parses a PDF with the engine named; [`parse`](crate::parse) uses the default one.
///
/// ```
/// use katena_core::Source;
/// use katena_loaders::{Limits, PdfEngine, parse_pdf};
/// let error = parse_pdf(b"no PDF".to_vec(), &Source::new("a.pdf"), &Limits::default(), PdfEngine::default());
/// assert!(error.is_err());
/// ```
///
/// # Errors
/// As [`parse`](crate::parse).
pub fn parse_pdf(
    bytes: Vec<u8>,
    source: &Source,
    limits: &Limits,
    engine: PdfEngine,
) -> Result<Vec<Document>> {
    let mut source = source.clone();
    source.mime.get_or_insert_with(|| crate::Format::Pdf.mime().to_owned());
    parse(bytes, &source, limits, engine)
}

pub(crate) fn parse(
    bytes: Vec<u8>,
    source: &Source,
    limits: &Limits,
    engine: PdfEngine,
) -> Result<Vec<Document>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid_input("the PDF is empty"));
    }
    if memchr::memmem::find(&bytes[..bytes.len().min(64 << 10)], b"%PDF-").is_none() {
        return Err(Error::invalid_input("this is no PDF: it has no %PDF mark"));
    }
    if is_cut_off(&bytes) {
        return Err(Error::invalid_input("the PDF is cut off: its last object has no end"));
    }
    let found = match engine {
        #[cfg(feature = "pdf")]
        PdfEngine::Boss => boss::read(bytes, limits)?,
        #[cfg(feature = "pdf-extract")]
        PdfEngine::Extract => extract::read(&bytes, limits)?,
    };
    let mut source = source.clone();
    if source.title.is_none() {
        source.title = found.title.filter(|t| !t.trim().is_empty());
    }
    let pages = found.pages.len();
    let mut documents = Vec::new();
    for (n, text) in found.pages.into_iter().enumerate() {
        if !text.trim().is_empty() {
            documents.push(Document::new(text, source.clone().with_page(n as u32 + 1)));
        }
    }
    match (documents.is_empty(), found.skipped.first()) {
        (false, None) => {}
        // A page that lost a form or a stream is still worth its text; the fact goes with it.
        (false, Some(_)) => {
            let skipped = found.skipped.join("; ");
            for document in &mut documents {
                document.metadata.insert("incomplete".to_owned(), skipped.clone().into());
            }
        }
        (true, Some(first)) => return Err(Error::invalid_input(format!("no text could be read: {first}"))),
        (true, None) => {
            return Err(Error::invalid_input(format!(
                "there is no text on its {pages} page(s); a scan needs text recognition first"
            )));
        }
    }
    Ok(documents)
}

/// The last object begins and does not end, and nothing ends the file. Engines would give the pages that are left, as if there
/// had been no others.
fn is_cut_off(bytes: &[u8]) -> bool {
    let tail = &bytes[memchr::memmem::rfind(bytes, b"endobj").unwrap_or(0)..];
    let begins = memchr::memmem::find_iter(tail, b" obj").any(|at| {
        let number = tail[..at].iter().rev().take_while(|b| b.is_ascii_digit()).count();
        number > 0 && tail[..at - number].ends_with(b" ")
    });
    begins
        && memchr::memmem::rfind(tail, b"%%EOF").is_none()
        && memchr::memmem::rfind(tail, b"trailer").is_none()
}

fn check_pages(count: usize, limits: &Limits) -> Result<()> {
    if count > limits.max_pages {
        return Err(Error::invalid_input(format!(
            "the PDF has {count} pages, more than {}",
            limits.max_pages
        )));
    }
    if count == 0 {
        return Err(Error::invalid_input("the PDF has no pages"));
    }
    Ok(())
}

fn check_total<S: AsRef<str>>(total: &mut usize, texts: &[S], limits: &Limits) -> Result<()> {
    *total += texts.iter().map(|t| t.as_ref().len()).sum::<usize>();
    check_text(*total, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_off_is_told_from_a_whole_one() {
        assert!(is_cut_off(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n2 0 obj\n<<>>stream\nBT"));
        assert!(!is_cut_off(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n2 0 obj\n<<>>\nendobj\n"));
        assert!(!is_cut_off(b"%PDF-1.7\n1 0 obj\n<<>>\ntrailer <<>>"));
        assert!(!is_cut_off(b"%PDF-1.7\n1 0 obj\n<<>>\n%%EOF"));
    }
}
