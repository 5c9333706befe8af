//! The guard around a chat model.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use katena_core::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, Context, Error, ErrorKind, Layer, ModelInfo, Part,
    Result,
};

use super::{Check, Guard, apply, apply_to, stream};

#[derive(Debug)]
pub(super) struct Guarded<S: ?Sized> {
    pub(super) guard: Guard,
    pub(super) inner: Arc<S>,
}

impl Layer<dyn ChatModel> for Guard {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Guarded { guard: self.clone(), inner })
    }
}

/// Checks every text of a part; `true` if something changed.
pub(super) fn check_part<'a>(
    checks: &'a [Arc<dyn Check>],
    side: &'static str,
    part: &'a mut Part,
    context: &'a Context,
) -> BoxFuture<'a, Result<bool>> {
    Box::pin(async move {
        match part {
            Part::Text { text } | Part::Refusal { text } => apply_to(checks, side, text, context).await,
            Part::Reasoning { text, signature } => {
                let changed = apply_to(checks, side, text, context).await?;
                if changed {
                    // It vouches for the text as it was.
                    *signature = None;
                }
                Ok(changed)
            }
            Part::ToolCall(call) => apply_to(checks, side, &mut call.arguments, context).await,
            Part::ToolResult(result) => {
                let mut changed = false;
                for part in &mut result.parts {
                    changed |= check_part(checks, side, part, context).await?;
                }
                Ok(changed)
            }
            Part::Opaque { value, .. } if !checks.is_empty() => {
                let Some(new) = apply(checks, side, &value.to_string(), context).await? else {
                    return Ok(false);
                };
                *value = serde_json::from_str(&new).map_err(|_| {
                    Error::new(ErrorKind::Refused, "a guard can't redact a vendor's opaque item")
                        .with_context("side", side)
                })?;
                Ok(true)
            }
            _ => Ok(false),
        }
    })
}

/// Checks an answer. What else holds its text goes if it changed.
async fn check_response(
    checks: &[Arc<dyn Check>],
    response: &mut ChatResponse,
    context: &Context,
) -> Result<()> {
    let mut changed = false;
    for part in &mut response.message.parts {
        changed |= check_part(checks, "output", part, context).await?;
    }
    if changed {
        response.raw = None;
        response.logprobs = None;
    }
    Ok(())
}

impl Guarded<dyn ChatModel> {
    async fn checked<'a>(&self, request: &'a ChatRequest) -> Result<Cow<'a, ChatRequest>> {
        request.context.check()?;
        let checks = &self.guard.input;
        if checks.is_empty() {
            return Ok(Cow::Borrowed(request));
        }
        let mut new = request.clone();
        let mut changed = false;
        for message in new.messages.iter_mut().filter(|m| self.guard.checks_role(m.role)) {
            for part in &mut message.parts {
                changed |= check_part(checks, "input", part, &request.context).await?;
            }
        }
        Ok(if changed { Cow::Owned(new) } else { Cow::Borrowed(request) })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Guarded<dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let request = self.checked(request).await?;
        let mut response = self.inner.generate(&request).await?;
        check_response(&self.guard.output, &mut response, &request.context).await?;
        Ok(response)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let request = self.checked(request).await?;
        let stream = self.inner.stream(&request).await?;
        if self.guard.output.is_empty() {
            return Ok(stream);
        }
        Ok(stream::guarded(stream, self.guard.output.clone(), request.context.clone()).boxed())
    }
}
