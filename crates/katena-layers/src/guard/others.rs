//! The guard around embedders, retrievers and tools.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    Document, EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Layer, Query, Result, Retriever, Run,
    Scored, Tokenizer, Tool, ToolCall, ToolOutput, ToolSpec,
};

use super::chat::{Guarded, check_part};
use super::{Guard, apply, apply_to};

impl Layer<dyn Embedder> for Guard {
    fn layer(&self, inner: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        Arc::new(Guarded { guard: self.clone(), inner })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for Guarded<dyn Embedder> {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        let mut request = Cow::Borrowed(request);
        for n in 0..request.texts.len() {
            if let Some(new) = apply(&self.guard.input, "input", &request.texts[n], &request.context).await? {
                request.to_mut().texts[n] = new;
            }
        }
        self.inner.embed(&request).await
    }
}

/// A redacted passage keeps its source and span, which then no longer give its text word for word.
impl Layer<dyn Retriever> for Guard {
    fn layer(&self, inner: Arc<dyn Retriever>) -> Arc<dyn Retriever> {
        Arc::new(Guarded { guard: self.clone(), inner })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Retriever for Guarded<dyn Retriever> {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        query.context.check()?;
        let mut query = Cow::Borrowed(query);
        if let Some(new) = apply(&self.guard.input, "input", &query.text, &query.context).await? {
            query.to_mut().text = new;
        }
        let mut found = self.inner.retrieve(&query).await?;
        for passage in &mut found {
            apply_to(&self.guard.output, "output", &mut passage.item.text, &query.context).await?;
        }
        Ok(found)
    }
}

impl Layer<dyn Tool> for Guard {
    fn layer(&self, inner: Arc<dyn Tool>) -> Arc<dyn Tool> {
        Arc::new(Guarded { guard: self.clone(), inner })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tool for Guarded<dyn Tool> {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }

    async fn call(&self, mut call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let context = run.context();
        context.check()?;
        apply_to(&self.guard.input, "input", &mut call.arguments, context).await?;
        let mut output = self.inner.call(call, run).await?;
        for part in &mut output.parts {
            check_part(&self.guard.output, "output", part, context).await?;
        }
        Ok(output)
    }
}
