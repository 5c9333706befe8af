//! What every reranker does around its wire, and the reply that they all share.

use std::fmt;

use futures_util::stream::{self, StreamExt as _};
use katena_core::{Context, Document, Error, RerankRequest, Result, Scored};
use katena_http::{Endpoint, HttpClient, HttpRequest};
use serde_json::{Map, Value};

use crate::auth::Auth;
use crate::batch::BatchLimits;
use crate::{shell, vectors};

/// What one call asks for.
pub(crate) struct RerankCall<'a> {
    pub(crate) model: &'a str,
    pub(crate) query: &'a str,
    pub(crate) texts: &'a [&'a str],
    /// Only the best so many, fewer than there are texts.
    pub(crate) top: Option<usize>,
}

/// A vendor's wire; the reply is [`decode_rerank`]'s for all.
pub(crate) trait RerankWire: Clone + Send + Sync + 'static {
    /// The path below the base address.
    fn path(&self, call: &RerankCall<'_>) -> String;
    /// The body, a JSON object.
    fn body(&self, call: &RerankCall<'_>) -> Value;
}

#[derive(Clone)]
pub(crate) struct RerankShell<W> {
    pub(crate) client: HttpClient,
    pub(crate) endpoint: Endpoint,
    pub(crate) auth: Auth,
    pub(crate) wire: W,
    pub(crate) model: String,
    pub(crate) limits: BatchLimits,
    pub(crate) concurrency: usize,
    pub(crate) extra: Map<String, Value>,
}

/// Reads a reranker's reply: numbers of documents with their scores, best first, ties in the documents' order.
///
/// Understands `results` (Cohere, Jina, llama.cpp, Bedrock), `data` (Voyage) and a bare list (Text Embeddings
/// Inference), with the score named `relevance_score`, `relevanceScore` or `score`.
///
/// # Errors
/// Kind `InvalidOutput` if the reply is none of these, a score is not finite, or a document comes twice; the vendor's
/// error if the reply holds one.
///
/// ```
/// let raw = serde_json::json!({"results": [{"index": 1, "relevance_score": 0.2}, {"index": 0, "relevance_score": 0.9}]});
/// let ranked = katena_embeddings::decode_rerank(raw)?;
/// assert_eq!((ranked[0].item, ranked[0].score), (0, 0.9));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_rerank(raw: Value) -> Result<Vec<Scored<usize>>> {
    let bad = |what: &'static str| {
        Error::invalid_output("the server's ranking can't be understood").with_context("why", what)
    };
    let list = match raw {
        Value::Array(list) => list,
        Value::Object(mut object) => {
            vectors::no_error(object.get("error"))?;
            match ["results", "data"].into_iter().find_map(|k| object.remove(k)) {
                Some(Value::Array(list)) => list,
                _ => return Err(bad("no list of results")),
            }
        }
        _ => return Err(bad("no list of results")),
    };
    let mut ranked = Vec::with_capacity(list.len());
    for entry in &list {
        let index = entry.get("index").and_then(Value::as_u64).and_then(|i| usize::try_from(i).ok());
        let score =
            ["relevance_score", "relevanceScore", "score"].into_iter().find_map(|k| entry.get(k)?.as_f64());
        let (Some(index), Some(score)) = (index, score) else { return Err(bad("no index or no score")) };
        let score = score as f32;
        if !score.is_finite() {
            return Err(bad("a score is not finite"));
        }
        ranked.push(Scored::new(index, score));
    }
    let mut seen: Vec<usize> = ranked.iter().map(|r| r.item).collect();
    seen.sort_unstable();
    if seen.windows(2).any(|w| w[0] == w[1]) {
        return Err(bad("a document comes twice"));
    }
    sort(&mut ranked);
    Ok(ranked)
}

/// Best first; equal scores keep the documents' order.
fn sort(ranked: &mut [Scored<usize>]) {
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
}

impl<W: RerankWire> RerankShell<W> {
    pub(crate) fn new(vendor: &str, endpoint: Endpoint, model: String, wire: W, limits: BatchLimits) -> Self {
        Self {
            client: HttpClient::new(),
            endpoint: endpoint.with_vendor(vendor.to_owned()),
            auth: Auth::Headers,
            wire,
            model,
            limits,
            concurrency: 4,
            extra: Map::new(),
        }
    }

    pub(crate) fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("model", &self.model)
            .field("endpoint", &self.endpoint)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }

    pub(crate) async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let RerankRequest { query, documents, top_k, context, .. } = request;
        context.check()?;
        let top = top_k.unwrap_or(usize::MAX).min(documents.len());
        if top == 0 {
            return Ok(Vec::new());
        }
        let (sent, blank): (Vec<usize>, Vec<usize>) =
            (0..documents.len()).partition(|n| !documents[*n].text.trim().is_empty());
        let texts: Vec<&str> = sent.iter().map(|n| documents[*n].text.as_str()).collect();
        if query.trim().is_empty() {
            let error = Error::invalid_input("an empty query ranks nothing; nothing was sent");
            return Err(self.mark(error));
        }
        let mut ranked = self.ask(&query, &texts, top, &context).await?;
        for one in &mut ranked {
            one.item = sent[one.item];
        }
        let lowest = ranked.iter().map(|r| r.score).fold(0.0, f32::min);
        ranked.extend(blank.into_iter().map(|n| Scored::new(n, lowest)));
        ranked.truncate(top);
        let mut documents: Vec<Option<Document>> = documents.into_iter().map(Some).collect();
        let take = |r: Scored<usize>| documents[r.item].take().map(|d| Scored::new(d, r.score));
        Ok(ranked.into_iter().filter_map(take).collect())
    }

    fn mark(&self, error: Error) -> Error {
        match self.endpoint.vendor() {
            Some(vendor) => error.with_vendor(vendor.to_owned()),
            None => error,
        }
    }

    /// Ranks all texts, in as many calls as are needed.
    async fn ask(
        &self,
        query: &str,
        texts: &[&str],
        top: usize,
        context: &Context,
    ) -> Result<Vec<Scored<usize>>> {
        let batches = self.limits.split(texts.iter().map(|t| t.len()));
        let calls: Vec<_> = batches
            .into_iter()
            .map(|range| async move {
                let part = &texts[range.clone()];
                let mut ranked = self.batch(query, part, top, context).await?;
                for one in &mut ranked {
                    one.item += range.start;
                }
                Ok::<_, Error>(ranked)
            })
            .collect();
        let mut all = Vec::new();
        let mut running = stream::iter(calls).buffer_unordered(self.concurrency);
        while let Some(done) = running.next().await {
            all.extend(done?);
        }
        sort(&mut all);
        Ok(all)
    }

    async fn batch(
        &self,
        query: &str,
        texts: &[&str],
        top: usize,
        context: &Context,
    ) -> Result<Vec<Scored<usize>>> {
        let call =
            RerankCall { model: &self.model, query, texts, top: Some(top).filter(|top| *top < texts.len()) };
        let mut body = self.wire.body(&call);
        shell::merge(&mut body, &self.extra).map_err(|e| self.mark(e))?;
        let request = HttpRequest::post(&self.endpoint, &self.wire.path(&call))?
            .with_json(&body)?
            .with_header("accept", "application/json")
            .with_context(context.clone());
        let request = self.auth.apply(request, context).await.map_err(|e| self.mark(e))?;
        let reply = self.client.send(request).await?;
        let ranked = reply.json::<Value>().and_then(decode_rerank).map_err(|e| reply.mark(e))?;
        let wanted = call.top.unwrap_or(texts.len());
        let known = ranked.iter().all(|r| r.item < texts.len());
        if !known || ranked.len() < wanted {
            return Err(reply.mark(
                Error::invalid_output("the server did not rank the documents that it was sent")
                    .with_context("sent", texts.len().to_string())
                    .with_context("ranked", ranked.len().to_string()),
            ));
        }
        Ok(ranked)
    }
}

#[cfg(test)]
#[path = "rerank_tests.rs"]
mod tests;
