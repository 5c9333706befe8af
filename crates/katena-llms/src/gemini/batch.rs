//! What the model lends to its batches.

use async_trait::async_trait;
use katena_core::{ChatRequest, ChatResponse, Context, ModelInfo, Result};
use katena_http::{Endpoint, HttpClient, HttpRequest};
use serde_json::Value;

use super::{GeminiChat, Service, encode, wire};
use crate::batches::Batched;

impl GeminiChat {
    /// True at the Developer API.
    pub(crate) fn is_developer(&self) -> bool {
        self.service == Service::Developer
    }

    /// The model's path below the base address.
    pub(crate) fn model_path(&self) -> String {
        self.path()
    }
}

#[async_trait]
impl Batched for GeminiChat {
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
        encode::body(request, &self.info, self.style).map(Value::Object)
    }
    fn decode(&self, raw: Value) -> Result<ChatResponse> {
        wire::decode_response(raw, &self.info.vendor)
    }
    async fn open(&self, call: HttpRequest, context: &Context) -> Result<HttpRequest> {
        context.cancel.guard(self.authorized(call.with_context(context.clone()))).await
    }
}
