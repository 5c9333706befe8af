//! What the model lends to its batches.

use async_trait::async_trait;
use katena_core::{ChatRequest, ChatResponse, Context, ModelInfo, Result};
use katena_http::{Endpoint, HttpClient, HttpRequest};
use serde_json::Value;

use super::AnthropicChat;
use super::encode::{self, Reply, Target};
use crate::batches::Batched;

impl AnthropicChat {
    /// True at the vendor's own API.
    pub(crate) fn is_api(&self) -> bool {
        self.place.target() == Target::Api
    }

    /// The beta features of all these requests.
    pub(crate) fn betas_of<'a>(
        &self,
        requests: impl Iterator<Item = &'a ChatRequest>,
    ) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for request in requests {
            for name in encode::betas(request, &self.settings)? {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        Ok(all)
    }
}

#[async_trait]
impl Batched for AnthropicChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    fn client(&self) -> &HttpClient {
        &self.client
    }
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
    fn encode(&self, request: &ChatRequest) -> Result<Value> {
        let body = encode::body(request, &self.info, &self.settings, self.place.target(), Reply::Whole)?;
        crate::batches::value_of(&body)
    }
    fn decode(&self, raw: Value) -> Result<ChatResponse> {
        self.decode(raw)
    }
    async fn open(&self, call: HttpRequest, context: &Context) -> Result<HttpRequest> {
        self.place.open(call, context).await
    }
}
