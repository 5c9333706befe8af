//! A server's tool as one of ours.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Error, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use rmcp::model::{CallToolRequestParams, CallToolResponse};
use serde_json::Value;

use super::client::Connection;
use super::content;
use super::options::{McpLimits, McpOptions, RefusedTool};

/// What vendors take as a tool's name, in characters.
const MAX_NAME: usize = 64;

/// A tool that a server offers.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    spec: Arc<ToolSpec>,
    /// The server's own name for it.
    name: String,
}

impl Offer {
    pub(crate) fn tool(&self, connection: &Arc<Connection>) -> Arc<dyn Tool> {
        let Self { spec, name } = self.clone();
        Arc::new(McpTool { spec, name, connection: connection.clone() })
    }
}

/// A tool of a server. Keeps the connection open.
struct McpTool {
    spec: Arc<ToolSpec>,
    name: String,
    connection: Arc<Connection>,
}

impl fmt::Debug for McpTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpTool").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let limits = self.connection.limits();
        if call.arguments.len() > limits.max_argument_bytes {
            return Err(Error::invalid_output("the tool call's arguments are larger than the limit")
                .with_context("tool", self.spec.name.clone())
                .with_context("limit", format!("{} bytes", limits.max_argument_bytes)));
        }
        let arguments: serde_json::Map<String, Value> = call.parse()?;
        let params = CallToolRequestParams::new(self.name.clone()).with_arguments(arguments);
        let asked = self.connection.peer().call_tool_once(params);
        let response = self.connection.bounded(run.context(), asked).await;
        let output = response.and_then(|response| match response {
            CallToolResponse::Complete(result) => content::from_result(result, limits.max_result_bytes),
            _ => Err(Error::unsupported("the MCP server answers a call by a question or a task")),
        });
        output.map_err(|e| e.with_context("tool", self.spec.name.clone()))
    }
}

/// The tools of a listing that are taken, in the server's order, and those that are not.
pub(crate) fn take(listed: Vec<rmcp::model::Tool>, options: &McpOptions) -> (Vec<Offer>, Vec<RefusedTool>) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut offers: Vec<Offer> = Vec::new();
    let mut refused = Vec::new();
    let mut missing = options.tools.clone().unwrap_or_default();
    for tool in listed {
        let name = tool.name.to_string();
        if options.tools.as_ref().is_some_and(|wanted| !wanted.contains(&name)) {
            continue;
        }
        missing.remove(&name);
        let made = spec(&tool, options).and_then(|spec| match taken.get(&spec.name) {
            Some(other) => Err(format!("its name here is already that of `{other}`")),
            None => Ok(spec),
        });
        match made {
            Ok(spec) => {
                taken.insert(spec.name.clone(), name.clone());
                offers.push(Offer { spec: Arc::new(spec), name });
            }
            Err(reason) => refused.push(RefusedTool::new(&name, reason)),
        }
    }
    refused.extend(missing.iter().map(|name| RefusedTool::new(name, "the server has no such tool")));
    for tool in &refused {
        tracing::warn!(server = options.name, tool = tool.name, reason = tool.reason, "MCP tool not taken");
    }
    (offers, refused)
}

/// What the model is told, or why the tool is not taken.
fn spec(tool: &rmcp::model::Tool, options: &McpOptions) -> Result<ToolSpec, String> {
    let limits = &options.limits;
    let name = local_name(&tool.name, options)?;
    let description = tool.description.as_deref().unwrap_or_default();
    if description.len() > limits.max_description_bytes {
        return Err(format!("its description is longer than {} bytes", limits.max_description_bytes));
    }
    let mut description = visible(description);
    if description.trim().is_empty() {
        description = format!("The tool {name} of an MCP server.");
    }
    let schema = schema(&tool.input_schema, limits)?;
    Ok(ToolSpec::new(name, description, schema))
}

fn local_name(name: &str, options: &McpOptions) -> Result<String, String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    if name.is_empty() || name.len() > 128 {
        return Err("its name is not of 1 to 128 bytes".to_owned());
    }
    let own: String = name.chars().map(plain).collect();
    let full = if options.prefixed { format!("{}__{own}", options.name) } else { own };
    if full.len() > MAX_NAME {
        return Err(format!("its name here, `{full}`, is longer than {MAX_NAME} characters"));
    }
    Ok(full)
}

/// The text without characters that people do not see but models read: controls, direction marks, tags.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().filter(|c| !hidden(*c)).collect()
}

fn schema(schema: &serde_json::Map<String, Value>, limits: &McpLimits) -> Result<Value, String> {
    let mut schema = Value::Object(schema.clone());
    if !within(&schema, limits.max_schema_depth) {
        return Err(format!("its schema is deeper than {} values", limits.max_schema_depth));
    }
    if schema.to_string().len() > limits.max_schema_bytes {
        return Err(format!("its schema is larger than {} bytes", limits.max_schema_bytes));
    }
    match schema.get("type") {
        None => schema["type"] = "object".into(),
        Some(kind) if kind == "object" => {}
        Some(_) => return Err("its schema describes no object".to_owned()),
    }
    if !schema.get("properties").is_none_or(Value::is_object) {
        return Err("its schema's properties are no object".to_owned());
    }
    Ok(schema)
}

/// True if `value` is at most `depth` values deep.
fn within(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match value {
        Value::Array(items) => items.iter().all(|v| within(v, depth)),
        Value::Object(fields) => fields.values().all(|v| within(v, depth)),
        _ => true,
    }
}

#[cfg(test)]
#[path = "tool_tests.rs"]
mod tests;
