//! The protocol's errors as Katena's.

use katena_core::{Error, ErrorKind};
use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::watched::Fault;

/// The most characters of a server's words in an error.
const MAX_WORDS: usize = 2000;

/// At most [`MAX_WORDS`] characters.
pub(crate) fn words(text: &str) -> String {
    text.chars().take(MAX_WORDS).collect()
}

fn gone(fault: &Fault) -> Error {
    fault.get().unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the MCP server is gone"))
}

/// The error of ours within a transport's.
fn own(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(own) = e.downcast_ref::<Error>() {
            return Some(own.clone());
        }
        if let Some(StreamableHttpError::Client(own)) = e.downcast_ref::<StreamableHttpError<Error>>() {
            return Some(own.clone());
        }
        // An I/O error shows its inner error's cause as its own and hides the inner error itself.
        let inner = e.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        if let Some(own) = inner.and_then(|i| i.downcast_ref::<Error>()) {
            return Some(own.clone());
        }
        cause = e.source();
    }
    None
}

fn broken(error: &(dyn std::error::Error + 'static), fault: &Fault) -> Error {
    own(error).or_else(|| fault.get()).unwrap_or_else(|| {
        Error::new(ErrorKind::Unavailable, "the connection to the MCP server broke")
            .with_context("cause", words(&error.to_string()))
    })
}

/// An error reply of the server.
pub(crate) fn from_reply(data: &ErrorData) -> Error {
    let kind = match data.code {
        // Of a tool's call, these are the arguments, which a model wrote.
        ErrorCode::INVALID_PARAMS => ErrorKind::InvalidOutput,
        ErrorCode::METHOD_NOT_FOUND => ErrorKind::Unsupported,
        ErrorCode::RESOURCE_NOT_FOUND => ErrorKind::NotFound,
        _ => ErrorKind::Tool,
    };
    Error::new(kind, words(&data.message)).with_context("code", data.code.0.to_string())
}

/// A call that failed.
pub(crate) fn from_service(error: ServiceError, fault: &Fault) -> Error {
    match error {
        ServiceError::McpError(data) => fault.get().unwrap_or_else(|| from_reply(&data)),
        ServiceError::TransportSend(e) => broken(&e, fault),
        ServiceError::TransportClosed => gone(fault),
        ServiceError::UnexpectedResponse => {
            Error::invalid_output("the MCP server's reply is not one to this request")
        }
        ServiceError::Cancelled { .. } => Error::cancelled(),
        ServiceError::Timeout { .. } => timeout(),
        other => Error::new(ErrorKind::Unexpected, words(&other.to_string())),
    }
}

/// A server that can't be connected to.
pub(crate) fn from_start(error: ClientInitializeError, fault: &Fault) -> Error {
    let error = match &error {
        ClientInitializeError::ConnectionClosed(_) => gone(fault),
        ClientInitializeError::JsonRpcError(data) => from_reply(data),
        ClientInitializeError::TransportError { error, .. } => broken(error, fault),
        other => fault.get().unwrap_or_else(|| Error::invalid_output(words(&other.to_string()))),
    };
    error.with_context("while", "the MCP server was being connected to")
}

pub(crate) fn timeout() -> Error {
    Error::new(ErrorKind::Timeout, "the MCP server did not answer in time")
}
