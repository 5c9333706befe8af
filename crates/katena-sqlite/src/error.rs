//! From SQLite's errors to Katena's.

use std::path::Path;

use katena_core::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// What a closure inside [`Database::read`](crate::Database::read) or `write` may fail with: `?` takes both SQLite's
/// errors and Katena's.
#[derive(Debug)]
pub enum DbError {
    /// SQLite failed; becomes an [`Error`] that names the file.
    Sql(rusqlite::Error),
    /// The component's own error, passed on as it is.
    Katena(Error),
}

/// Result of a closure that works on the database.
pub type DbResult<T> = std::result::Result<T, DbError>;

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for DbError {
    fn from(error: Error) -> Self {
        Self::Katena(error)
    }
}

impl DbError {
    pub(crate) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Sql(error) => sql(error, path),
            Self::Katena(error) => error,
        }
    }
}

pub(crate) fn sql(error: rusqlite::Error, path: &Path) -> Error {
    use rusqlite::Error as E;
    let (kind, message) = match &error {
        E::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                (ErrorKind::Unavailable, "another process holds the database file".into())
            }
            ErrorCode::DatabaseCorrupt => (ErrorKind::InvalidInput, "the database file is damaged".into()),
            ErrorCode::NotADatabase => (ErrorKind::InvalidInput, "the file is no Katena database".into()),
            ErrorCode::DiskFull => (ErrorKind::Unexpected, "the disk is full".into()),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
                (ErrorKind::PermissionDenied, "the database file can't be written".into())
            }
            ErrorCode::CannotOpen => (ErrorKind::Unexpected, "the database file can't be opened".into()),
            ErrorCode::SystemIoFailure => {
                (ErrorKind::Unexpected, "reading or writing the database failed".into())
            }
            ErrorCode::TooBig => (ErrorKind::InvalidInput, "a value is too big for the database".into()),
            ErrorCode::OperationInterrupted => (ErrorKind::Cancelled, "the statement was interrupted".into()),
            _ => (ErrorKind::Unexpected, error.to_string()),
        },
        // A column that holds something else than our code writes there means a damaged file.
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..)
        | E::InvalidColumnType(..) => (ErrorKind::InvalidInput, "the database file is damaged".into()),
        _ => (ErrorKind::Unexpected, error.to_string()),
    };
    Error::new(kind, message).with_context("file", path.display().to_string()).with_source(error)
}
