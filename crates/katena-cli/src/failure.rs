//! Why the command ends, and with which exit code.

use std::fmt;
use std::process::ExitCode;

use katena_core::{Error, ErrorKind};

/// How a run ends. `docs/cli.md` and `--help` list the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: answered, found, done.
    Done,
    /// 1: something failed.
    Failed,
    /// 2: wrong usage, or something must be set up first.
    SetUp,
    /// 3: the question was understood, but the documents don't answer it.
    NotFound,
    /// 4: ingested, but some documents could not be read.
    Incomplete,
    /// 130: Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::SetUp => 2,
            Self::NotFound => 3,
            Self::Incomplete => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A message for people and the exit code that goes with it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// Exit code 2.
    pub(crate) fn set_up(message: impl Into<String>) -> Self {
        Self { exit: Exit::SetUp, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Cancelled => Exit::Interrupted,
            ErrorKind::Config | ErrorKind::Unauthenticated => Exit::SetUp,
            _ => Exit::Failed,
        };
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}\n  because: {text}");
            }
            cause = inner.source();
        }
        Self { exit, message }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Error::from(error).into()
    }
}

/// Result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;
