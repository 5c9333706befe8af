//! A child process as a transport.

use std::time::Duration;

use katena_core::{Error, ErrorKind, Result};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::command::McpCommand;
use super::watched::{Fault, Watched};

/// How long a server may take to end by itself once its input is closed.
const GRACE: Duration = Duration::from_secs(2);
/// The most bytes of standard error that are put into the log.
const MAX_STDERR: usize = 64 << 10;

/// Ends the child when it is closed or dropped.
pub(crate) struct ChildTransport {
    inner: AsyncRwTransport<RoleClient, Watched<ChildStdout>, ChildStdin>,
    child: Child,
}

impl ChildTransport {
    /// Starts the program.
    pub(crate) fn start(command: &McpCommand, server: &str, limit: usize, fault: Fault) -> Result<Self> {
        let failed = |e: std::io::Error| {
            let kind = match e.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, "the MCP server's program can't be started")
                .with_context("program", command.shown())
                .with_temporary(false)
                .with_source(e)
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config(
                "an MCP server's program needs a tokio runtime; this code runs outside of one",
            ));
        }
        let mut child = command.build().spawn().map_err(failed)?;
        let missing = || Error::unexpected("a pipe to the MCP server's program is missing");
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stdin = child.stdin.take().ok_or_else(missing)?;
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log(stderr, server.to_owned()));
        }
        let inner = AsyncRwTransport::new_client(Watched::new(stdout, limit, fault), stdin);
        Ok(Self { inner: inner.with_max_line_length(limit), child })
    }
}

/// Puts the start of what the program says into the log, and reads the rest so that it is not held up. Ends with the program.
async fn log(mut stderr: impl AsyncRead + Unpin, server: String) {
    let mut buffer = vec![0; 4096];
    let mut left = MAX_STDERR;
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        if left > 0 {
            let shown = String::from_utf8_lossy(&buffer[..n.min(left)]);
            tracing::debug!(server, stderr = %shown.trim_end(), "MCP server's log");
            left -= n.min(left);
        }
    }
}

impl Transport<RoleClient> for ChildTransport {
    type Error = std::io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
        self.inner.send(item)
    }

    fn receive(&mut self) -> impl Future<Output = Option<RxJsonRpcMessage<RoleClient>>> + Send {
        self.inner.receive()
    }

    async fn close(&mut self) -> std::io::Result<()> {
        self.inner.close().await?;
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}
