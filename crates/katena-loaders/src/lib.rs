//! Document loaders for Katena: bytes to documents with their sources.
//!
//! [`parse`] turns bytes into documents and touches nothing else. The loaders read files for it: [`TextLoader`],
//! [`MarkdownLoader`], [`HtmlLoader`], [`CsvLoader`], [`PdfLoader`] one file each, [`DirectoryLoader`] a folder, file by
//! file. Each file is bounded by [`Limits`]; what is beyond them, broken or encrypted is an `Err` item that names the file,
//! and the others go on. A [`ProcessParser`] parses in a process of its own, which can be stopped and whose memory is bounded.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use futures_util::StreamExt;
//! use katena_core::DocumentLoader;
//! use katena_loaders::DirectoryLoader;
//!
//! let folder = tempfile::tempdir().unwrap();
//! std::fs::write(folder.path().join("a.md"), "# One").unwrap();
//! std::fs::write(folder.path().join("b.csv"), "name,age\nAda,36\n").unwrap();
//! let mut documents = DirectoryLoader::new(folder.path()).load();
//! while let Some(item) = documents.next().await {
//!     match item {
//!         Ok(document) => assert!(!document.text.is_empty(), "{}", document.source),
//!         Err(error) => panic!("{error}"), // one file's; the stream goes on
//!     }
//! }
//! # });
//! ```

mod decode;
mod directory;
mod file;
mod format;
#[cfg(feature = "html")]
mod html;
mod limits;
mod markdown;
mod parse;
mod parser;
#[cfg(any(feature = "pdf", feature = "pdf-extract"))]
mod pdf;
mod read;
#[cfg(feature = "csv")]
mod table;
pub mod worker;

pub use directory::{Counts, DirectoryLoader};
#[cfg(feature = "csv")]
pub use file::CsvLoader;
#[cfg(feature = "html")]
pub use file::HtmlLoader;
#[cfg(any(feature = "pdf", feature = "pdf-extract"))]
pub use file::PdfLoader;
pub use file::{MarkdownLoader, TextLoader};
pub use format::Format;
pub use limits::Limits;
pub use parse::parse;
pub use parser::{InProcessParser, ParseJob, Parser};
#[cfg(any(feature = "pdf", feature = "pdf-extract"))]
pub use pdf::{PdfEngine, parse_pdf};
pub use worker::ProcessParser;
