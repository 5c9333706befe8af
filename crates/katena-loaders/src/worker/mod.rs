//! Parsing in a process of its own: what the two sides say to each other.
//!
//! The worker reads one job per line on stdin, as JSON, and answers with a line for each document and a last line that ends
//! the answer. [`serve`] is the worker's side, [`ProcessParser`] the other one. A program offers the worker by calling
//! [`serve`] under some hidden subcommand.

mod process;
mod serve;

use std::path::{Path, PathBuf};

use katena_core::{Document, Error, ErrorKind, Source};
use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::limits::Limits;
use crate::parser::ParseJob;

pub use process::ProcessParser;
pub use serve::serve;

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    path: PathText,
    format: Format,
    source: Source,
    limits: Limits,
}

impl Job {
    fn new(job: &ParseJob) -> Self {
        Self {
            path: PathText::new(&job.path),
            format: job.format,
            source: job.source.clone(),
            limits: job.limits.clone(),
        }
    }

    fn into_parse_job(self) -> ParseJob {
        ParseJob::new(self.path.into_path(), self.format, self.source).with_limits(self.limits)
    }
}

/// A path need not be Unicode, JSON must be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum PathText {
    Text(String),
    Bytes(Vec<u8>),
}

impl PathText {
    fn new(path: &Path) -> Self {
        #[cfg(unix)]
        if path.to_str().is_none() {
            use std::os::unix::ffi::OsStrExt;
            return Self::Bytes(path.as_os_str().as_bytes().to_vec());
        }
        Self::Text(path.to_string_lossy().into_owned())
    }

    fn into_path(self) -> PathBuf {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => {
                #[cfg(unix)]
                {
                    use std::os::unix::ffi::OsStringExt;
                    std::ffi::OsString::from_vec(bytes).into()
                }
                #[cfg(not(unix))]
                String::from_utf8_lossy(&bytes).into_owned().into()
            }
        }
    }
}

/// A line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Document(Box<Document>),
    Done {},
    Failed(Failure),
}

#[derive(Debug, Serialize, Deserialize)]
struct Failure {
    kind: String,
    message: String,
    page: Option<String>,
}

impl Failure {
    fn new(error: &Error) -> Self {
        Self {
            kind: error.kind().as_str().to_owned(),
            message: error.message().to_owned(),
            page: error.context("page").map(str::to_owned),
        }
    }

    fn into_error(self) -> Error {
        const KINDS: [ErrorKind; 7] = [
            ErrorKind::Config,
            ErrorKind::InvalidInput,
            ErrorKind::NotFound,
            ErrorKind::PermissionDenied,
            ErrorKind::Timeout,
            ErrorKind::Unsupported,
            ErrorKind::Unexpected,
        ];
        let kind = KINDS.into_iter().find(|k| k.as_str() == self.kind).unwrap_or(ErrorKind::Unexpected);
        let error = Error::new(kind, self.message);
        match self.page {
            Some(page) => error.with_context("page", page),
            None => error,
        }
    }
}
