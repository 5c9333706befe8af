//! The models of the service, and the vendor's own count of tokens.

use async_trait::async_trait;
use katena_core::{ChatCapabilities, ChatRequest, Error, ModelCatalog, ModelInfo, Result, TokenCounter};
use katena_http::HttpRequest;
use serde_json::{Map, Value, json};

use super::{GeminiChat, Service, encode, everything};

/// Pages of a list; more is no list that anybody sends.
const MAX_PAGES: usize = 100;

#[async_trait]
impl ModelCatalog for GeminiChat {
    /// The context window is the prompt's limit. A model that generates no content has no abilities.
    async fn models(&self) -> Result<Vec<ModelInfo>> {
        let path = if self.service == Service::Developer { "models" } else { "publishers/google/models" };
        let mut models = Vec::new();
        let mut page: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut call = HttpRequest::get(&self.endpoint, path)?;
            call =
                call.with_query("pageSize", if self.service == Service::Developer { "1000" } else { "100" });
            if let Some(page) = &page {
                call = call.with_query("pageToken", page);
            }
            let reply = self.client.send(self.authorized(call).await?).await?;
            let list: Value = reply.json()?;
            models.extend(models_of(&list, &self.info.vendor));
            page = super::wire::text(list.get("nextPageToken")).map(str::to_owned);
            if page.is_none() {
                return Ok(models);
            }
        }
        Err(Error::invalid_output("the list of models has no end").with_vendor(self.info.vendor.clone()))
    }
}

fn models_of(list: &Value, vendor: &str) -> Vec<ModelInfo> {
    let rows = ["models", "publisherModels"].iter().find_map(|key| list.get(key)?.as_array());
    rows.into_iter()
        .flatten()
        .filter_map(|row| {
            let name = row.get("name")?.as_str()?;
            let name = name.rsplit_once("models/").map_or(name, |(_, name)| name);
            let methods = row.get("supportedGenerationMethods").and_then(Value::as_array);
            let chats = methods.is_none_or(|m| m.iter().any(|m| m == "generateContent"));
            let mut can = if chats { everything() } else { ChatCapabilities::none() };
            if row.get("thinking").is_some_and(|t| t == false) {
                can.reasoning = false;
            }
            let mut info = ModelInfo::new(vendor, name).with_capabilities(can);
            info.context_tokens =
                row.get("inputTokenLimit").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
            Some(info)
        })
        .collect()
}

#[async_trait]
impl TokenCounter for GeminiChat {
    async fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        request.context.check()?;
        let vendor = &self.info.vendor;
        let mut body =
            encode::body(request, &self.info, self.style).map_err(|e| e.with_vendor(vendor.clone()))?;
        let body = if self.service == Service::Developer {
            // Beside contents the route takes nothing but a whole request.
            body.insert("model".to_owned(), json!(self.path()));
            json!({"generateContentRequest": body})
        } else {
            let counted = ["contents", "systemInstruction", "tools", "generationConfig"];
            Value::Object(
                body.into_iter().filter(|(key, _)| counted.contains(&key.as_str())).collect::<Map<_, _>>(),
            )
        };
        let path = format!("{}:countTokens", self.path());
        let call = HttpRequest::post(&self.endpoint, &path)?.with_json(&body)?;
        let call = self.authorized(call.with_context(request.context.clone())).await?;
        let reply = self.client.send(call).await?;
        let counts: Value = reply.json()?;
        counts
            .get("totalTokens")
            .and_then(Value::as_u64)
            .ok_or_else(|| reply.mark(Error::invalid_output("the server's reply has no count of tokens")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_both_services() {
        let list = json!({"models": [
            {"name": "models/gemini-2.5-flash", "inputTokenLimit": 1_048_576, "thinking": true,
                "supportedGenerationMethods": ["generateContent", "countTokens"]},
            {"name": "models/text-embedding-004", "supportedGenerationMethods": ["embedContent"]},
            {"strange": 1},
        ]});
        let models = models_of(&list, "gemini");
        assert_eq!(models.len(), 2);
        assert_eq!(models[0].model, "gemini-2.5-flash");
        assert_eq!(models[0].context_tokens, Some(1_048_576));
        assert!(models[0].capabilities.tools && models[0].capabilities.reasoning);
        assert_eq!(models[1].capabilities, ChatCapabilities::none());
        let list = json!({"publisherModels": [{"name": "publishers/google/models/gemini-2.5-pro"}]});
        assert_eq!(models_of(&list, "vertex")[0].model, "gemini-2.5-pro");
        assert!(models_of(&json!([]), "vertex").is_empty());
    }
}
