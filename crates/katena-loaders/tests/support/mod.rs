//! What several tests use.

#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;

use futures_util::StreamExt;
use katena_core::{Document, DocumentLoader, Error};
use katena_loaders::ProcessParser;

/// A parser in worker processes of this crate's own worker.
pub(crate) fn workers() -> ProcessParser {
    ProcessParser::new(env!("CARGO_BIN_EXE_katena-parse-worker"), Vec::<String>::new())
}

/// A folder of the shared evaluation data, or a line that says that it is missing.
pub(crate) fn evals(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals").join(folder);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// All items of a loader, documents and errors apart.
pub(crate) async fn load(loader: &dyn DocumentLoader) -> (Vec<Document>, Vec<Error>) {
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    let mut stream = loader.load();
    while let Some(item) = stream.next().await {
        match item {
            Ok(document) => documents.push(document),
            Err(error) => errors.push(error),
        }
    }
    (documents, errors)
}
