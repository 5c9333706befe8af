//! Serving on standard input and output, and on any stream.

use katena_core::{Error, ErrorKind, Result, Run};
use rmcp::ServiceExt as _;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error;
use super::server::McpServer;
use super::watched::{Fault, Watched};

impl McpServer {
    /// Serves one client on this program's standard input and output until it leaves. Nothing else may write to standard
    /// output meanwhile: logs belong to standard error.
    ///
    /// # Errors
    /// As [`serve_io`](Self::serve_io).
    pub async fn serve_stdio(self, run: Run) -> Result<()> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("MCP needs a tokio runtime; this code runs outside of one"));
        }
        let (read, write) = rmcp::transport::stdio_pipes();
        self.serve_pair(read, write, run).await
    }

    /// Serves one client on a two-way stream until it leaves.
    ///
    /// # Errors
    /// Kind `Config` if two tools have one name; `Unavailable` if the client leaves before it has said hello;
    /// `InvalidOutput` if it speaks another protocol or sends a message beyond the limit; `Cancelled` at the run's signal.
    pub async fn serve_io(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        run: Run,
    ) -> Result<()> {
        let (read, write) = tokio::io::split(stream);
        self.serve_pair(read, write, run).await
    }

    async fn serve_pair(
        self,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        run: Run,
    ) -> Result<()> {
        let context = run.context().clone();
        context.check()?;
        let handler = self.handler(run)?;
        let fault = Fault::default();
        let limit = handler.limits().max_message_bytes;
        let transport = AsyncRwTransport::new_server(Watched::new(read, limit, fault.clone()), write);
        let serving = async {
            let hello = handler.serve(transport.with_max_line_length(limit)).await;
            let service = hello.map_err(|e| fault.get().unwrap_or_else(|| from_hello(&e)))?;
            let ended = service.waiting().await;
            ended.map_err(|e| Error::unexpected("the MCP server broke off").with_source(e))?;
            fault.get().map_or(Ok(()), Err)
        };
        context.cancel.guard(serving).await
    }
}

fn from_hello(error: &ServerInitializeError) -> Error {
    let words = error::words(&error.to_string());
    match error {
        ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::TransportError { .. } => {
            Error::new(ErrorKind::Unavailable, "the MCP client left before it had said hello")
        }
        _ => Error::invalid_output("the MCP client speaks another protocol").with_context("cause", words),
    }
}
