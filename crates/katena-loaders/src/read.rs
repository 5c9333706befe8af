//! Files to bytes, safely.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use katena_core::{Error, ErrorKind, Result};

use crate::limits::Limits;
use crate::parse::check_size;

/// The bytes of a regular file within the limit. Pipes, devices and folders are not opened.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    check_regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    let about = file.metadata()?;
    check_regular(&about)?;
    check_size(about.len(), limits)?;
    let mut bytes = Vec::with_capacity(about.len() as usize);
    // A file may grow while it is read, and some say that they are empty and are not.
    file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64, limits)?;
    Ok(bytes)
}

fn check_regular(about: &std::fs::Metadata) -> Result<()> {
    if about.is_file() {
        return Ok(());
    }
    let what = if about.is_dir() { "a folder" } else { "a pipe, device or socket" };
    Err(Error::new(ErrorKind::InvalidInput, format!("this is {what}, not a file")))
}
