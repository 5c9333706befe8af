//! Answers requests of clients.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{Either, select};
use katena_core::{Cancel, Context, Error, ErrorKind, Labels, Result, Run, Tool, ToolCall};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::content;
use super::server::{McpServer, McpServerLimits};

/// Labels of one HTTP request, as its authorization gave them.
#[derive(Debug, Clone)]
pub(crate) struct RequestLabels(pub(crate) Labels);

/// Shared by all clients.
#[derive(Clone)]
pub(crate) struct Handler(Arc<Inner>);

struct Inner {
    info: ServerConfig,
    tools: Vec<Arc<dyn Tool>>,
    limits: McpServerLimits,
    run: Run,
    at_work: Semaphore,
    pending: Semaphore,
}

/// Gives the cancel signal when the call is dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn offered(tool: &dyn Tool) -> rmcp::model::Tool {
    let spec = tool.spec();
    let schema = spec.parameters.as_object().cloned().unwrap_or_default();
    rmcp::model::Tool::new(spec.name.clone(), spec.description.clone(), schema)
}

impl Handler {
    pub(super) fn new(server: McpServer, run: Run) -> Self {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(server.name, server.version));
        if let Some(instructions) = server.instructions {
            info = info.with_instructions(instructions);
        }
        let at_work = Semaphore::new(server.limits.max_concurrent_calls);
        let pending = Semaphore::new(server.limits.max_pending_calls);
        Self(Arc::new(Inner { info, tools: server.tools, limits: server.limits, run, at_work, pending }))
    }

    pub(super) fn limits(&self) -> &McpServerLimits {
        &self.0.limits
    }

    pub(super) fn run(&self) -> &Run {
        &self.0.run
    }

    /// One call, within all limits. Dropping it cancels what it does.
    async fn work(
        &self,
        tool: &dyn Tool,
        call: ToolCall,
        labels: Option<Labels>,
    ) -> Result<Vec<ContentBlock>> {
        let inner = &*self.0;
        let own = inner.run.context();
        let cancel = own.cancel.child();
        let _guard = CancelOnDrop(cancel.clone());
        let until = Instant::now() + inner.limits.call_timeout;
        let until = own.deadline.map_or(until, |d| d.min(until));
        let labels = labels.map_or_else(|| own.labels.clone(), |l| l.merged_over(&own.labels));
        let context = Context::new().with_labels(labels).with_deadline(until).with_cancel(cancel.clone());
        let run = inner.run.clone().with_context(context);
        let work = async {
            let _permit = inner.at_work.acquire().await;
            let name = tool.spec().name.clone();
            // As a step, so that a panic is an error of this call.
            let output = run.step(&name, async |run: Run| tool.call(call, &run).await).await?;
            content::to_blocks(output, inner.limits.max_result_bytes)
        };
        let timed = async {
            tokio::time::timeout_at(until.into(), work)
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the tool did not answer in time")))
        };
        cancel.guard(timed).await
    }
}

/// What a client may know of an error.
fn shown(error: &Error, tool: &str) -> String {
    match error.kind() {
        ErrorKind::InvalidInput
        | ErrorKind::InvalidOutput
        | ErrorKind::NotFound
        | ErrorKind::Refused
        | ErrorKind::Unsupported
        | ErrorKind::Tool => {
            // What is wrong with the client's own arguments.
            let cause = std::error::Error::source(error)
                .filter(|_| error.kind() == ErrorKind::InvalidOutput && error.context("tool") == Some(tool))
                .and_then(|s| s.downcast_ref::<serde_json::Error>());
            match cause {
                Some(cause) => format!("{}: {cause}", error.message()),
                None => error.message().to_owned(),
            }
        }
        kind => format!("the tool failed: {kind}"),
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        self.0.info.clone()
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools.iter().map(|t| offered(t)).collect()))
    }

    fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
        self.0.tools.iter().find(|t| t.spec().name == name).map(|t| offered(t))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.0.tools.iter().find(|t| t.spec().name == request.name).cloned() else {
            return Err(ErrorData::invalid_params("there is no tool of this name", None));
        };
        let Ok(_pending) = self.0.pending.try_acquire() else {
            return Err(ErrorData::internal_error("the server is busy", None));
        };
        let name = tool.spec().name.clone();
        let arguments = Value::Object(request.arguments.unwrap_or_default()).to_string();
        let call = ToolCall::new(context.id.to_string(), name.clone(), arguments);
        let parts = context.extensions.get::<http::request::Parts>();
        let labels = parts.and_then(|p| p.extensions.get::<RequestLabels>()).map(|l| l.0.clone());
        let work = std::pin::pin!(self.work(&*tool, call, labels));
        let cancelled = std::pin::pin!(context.ct.cancelled());
        let result = match select(work, cancelled).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(Error::cancelled()),
        };
        Ok(match result {
            Ok(blocks) => CallToolResult::success(blocks),
            Err(error) => {
                tracing::warn!(tool = name, kind = %error.kind(), error = %error, "MCP call failed");
                CallToolResult::error(vec![ContentBlock::text(shown(&error, &name))])
            }
        }
        .into())
    }
}
