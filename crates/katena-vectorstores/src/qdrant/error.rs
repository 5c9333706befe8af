//! From the client's errors to Katena's.

use std::time::Duration;

use katena_core::{Error, ErrorKind};
use qdrant_client::QdrantError;

/// The gRPC codes that are looked at; see <https://grpc.io/docs/guides/status-codes/>.
pub(super) const NOT_FOUND: i32 = 5;
pub(super) const ALREADY_EXISTS: i32 = 6;

/// The gRPC code of an answer.
pub(super) fn code(error: &QdrantError) -> Option<i32> {
    match error {
        QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => {
            Some(status.code() as i32)
        }
        _ => None,
    }
}

/// The client calls a connection that could not be made or broke an internal or unknown error.
fn never_arrived(error: &QdrantError) -> bool {
    let QdrantError::ResponseError { status } = error else { return false };
    let message = status.message();
    matches!(code(error), Some(2 | 13))
        && (message.starts_with("Failed to connect") || message.contains("transport error"))
}

pub(super) fn error(error: QdrantError) -> Error {
    let kind = match code(&error) {
        Some(1) => ErrorKind::Cancelled,
        Some(3 | 9 | 11) => ErrorKind::InvalidInput,
        Some(4) => ErrorKind::Timeout,
        Some(NOT_FOUND) => ErrorKind::NotFound,
        Some(7) => ErrorKind::PermissionDenied,
        Some(8) => ErrorKind::RateLimited,
        Some(10 | 14) => ErrorKind::Unavailable,
        _ if never_arrived(&error) => ErrorKind::Unavailable,
        Some(12) => ErrorKind::Unsupported,
        Some(16) => ErrorKind::Unauthenticated,
        Some(_) => ErrorKind::Unexpected,
        None if matches!(error, QdrantError::InvalidUri(_)) => ErrorKind::Config,
        None => ErrorKind::Unexpected,
    };
    let (message, wait) = match &error {
        QdrantError::ResponseError { status } => (status.message().to_owned(), None),
        QdrantError::ResourceExhaustedError { status, retry_after_seconds } => {
            (status.message().to_owned(), Some(Duration::from_secs(*retry_after_seconds)))
        }
        other => (other.to_string(), None),
    };
    let out = Error::new(kind, message).with_vendor("qdrant");
    match wait {
        Some(wait) => out.with_retry_after(wait),
        None => out,
    }
}
