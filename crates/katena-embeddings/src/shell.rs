//! What every embedder does around its wire: batches, concurrency, checks, identity.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use katena_core::{Context, EmbedRequest, EmbedResponse, EmbedRole, EmbedderInfo, Error, Result, Usage};
use katena_http::{Endpoint, HttpClient, HttpRequest, Secret, TokenSource};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::auth::Auth;
use crate::batch::BatchLimits;
use crate::model::{Prefixes, Resolved, Truncate};
use crate::vectors;

/// What one call asks for.
pub(crate) struct Call<'a> {
    pub(crate) model: &'a str,
    pub(crate) texts: &'a [Cow<'a, str>],
    pub(crate) role: EmbedRole,
    /// Set if other dimensions than the model's own are asked for.
    pub(crate) dimensions: Option<usize>,
    pub(crate) truncate: Truncate,
}

impl Call<'_> {
    /// The word for a query or the one for a document.
    #[allow(dead_code, reason = "each vendor is a feature")]
    pub(crate) fn by_role<T>(&self, query: T, document: T) -> T {
        match self.role {
            EmbedRole::Query => query,
            _ => document,
        }
    }
}

/// A vendor's wire: pure functions from call to body and from reply to vectors.
pub(crate) trait Wire: Clone + Send + Sync + 'static {
    type Reply: DeserializeOwned + Send;
    /// The path below the base address.
    fn path(&self, call: &Call<'_>) -> String;
    /// The body, a JSON object.
    fn body(&self, call: &Call<'_>) -> Value;
    /// The vectors in order, and the usage. Counts and lengths are checked by the shell.
    fn read(&self, reply: Self::Reply) -> Result<EmbedResponse>;
    /// Which of its settings change the vectors, as `&name=value`.
    fn space(&self) -> String {
        String::new()
    }
}

#[derive(Clone)]
pub(crate) struct Shell<W> {
    pub(crate) client: HttpClient,
    pub(crate) endpoint: Endpoint,
    pub(crate) auth: Auth,
    pub(crate) wire: W,
    pub(crate) vendor: String,
    model: String,
    info: EmbedderInfo,
    /// The caller's own name for the vector space.
    space: Option<String>,
    asked: Option<usize>,
    truncate: Truncate,
    pub(crate) limits: BatchLimits,
    concurrency: usize,
    prefixes: Prefixes,
    extra: Map<String, Value>,
}

impl<W: Wire> Shell<W> {
    pub(crate) fn new(
        vendor: &str,
        endpoint: Endpoint,
        model: Resolved,
        wire: W,
        limits: BatchLimits,
    ) -> Self {
        let mut info = EmbedderInfo::new("", model.dimensions);
        info.max_tokens = model.max_tokens;
        let shell = Self {
            client: HttpClient::new(),
            endpoint: endpoint.with_vendor(vendor.to_owned()),
            auth: Auth::Headers,
            wire,
            vendor: vendor.to_owned(),
            model: model.name,
            info,
            space: None,
            asked: None,
            truncate: Truncate::Refuse,
            limits,
            concurrency: 4,
            prefixes: Prefixes::default(),
            extra: Map::new(),
        };
        shell.named()
    }

    /// Changes settings and names the vector space anew.
    pub(crate) fn set(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self.named()
    }

    fn named(mut self) -> Self {
        self.info.model = self.space.clone().unwrap_or_else(|| {
            let mut name =
                vec![format!("{}/{}?dimensions={}", self.vendor, self.model, self.info.dimensions)];
            name.push(self.wire.space());
            if self.prefixes != Prefixes::default() {
                name.push(format!("&query={:?}&document={:?}", self.prefixes.query, self.prefixes.document));
            }
            if self.truncate == Truncate::End {
                name.push("&truncate=end".to_owned());
            }
            if !self.info.normalized {
                name.push("&raw".to_owned());
            }
            if !self.extra.is_empty() {
                name.push(format!("&extra={}", Value::Object(self.extra.clone())));
            }
            name.concat()
        });
        self
    }

    pub(crate) fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    pub(crate) fn set_base(mut self, base: &str) -> Result<Self> {
        self.endpoint = self.endpoint.with_base(base)?;
        Ok(self)
    }

    pub(crate) fn set_vendor(&mut self, vendor: &str) {
        vendor.clone_into(&mut self.vendor);
        self.endpoint = self.endpoint.clone().with_vendor(vendor.to_owned());
    }

    pub(crate) fn set_header(&mut self, name: String, value: Secret) {
        self.endpoint = self.endpoint.clone().with_header(name, value);
    }

    #[allow(dead_code, reason = "each vendor is a feature")]
    pub(crate) fn set_key(&mut self, key: Secret) {
        if !key.is_empty() {
            self.endpoint = self.endpoint.clone().with_bearer(key);
        }
    }

    #[allow(dead_code, reason = "each vendor is a feature")]
    pub(crate) fn set_tokens(&mut self, source: Arc<dyn TokenSource>) {
        self.auth = Auth::Token(source);
    }

    pub(crate) fn set_space(&mut self, space: String) {
        self.space = Some(space);
    }

    #[allow(dead_code, reason = "each vendor is a feature")]
    pub(crate) fn set_dimensions(&mut self, dimensions: usize) {
        let dimensions = dimensions.max(1);
        self.asked = Some(dimensions);
        self.info.dimensions = dimensions;
    }

    pub(crate) fn set_raw(&mut self) {
        self.info.normalized = false;
    }

    pub(crate) fn set_max_tokens(&mut self, tokens: usize) {
        self.info.max_tokens = Some(tokens);
    }

    #[allow(dead_code, reason = "each vendor is a feature")]
    pub(crate) fn set_truncate(&mut self, truncate: Truncate) {
        self.truncate = truncate;
    }

    pub(crate) fn set_concurrency(&mut self, calls: usize) {
        self.concurrency = calls.max(1);
    }

    pub(crate) fn set_prefixes(&mut self, query: String, document: String) {
        self.prefixes = Prefixes { query, document };
    }

    pub(crate) fn set_extra(&mut self, name: String, value: Value) {
        self.extra.insert(name, value);
    }

    pub(crate) fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }

    /// Measures the model by embedding one word, which also shows that address and key are right.
    pub(crate) async fn connect(mut self, context: &Context) -> Result<Self> {
        context.check()?;
        let texts = ["dimensions".to_owned()];
        let stated = Some(self.info.dimensions).filter(|n| *n > 0);
        let response = self.batch(&texts, EmbedRole::Document, context, stated).await?;
        self.info.dimensions = response.vectors.first().map_or(0, Vec::len);
        Ok(self.named())
    }

    pub(crate) async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        if self.info.dimensions == 0 {
            return Err(self.mark(Error::config("this embedder is not measured yet: call connect first")));
        }
        if let Some(at) = request.texts.iter().position(|t| t.trim().is_empty()) {
            let error = Error::invalid_input("an empty text can't be embedded; nothing was sent");
            return Err(self.mark(error.with_context("text", at.to_string())));
        }
        let batches = self.limits.split(request.texts.iter().map(String::len));
        let several = batches.len() > 1;
        let calls: Vec<_> = batches
            .into_iter()
            .enumerate()
            .map(|(n, range)| async move {
                let texts = &request.texts[range.clone()];
                let done =
                    self.batch(texts, request.role, &request.context, Some(self.info.dimensions)).await;
                let place = |e: Error| {
                    if several {
                        e.with_context("texts", format!("{}..{}", range.start, range.end))
                    } else {
                        e
                    }
                };
                done.map(|response| (n, response)).map_err(place)
            })
            .collect();
        let mut parts: Vec<Option<EmbedResponse>> = vec![None; calls.len()];
        let mut running = stream::iter(calls).buffer_unordered(self.concurrency);
        // The first failure ends the call; dropping the others closes their connections.
        while let Some(done) = running.next().await {
            let (n, response) = done?;
            parts[n] = Some(response);
        }
        let mut all = EmbedResponse::new(Vec::with_capacity(request.texts.len()));
        let mut known = true;
        for part in parts.into_iter().flatten() {
            all.vectors.extend(part.vectors);
            all.usage += part.usage;
            known &= part.usage.input_tokens.is_some();
        }
        // A sum in which a batch is missing would be too small.
        if !known {
            all.usage = Usage::default();
        }
        Ok(all)
    }

    fn mark(&self, error: Error) -> Error {
        error.with_vendor(self.vendor.clone())
    }

    async fn batch(
        &self,
        texts: &[String],
        role: EmbedRole,
        context: &Context,
        dimensions: Option<usize>,
    ) -> Result<EmbedResponse> {
        let request = self.request(texts, role).map_err(|e| self.mark(e))?;
        let request = self.auth.apply(request.with_context(context.clone()), context).await;
        let reply = self.client.send(request.map_err(|e| self.mark(e))?).await?;
        let mut response =
            reply.json::<W::Reply>().and_then(|r| self.wire.read(r)).map_err(|e| reply.mark(e))?;
        vectors::check(&response.vectors, texts.len(), dimensions).map_err(|e| reply.mark(e))?;
        if self.info.normalized {
            for vector in &mut response.vectors {
                vectors::normalize(vector).map_err(|e| reply.mark(e))?;
            }
        }
        Ok(response)
    }

    /// The call for one batch.
    pub(crate) fn request(&self, texts: &[String], role: EmbedRole) -> Result<HttpRequest> {
        let texts: Vec<Cow<'_, str>> = texts.iter().map(|t| self.prefixes.apply(role, t)).collect();
        let call =
            Call { model: &self.model, texts: &texts, role, dimensions: self.asked, truncate: self.truncate };
        let mut body = self.wire.body(&call);
        merge(&mut body, &self.extra)?;
        let request = HttpRequest::post(&self.endpoint, &self.wire.path(&call))?.with_json(&body)?;
        Ok(request.with_header("accept", "application/json"))
    }
}

/// Adds the caller's fields. One that says again what is set already is a contradiction.
pub(crate) fn merge(body: &mut Value, extra: &Map<String, Value>) -> Result<()> {
    let Some(body) = body.as_object_mut() else { return Ok(()) };
    for (name, value) in extra {
        if body.contains_key(name) {
            return Err(Error::invalid_input("an extra repeats a field that is set already")
                .with_context("field", name.clone()));
        }
        body.insert(name.clone(), value.clone());
    }
    Ok(())
}
