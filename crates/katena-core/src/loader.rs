//! Document loaders: bytes from somewhere to documents.

use std::fmt;
use std::sync::Arc;

use futures_util::stream::BoxStream;

use crate::document::Document;
use crate::error::Result;

/// What a loader yields. An `Err` item is one document's failure; the stream goes on, so `try_collect` is the wrong tool.
pub type DocumentStream = BoxStream<'static, Result<Document>>;

/// Loads documents as a stream, so that memory stays bounded.
///
/// # Contract
/// - `loads_what_is_there`: every document, with its text (empty where the file has none) and a source that has a `uri`.
/// - `loading_twice_is_the_same`: the same documents in the same order.
/// - `parts_of_a_uri_come_together`: pages or rows of one `uri` follow each other without another in between.
/// - `errors_name_their_document`: an `Err` item has the failed document's address in its context under `uri`. An `Err`
///   without one means that the listing itself is incomplete.
/// - `errors_do_not_end_the_stream`: what comes after a bad document is still loaded.
/// - `dropping_early_is_fine`: a stream dropped after one item leaves nothing running.
pub trait DocumentLoader: fmt::Debug + Send + Sync {
    /// Starts loading. Nothing is read before the stream is polled.
    fn load(&self) -> DocumentStream;
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<L: DocumentLoader + ?Sized> DocumentLoader for $ptr {
            fn load(&self) -> DocumentStream {
                (**self).load()
            }
        }
    )*};
}
forward!(Arc<L>, Box<L>);
