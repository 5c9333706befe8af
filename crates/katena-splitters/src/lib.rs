//! Text splitters for Katena: text to chunks with exact offsets.
//!
//! [`RecursiveSplitter`] cuts where a reader would: before a heading, between paragraphs, at a line's end, at a
//! sentence's end, between words, and only then between characters. Chunks are slices of the text; nothing is copied.
//!
//! ```
//! use katena_core::TextSplitter;
//! use katena_splitters::RecursiveSplitter;
//!
//! let text = "The first paragraph.\n\nThe second paragraph is a little longer.";
//! let chunks = RecursiveSplitter::chars(40).split(text)?;
//! assert_eq!(chunks[0].text, "The first paragraph.");
//! assert_eq!(chunks[1].text, "The second paragraph is a little longer.");
//! assert_eq!(chunks[1].offset, 22);
//! # Ok::<(), katena_core::Error>(())
//! ```

mod cut;
mod reach;
mod recursive;
#[cfg(feature = "tiktoken")]
mod tiktoken;

pub use recursive::RecursiveSplitter;
#[cfg(feature = "tiktoken")]
pub use tiktoken::TiktokenTokenizer;
