//! How much a file may ask for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits for one file. Beyond one of them the file is an error that says which; nothing is cut off silently.
///
/// `timeout` and `memory` can be kept only where the parser runs in a process of its own
/// ([`ProcessParser`](crate::ProcessParser)); see [`InProcessParser`](crate::InProcessParser) for what that means.
///
/// ```
/// use katena_loaders::Limits;
/// let limits = Limits::default().with_max_pages(100);
/// assert_eq!(limits.max_pages, 100);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the file; 64 MiB.
    pub max_bytes: u64,
    /// Pages of a PDF; 10,000.
    pub max_pages: usize,
    /// Bytes of text that come out of one file, all pages and rows together; 64 MiB.
    pub max_text_bytes: usize,
    /// Elements of HTML that may be open at once; 200,000. They cost a few bytes each, never stack.
    pub max_depth: usize,
    /// Rows of a table; 200,000.
    pub max_rows: usize,
    /// Wall-clock time for one file; 30 s.
    pub timeout: Duration,
    /// Memory that a worker process may take beyond what it has when it starts, in bytes; 192 MiB.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_pages: 10_000,
            max_text_bytes: 64 << 20,
            max_depth: 200_000,
            max_rows: 200_000,
            timeout: Duration::from_secs(30),
            memory: 192 << 20,
        }
    }
}

impl Limits {
    /// The default limits.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the most bytes that a file may have.
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
    /// Sets the most pages of a PDF.
    pub fn with_max_pages(mut self, pages: usize) -> Self {
        self.max_pages = pages;
        self
    }
    /// Sets the most bytes of text that may come out of a file.
    pub fn with_max_text_bytes(mut self, bytes: usize) -> Self {
        self.max_text_bytes = bytes;
        self
    }
    /// Sets the most HTML elements that may be open at once.
    pub fn with_max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }
    /// Sets the most rows of a table.
    pub fn with_max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows;
        self
    }
    /// Sets the wall-clock time for a file.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
    /// Sets the memory of a worker process in bytes.
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }
}
