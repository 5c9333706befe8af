//! Counting the tokens of a request, and listing models.

use async_trait::async_trait;
use katena_core::{ChatRequest, Error, ModelCatalog, ModelInfo, Result, TokenCounter};
use katena_http::HttpRequest;
use serde_json::Value;

use super::encode::{Reply, Target};
use super::place::below_v1;
use super::{AnthropicChat, info};

/// More pages than any list has.
const MAX_PAGES: usize = 100;

#[async_trait]
impl TokenCounter for AnthropicChat {
    async fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        let call = self.call(request, Reply::Count).await?;
        let reply = self.client.send(call).await?;
        let counted: Value = reply.json()?;
        counted["input_tokens"]
            .as_u64()
            .ok_or_else(|| reply.mark(Error::invalid_output("the server's reply has no count of tokens")))
    }
}

/// On Vertex AI there is no route for it: `Unsupported`.
#[async_trait]
impl ModelCatalog for AnthropicChat {
    async fn models(&self) -> Result<Vec<ModelInfo>> {
        if self.place.target() != Target::Api {
            return Err(
                Error::unsupported("this place has no list of models").with_vendor(self.info.vendor.clone())
            );
        }
        let (mut models, mut after) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let mut call = HttpRequest::get(&self.endpoint, &below_v1(&self.endpoint, "models"))?;
            call = call.with_query("limit", "1000");
            if let Some(after) = &after {
                call = call.with_query("after_id", after);
            }
            let reply = self.client.send(call).await?;
            let page: Value = reply.json()?;
            let Some(list) = page["data"].as_array() else {
                return Err(reply.mark(Error::invalid_output("the server's reply is no list of models")));
            };
            for model in list {
                let Some(id) = model["id"].as_str() else {
                    return Err(reply.mark(Error::invalid_output("the server lists a model without a name")));
                };
                let mut info = info(&self.info.vendor, id);
                let window = model["max_input_tokens"].as_u64().and_then(|n| u32::try_from(n).ok());
                info.context_tokens = window.filter(|n| *n > 0).or(info.context_tokens);
                models.push(info);
            }
            let next = page["last_id"].as_str().map(str::to_owned);
            if page["has_more"] != true || next.is_none() || next == after {
                return Ok(models);
            }
            after = next;
        }
        Err(Error::invalid_output("the server's list of models does not end")
            .with_vendor(self.info.vendor.clone()))
    }
}
