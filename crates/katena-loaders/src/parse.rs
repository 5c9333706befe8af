//! Bytes to documents, without any file or network.

use katena_core::{Document, Error, Result, Source};

use crate::decode::decode;
use crate::format::Format;
use crate::limits::Limits;

/// Parses the bytes of one file into documents: a PDF into one per page with text, a table into one per row, anything else
/// into one. `source` is what is known of the file; page, lines, title and MIME type are added to it.
///
/// Pure: it opens nothing and fetches nothing. Time and memory of hostile PDFs can't be bounded here; see
/// [`InProcessParser`](crate::InProcessParser).
///
/// ```
/// use katena_core::Source;
/// use katena_loaders::{Format, Limits, parse};
///
/// let documents = parse(b"# Hi\nthere".to_vec(), Format::Markdown, &Source::new("a.md"), &Limits::default())?;
/// assert_eq!(documents[0].text, "# Hi\nthere");
/// assert_eq!(documents[0].source.title.as_deref(), Some("Hi"));
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput` for what is broken, encrypted, without text, or over a limit; `Unsupported` for a format whose feature is
/// off. Each has the source's address in its context under `uri`.
pub fn parse(bytes: Vec<u8>, format: Format, source: &Source, limits: &Limits) -> Result<Vec<Document>> {
    parse_format(bytes, format, source, limits).map_err(|error| error.with_context("uri", source.uri.clone()))
}

fn parse_format(bytes: Vec<u8>, format: Format, source: &Source, limits: &Limits) -> Result<Vec<Document>> {
    check_size(bytes.len() as u64, limits)?;
    let mut source = source.clone();
    source.mime.get_or_insert_with(|| format.mime().to_owned());
    let mut documents = match format {
        Format::Text => vec![Document::new(decode(bytes, None)?, source)],
        Format::Markdown => vec![crate::markdown::parse(decode(bytes, None)?, source)],
        #[cfg(feature = "html")]
        Format::Html => vec![crate::html::parse(bytes, source, limits)?],
        #[cfg(feature = "csv")]
        Format::Csv => crate::table::parse(decode(bytes, None)?, None, &source, limits)?,
        #[cfg(feature = "csv")]
        Format::Delimited(delimiter) => {
            crate::table::parse(decode(bytes, None)?, Some(delimiter), &source, limits)?
        }
        #[cfg(any(feature = "pdf", feature = "pdf-extract"))]
        Format::Pdf => crate::pdf::parse(bytes, &source, limits, crate::pdf::PdfEngine::default())?,
        #[allow(unreachable_patterns)]
        other => {
            return Err(Error::unsupported(format!(
                "this build of katena-loaders has no parser for {}",
                other.mime()
            )));
        }
    };
    check_text(documents.iter().map(|d| d.text.len()).sum(), limits)?;
    for document in &mut documents {
        clean(document);
    }
    Ok(documents)
}

/// NUL is text to nobody, and some stores refuse it.
fn clean(document: &mut Document) {
    if memchr::memchr(0, document.text.as_bytes()).is_none() {
        return;
    }
    let text = std::mem::take(&mut document.text);
    let zeros: Vec<usize> = memchr::memchr_iter(0, text.as_bytes()).collect();
    for anchor in &mut document.anchors {
        anchor.offset += zeros.partition_point(|z| *z < anchor.offset) * ('\u{fffd}'.len_utf8() - 1);
    }
    document.text = text.replace('\0', "\u{fffd}");
}

pub(crate) fn check_size(bytes: u64, limits: &Limits) -> Result<()> {
    if bytes > limits.max_bytes {
        return Err(Error::invalid_input(format!("the file has more than {} bytes", limits.max_bytes)));
    }
    Ok(())
}

pub(crate) fn check_text(bytes: usize, limits: &Limits) -> Result<()> {
    if bytes > limits.max_text_bytes {
        return Err(Error::invalid_input(format!(
            "more than {} bytes of text come out of it",
            limits.max_text_bytes
        )));
    }
    Ok(())
}
