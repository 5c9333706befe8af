//! Spans around embedders, rerankers, retrievers, vector stores and tools.

use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    Context, CountRequest, DeleteRequest, Document, EmbedRequest, EmbedResponse, Embedder, EmbedderInfo,
    GetRequest, Layer, Query, Record, RecordStore, RerankRequest, Reranker, Result, Retriever, Run, Scored,
    StoreInfo, Tokenizer, Tool, ToolCall, ToolOutput, ToolSpec, UpsertRequest, VectorQuery, VectorStore,
};
use tracing::field::Empty;
use tracing::{Instrument as _, Level, Span, event, info_span};

use super::chat::Traced;
use super::{Answer, Trace, What, labels};

impl Trace {
    /// Runs `call` inside of `span` and records how it ended.
    async fn around<T>(
        &self,
        span: Span,
        what: What,
        call: impl Future<Output = Result<T>>,
        look: impl FnOnce(&T, &Span),
    ) -> Result<T> {
        let mut observed = self.observe(span.clone(), what);
        let result = call.instrument(span.clone()).await;
        match &result {
            Ok(value) => {
                look(value, &span);
                observed.finish(&Answer::default());
            }
            Err(error) => observed.fail(error),
        }
        result
    }
}

fn what(operation: &'static str, model: &str, context: &Context) -> What {
    What { operation, vendor: String::new(), model: model.to_owned(), labels: context.labels.clone() }
}

impl Layer<dyn Embedder> for Trace {
    fn layer(&self, inner: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        Arc::new(Traced { trace: self.clone(), inner })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for Traced<dyn Embedder> {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let info = self.inner.info();
        let span = info_span!(
            "embeddings",
            otel.name = format!("embeddings {}", info.model),
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "embeddings",
            gen_ai.request.model = %info.model,
            gen_ai.embeddings.dimension.count = info.dimensions,
            gen_ai.usage.input_tokens = Empty,
            "error.type" = Empty,
            katena.labels = labels(&request.context.labels),
            katena.texts = request.texts.len(),
            katena.cost = Empty,
        );
        let mut observed =
            self.trace.observe(span.clone(), what("embeddings", &info.model, &request.context));
        let result = self.inner.embed(request).instrument(span).await;
        match &result {
            Ok(response) => observed.finish(&Answer { usage: response.usage, ..Answer::default() }),
            Err(error) => observed.fail(error),
        }
        result
    }
}

impl Layer<dyn Reranker> for Trace {
    fn layer(&self, inner: Arc<dyn Reranker>) -> Arc<dyn Reranker> {
        Arc::new(Traced { trace: self.clone(), inner })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Reranker for Traced<dyn Reranker> {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let span = info_span!(
            "rerank",
            otel.status_code = Empty,
            gen_ai.operation.name = "rerank",
            "error.type" = Empty,
            katena.labels = labels(&request.context.labels),
            katena.documents = request.documents.len(),
            katena.results = Empty,
        );
        let what = what("rerank", "", &request.context);
        let count = |ranked: &Vec<Scored<Document>>, span: &Span| {
            span.record("katena.results", ranked.len());
        };
        self.trace.around(span, what, self.inner.rerank(request), count).await
    }
}

impl Layer<dyn Retriever> for Trace {
    fn layer(&self, inner: Arc<dyn Retriever>) -> Arc<dyn Retriever> {
        Arc::new(Traced { trace: self.clone(), inner })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Retriever for Traced<dyn Retriever> {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        let span = info_span!(
            "retrieval",
            otel.status_code = Empty,
            gen_ai.operation.name = "retrieval",
            "error.type" = Empty,
            katena.labels = labels(&query.context.labels),
            katena.results = Empty,
        );
        let shows = self.trace.shows_contents();
        if shows {
            span.in_scope(|| event!(target: "katena::contents", Level::INFO, katena.query = query.text));
        }
        let look = |found: &Vec<Scored<Document>>, span: &Span| {
            span.record("katena.results", found.len());
            if shows {
                let texts: Vec<&str> = found.iter().map(|f| f.item.text.as_str()).collect();
                let texts = serde_json::to_string(&texts).unwrap_or_default();
                span.in_scope(|| event!(target: "katena::contents", Level::INFO, katena.passages = texts));
            }
        };
        let what = what("retrieval", "", &query.context);
        self.trace.around(span, what, self.inner.retrieve(query), look).await
    }
}

impl Layer<dyn Tool> for Trace {
    fn layer(&self, inner: Arc<dyn Tool>) -> Arc<dyn Tool> {
        Arc::new(Traced { trace: self.clone(), inner })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Tool for Traced<dyn Tool> {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let name = &self.inner.spec().name;
        let span = info_span!(
            "execute_tool",
            otel.name = format!("execute_tool {name}"),
            otel.status_code = Empty,
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = %name,
            gen_ai.tool.call.id = %call.id,
            "gen_ai.tool.type" = "function",
            "error.type" = Empty,
            katena.labels = labels(&run.context().labels),
        );
        let shows = self.trace.shows_contents();
        if shows {
            let arguments = call.arguments.as_str();
            span.in_scope(
                || event!(target: "katena::contents", Level::INFO, gen_ai.tool.call.arguments = arguments),
            );
        }
        let look = |output: &ToolOutput, span: &Span| {
            if shows {
                let text = output.text();
                span.in_scope(
                    || event!(target: "katena::contents", Level::INFO, gen_ai.tool.call.result = text),
                );
            }
        };
        let what = what("execute_tool", name, run.context());
        self.trace.around(span, what, self.inner.call(call, run), look).await
    }
}

impl Layer<dyn VectorStore> for Trace {
    fn layer(&self, inner: Arc<dyn VectorStore>) -> Arc<dyn VectorStore> {
        Arc::new(Traced { trace: self.clone(), inner })
    }
}

impl Traced<dyn VectorStore> {
    /// A database span; `rows` counts what the call gave.
    async fn call<T>(
        &self,
        operation: &'static str,
        namespace: &str,
        context: &Context,
        call: impl Future<Output = Result<T>>,
        rows: impl FnOnce(&T) -> Option<usize>,
    ) -> Result<T> {
        let engine = &self.inner.info().engine;
        let span = info_span!(
            "vector_store",
            otel.name = format!("{operation} {namespace}"),
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = %engine,
            db.operation.name = operation,
            db.namespace = namespace,
            db.response.returned_rows = Empty,
            "error.type" = Empty,
            katena.labels = labels(&context.labels),
        );
        let look = |value: &T, span: &Span| {
            if let Some(rows) = rows(value) {
                span.record("db.response.returned_rows", rows);
            }
        };
        self.trace.around(span, what(operation, "", context), call, look).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl VectorStore for Traced<dyn VectorStore> {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        let (namespace, context) = (request.namespace.clone(), request.context.clone());
        self.call("upsert", &namespace, &context, self.inner.upsert(request), |()| None).await
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        let call = self.inner.search(query);
        self.call("search", &query.namespace, &query.context, call, |found| Some(found.len())).await
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        let call = self.inner.get(request);
        self.call("get", &request.namespace, &request.context, call, |found| Some(found.len())).await
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        self.call("delete", &request.namespace, &request.context, self.inner.delete(request), |_| None).await
    }

    async fn count(&self, request: &CountRequest) -> Result<u64> {
        self.call("count", &request.namespace, &request.context, self.inner.count(request), |_| None).await
    }

    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        self.inner.records()
    }
}
