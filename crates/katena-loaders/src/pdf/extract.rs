//! PDF by the pdf-extract crate.

use katena_core::{Error, Result};

use super::{Pages, check_pages, check_total};
use crate::limits::Limits;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Pages> {
    // The crate panics on malformed files; unwinding is caught here so that a caller sees one kind of failure.
    let pages = std::panic::catch_unwind(|| pdf_extract::extract_text_from_mem_by_pages(bytes))
        .map_err(|_| Error::invalid_input("the PDF can't be read: the parser gave up"))?
        .map_err(|e| Error::invalid_input(format!("the PDF can't be read: {e}")))?;
    check_pages(pages.len(), limits)?;
    check_total(&mut 0, &pages, limits)?;
    Ok(Pages { title: None, pages, skipped: Vec::new() })
}
