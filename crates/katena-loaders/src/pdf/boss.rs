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
    // Paragraphs are often set apart by half a line, which the default of 1.8 takes for one paragraph.
    let options = LayoutOptions { paragraph_gap: 1.35, ..LayoutOptions::default() };
    let mut pages = Vec::new();
    let mut total = 0;
    for index in 0..count {
        let blocks = document
            .page(index)
            .and_then(|page| check_content(&document, page))
            .and_then(|page| page_text(&document, &page, index, &options, &mut found.skipped))
            .map_err(|e| refused(e).with_context("page", (index + 1).to_string()))?;
        check_total(&mut total, &blocks, limits)?;
        pages.push(blocks);
    }
    flow::drop_running_lines(&mut pages);
    found.pages = pages.into_iter().map(|blocks| blocks.join("\n\n")).collect();
    Ok(found)
}

fn page_text(
    document: &Document,
    page: &Page,
    index: usize,
    options: &LayoutOptions,
    skipped: &mut Vec<String>,
) -> pdfboss_core::Result<Vec<String>> {
    // Content order: what the producer wrote, which the layout corrects where it is no reading order.
    let (mut spans, mut rulings, report) =
        pdfboss_text::extract_spans_and_rulings_reporting(document, page, ReadingOrder::Content)?;
    retain_spans_on_page(&mut spans, page);
    retain_rulings_on_page(&mut rulings, page);
    if let Some(first) = report.skipped.first() {
        skipped.push(format!("page {}: {}", index + 1, first.cause));
    }
    let layout = page_layout_opts(&spans, &rulings, report.order, options);
    Ok(flow::blocks(&layout))
}

/// A page's drawing operators beyond this many bytes are no page that anybody drew.
const MAX_CONTENT: usize = 64 << 20;

fn check_content(document: &Document, page: Page) -> pdfboss_core::Result<Page> {
    // What can't be unpacked is reported as skipped later.
    match page.content(document) {
        Ok(content) if content.len() > MAX_CONTENT => {
            Err(PdfError::Other(format!("its content unpacks to more than {} MiB", MAX_CONTENT >> 20)))
        }
        _ => Ok(page),
    }
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
