//! A server's prompts and resources.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use katena_core::{Context, Error, Message, Part, Result, Role};
use rmcp::model::{
    GetPromptRequestParams, GetPromptResponse, ReadResourceRequestParams, ReadResourceResponse,
};
use serde_json::Value;

use super::client::McpClient;
use super::content;

/// A prompt that a server offers; all of it is data from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpPrompt {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it takes.
    pub arguments: Vec<McpPromptArgument>,
}

/// One argument of an [`McpPrompt`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpPromptArgument {
    /// Its name.
    pub name: String,
    /// What it means.
    pub description: Option<String>,
    /// Whether it must be given.
    pub required: bool,
}

/// A resource that a server offers; all of it is data from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpResource {
    /// Its address, which only this server needs to understand.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Its MIME type.
    pub mime: Option<String>,
}

fn asks_back() -> Error {
    Error::unsupported("the MCP server answers by a question")
}

impl McpClient {
    /// The server's prompts.
    ///
    /// # Errors
    /// Those of a call; `Unsupported` if the server has no prompts; `InvalidOutput` beyond the limit.
    pub async fn prompts(&self) -> Result<Vec<McpPrompt>> {
        let peer = self.0.peer();
        let listed =
            self.0.pages(|p| peer.list_prompts(p).boxed(), |page| (page.prompts, page.next_cursor)).await?;
        let argument = |a: rmcp::model::PromptArgument| McpPromptArgument {
            name: a.name,
            description: a.description,
            required: a.required.unwrap_or(false),
        };
        let prompt = |p: rmcp::model::Prompt| McpPrompt {
            name: p.name,
            description: p.description,
            arguments: p.arguments.unwrap_or_default().into_iter().map(argument).collect(),
        };
        Ok(listed.into_iter().map(prompt).collect())
    }

    /// A prompt's messages with these arguments in them.
    ///
    /// # Errors
    /// Those of a call; `InvalidOutput` for a bad name or arguments, or beyond the limit of a result.
    pub async fn prompt(&self, name: &str, arguments: &BTreeMap<String, String>) -> Result<Vec<Message>> {
        let arguments = arguments.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
        let mut params = GetPromptRequestParams::new(name);
        params.arguments = Some(arguments);
        let asked = self.0.peer().get_prompt_once(params);
        let GetPromptResponse::Complete(result) = self.0.bounded(&Context::new(), asked).await? else {
            return Err(asks_back());
        };
        let (roles, blocks): (Vec<Role>, Vec<_>) = result
            .messages
            .into_iter()
            .map(|m| match m.role {
                rmcp::model::Role::User => (Role::User, m.content),
                rmcp::model::Role::Assistant => (Role::Assistant, m.content),
            })
            .unzip();
        let parts = content::from_blocks(blocks, self.0.limits().max_result_bytes)?;
        Ok(roles.into_iter().zip(parts).map(|(role, part)| Message::new(role, vec![part])).collect())
    }

    /// The server's resources.
    ///
    /// # Errors
    /// Those of a call; `Unsupported` if the server has no resources; `InvalidOutput` beyond the limit.
    pub async fn resources(&self) -> Result<Vec<McpResource>> {
        let peer = self.0.peer();
        let listed = self
            .0
            .pages(|p| peer.list_resources(p).boxed(), |page| (page.resources, page.next_cursor))
            .await?;
        let resource = |r: rmcp::model::Resource| McpResource {
            uri: r.uri,
            name: r.name,
            description: r.description,
            mime: r.mime_type,
        };
        Ok(listed.into_iter().map(resource).collect())
    }

    /// What a resource holds: texts and files, in order.
    ///
    /// # Errors
    /// Those of a call; `NotFound`; `InvalidOutput` beyond the limit of a result.
    pub async fn read_resource(&self, uri: &str) -> Result<Vec<Part>> {
        let params = ReadResourceRequestParams::new(uri);
        let asked = self.0.peer().read_resource_once(params);
        let ReadResourceResponse::Complete(result) = self.0.bounded(&Context::new(), asked).await? else {
            return Err(asks_back());
        };
        let blocks = result.contents.into_iter().map(rmcp::model::ContentBlock::resource).collect();
        content::from_blocks(blocks, self.0.limits().max_result_bytes)
    }
}
