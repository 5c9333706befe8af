//! PDF by the pdfboss crates.

use katena_core::{Error, Result};
use pdfboss_core::{Document, Error as PdfError, Page};
use pdfboss_output::{LayoutOptions, page_layout_opts, retain_rulings_on_page, retain_spans_on_page};
use pdfboss_text::ReadingOrder;

use super::{Pages, check_pages, check_total, flow};
use crate::limits::Limits;

pub(super) fn read(bytes: Vec<u8>, limits: &Limits) -> Result<Pages> {
    let document = Document::load(bytes).map_err(refused)?;
    if document.is_locked() {
        return Err(refused(PdfError::Encrypted));
    }
    let count = document.flattened_page_count();
    check_pages(count, limits)?;
    let mut found = Pages { title: document.metadata().title, pages: Vec::new(), skipped: Vec::new() };
    let mut total = 0;
    for index in 0..count {
        let text = document
            .page(index)
            .and_then(|page| page_text(&document, &page, index, &mut found.skipped))
            .map_err(|e| refused(e).with_context("page", (index + 1).to_string()))?;
        check_total(&mut total, &text, limits)?;
        found.pages.push(text);
    }
    Ok(found)
}

fn page_text(
    document: &Document,
    page: &Page,
    index: usize,
    skipped: &mut Vec<String>,
) -> pdfboss_core::Result<String> {
    // Content order: what the producer wrote, which the layout corrects where it is no reading order.
    let (mut spans, mut rulings, report) =
        pdfboss_text::extract_spans_and_rulings_reporting(document, page, ReadingOrder::Content)?;
    retain_spans_on_page(&mut spans, page);
    retain_rulings_on_page(&mut rulings, page);
    if let Some(first) = report.skipped.first() {
        skipped.push(format!("page {}: {}", index + 1, first.cause));
    }
    let layout = page_layout_opts(&spans, &rulings, report.order, &LayoutOptions::default());
    Ok(flow::text(&layout))
}

fn refused(error: PdfError) -> Error {
    let message = match &error {
        PdfError::Encrypted => {
            "the PDF is encrypted and needs a password, or is encrypted in an unsupported way".to_owned()
        }
        other => format!("the PDF can't be read: {other}"),
    };
    Error::invalid_input(message).with_source(error)
}
