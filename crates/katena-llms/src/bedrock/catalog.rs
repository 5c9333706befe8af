//! Which models there are, and how many tokens a prompt has.

use async_trait::async_trait;
use katena_core::{ChatCapabilities, ChatRequest, Error, ModelCatalog, ModelInfo, Result, TokenCounter};
use serde_json::{Value, json};

use super::family::ModelFamily;
use super::link::VENDOR;
use super::{BedrockChat, encode};

/// The models of the region, by `ListFoundationModels`. Those that don't write text are left out.
#[async_trait]
impl ModelCatalog for BedrockChat {
    async fn models(&self) -> Result<Vec<ModelInfo>> {
        let call = self.link.prove(self.link.control_call("foundation-models")?).await?;
        let reply = self.link.client.send(call).await?;
        let raw: Value = reply.json()?;
        let list = raw.get("modelSummaries").and_then(Value::as_array);
        let list =
            list.ok_or_else(|| reply.mark(Error::invalid_output("the server's reply lists no models")))?;
        Ok(list.iter().filter_map(model).collect())
    }
}

fn model(value: &Value) -> Option<ModelInfo> {
    let id = value.get("modelId")?.as_str()?;
    let has = |key: &str, word: &str| {
        value.get(key).and_then(Value::as_array).is_none_or(|list| list.iter().any(|m| m == word))
    };
    if !has("outputModalities", "TEXT") {
        return None;
    }
    let family = ModelFamily::of(id).capabilities();
    let mut can = ChatCapabilities::none().with_stop().with_usage();
    can.tools = family.tools;
    can.files = family.files;
    can.prompt_cache = family.prompt_cache;
    can.reasoning = family.reasoning;
    can.top_k = family.top_k;
    can.images = has("inputModalities", "IMAGE");
    can.video = has("inputModalities", "VIDEO");
    can.audio = has("inputModalities", "SPEECH") || has("inputModalities", "AUDIO");
    Some(ModelInfo::new(VENDOR, id).with_capabilities(can))
}

/// By `CountTokens`, which some models have.
#[async_trait]
impl TokenCounter for BedrockChat {
    async fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        request.context.check()?;
        if request.messages.is_empty() {
            return Err(Error::invalid_input("a chat request needs at least one message").with_vendor(VENDOR));
        }
        let prompt =
            encode::prompt(request, &self.info, &self.system_tools).map_err(|e| e.with_vendor(VENDOR))?;
        count(&self.link, &self.info.model, json!({"converse": prompt}), request).await
    }
}

pub(super) async fn count(
    link: &super::Link,
    model: &str,
    input: Value,
    request: &ChatRequest,
) -> Result<u64> {
    let call = link.call(model, "count-tokens")?.with_json(&json!({"input": input}))?;
    let call = link.prove(call.with_context(request.context.clone())).await?;
    let reply = link.client.send(call).await?;
    let raw: Value = reply.json()?;
    let count = raw.get("inputTokens").and_then(Value::as_u64);
    count.ok_or_else(|| reply.mark(Error::invalid_output("the server's reply holds no count of tokens")))
}
