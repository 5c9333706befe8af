//! The template engines with logic.

#[cfg(feature = "handlebars")]
pub(crate) mod handlebars;
#[cfg(feature = "jinja")]
pub(crate) mod jinja;
pub(crate) mod mustache;

#[cfg(any(feature = "handlebars", feature = "jinja"))]
use std::io;

#[cfg(any(feature = "handlebars", feature = "jinja"))]
use katena_core::{Error, Result};

/// Larger templates are refused.
pub(crate) const MAX_SOURCE: usize = 1 << 20;
/// Deeper nested blocks and brackets are refused.
pub(crate) const MAX_DEPTH: usize = 64;

/// A text that grows up to a limit.
#[cfg(any(feature = "handlebars", feature = "jinja"))]
pub(crate) struct Limited {
    bytes: Vec<u8>,
    most: usize,
    full: bool,
}

#[cfg(any(feature = "handlebars", feature = "jinja"))]
impl Limited {
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most, full: false }
    }

    /// The text, or the error of the engine or of the limit.
    pub(crate) fn finish<E>(
        self,
        done: std::result::Result<(), E>,
        told: impl FnOnce(E) -> Error,
    ) -> Result<String> {
        if self.full {
            return Err(crate::template::too_long(self.most));
        }
        done.map_err(told)?;
        String::from_utf8(self.bytes).map_err(|_| Error::unexpected("the template engine wrote no UTF-8"))
    }
}

#[cfg(any(feature = "handlebars", feature = "jinja"))]
impl io::Write for Limited {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.full || self.bytes.len() + buf.len() > self.most {
            self.full = true;
            return Err(io::Error::other("the prompt became longer than allowed"));
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
