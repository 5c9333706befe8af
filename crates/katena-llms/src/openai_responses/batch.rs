//! What the model lends to its batches.

use async_trait::async_trait;
use katena_core::{ChatRequest, ChatResponse, Context, ModelInfo, Result};
use katena_http::{Endpoint, HttpClient, HttpRequest};
use serde_json::Value;

use super::{OpenAiResponses, decode_response};
use crate::batches::Batched;
use crate::openai_shared::Reply;

#[async_trait]
impl Batched for OpenAiResponses {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    fn client(&self) -> &HttpClient {
        &self.link.client
    }
    fn endpoint(&self) -> &Endpoint {
        &self.link.endpoint
    }
    fn encode(&self, request: &ChatRequest) -> Result<Value> {
        crate::batches::value_of(&self.body(request, Reply::Whole)?)
    }
    fn decode(&self, raw: Value) -> Result<ChatResponse> {
        decode_response(raw, &self.info.vendor)
    }
    async fn open(&self, call: HttpRequest, context: &Context) -> Result<HttpRequest> {
        self.link.authorized(call, context).await
    }
}
