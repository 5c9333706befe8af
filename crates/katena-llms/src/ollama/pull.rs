//! Fetching a model into a running Ollama.

use std::fmt;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use katena_core::{Context, Error, Result};
use katena_http::{Endpoint, ErrorDetails, HttpClient, HttpRequest};
use serde_json::{Value, json};

use crate::fields::{count, cut_off, parse, text, word};

/// Tells a running Ollama to fetch a model.
///
/// ```no_run
/// use futures_util::StreamExt;
/// use katena_core::Context;
/// use katena_llms::ollama::OllamaChat;
/// # async fn f() -> katena_core::Result<()> {
/// let mut steps = OllamaChat::from_env("qwen3:4b")?.puller().pull("qwen3:4b", &Context::new()).await?;
/// while let Some(step) = steps.next().await {
///     let step = step?;
///     println!("{} {:?}/{:?}", step.status, step.completed, step.total);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OllamaPull {
    client: HttpClient,
    endpoint: Endpoint,
}

impl fmt::Debug for OllamaPull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaPull").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// How far it is.
///
/// ```
/// use katena_llms::ollama::PullProgress;
/// assert_eq!(PullProgress::new("pulling manifest").total, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullProgress {
    /// The server's words; the last are `success`.
    pub status: String,
    /// The file that is fetched.
    pub digest: Option<String>,
    /// Bytes of that file.
    pub total: Option<u64>,
    /// Bytes of it that are there.
    pub completed: Option<u64>,
}

impl PullProgress {
    /// A step without a file.
    pub fn new(status: impl Into<String>) -> Self {
        Self { status: status.into(), digest: None, total: None, completed: None }
    }
}

impl OllamaPull {
    pub(super) fn of(client: HttpClient, endpoint: Endpoint) -> Self {
        Self { client, endpoint }
    }

    /// Fetches `model` and tells of each step. Dropping the stream stops it; what is there already is kept by the server.
    ///
    /// # Errors
    /// Those of the call. The stream's errors: what the server reports, such as `Unavailable` for a model that it does
    /// not find, or `Unavailable` if it ends without success.
    pub async fn pull(
        &self,
        model: &str,
        context: &Context,
    ) -> Result<BoxStream<'static, Result<PullProgress>>> {
        let call = HttpRequest::post(&self.endpoint, "api/pull")?
            .with_json(&json!({"model": model, "stream": true}))?
            .with_context(context.clone());
        let body = self.client.open(call).await?;
        let mark = body.marker();
        let steps = stream::unfold((Some(body.into_ndjson()), false), async |(lines, success)| {
            let mut lines = lines?;
            let step = match lines.next().await {
                Some(line) => line.and_then(|line| progress(&line)),
                None if success => return None,
                None => Err(cut_off()),
            };
            let success = success || step.as_ref().is_ok_and(|s| s.status == "success");
            let lines = Some(lines).filter(|_| step.is_ok());
            Some((step, (lines, success)))
        });
        Ok(steps.map(move |step| step.map_err(&mark)).boxed())
    }

    /// Fetches `model` and waits until it is there.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    pub async fn fetch(&self, model: &str, context: &Context) -> Result<()> {
        let mut steps = self.pull(model, context).await?;
        while let Some(step) = steps.next().await {
            step?;
        }
        Ok(())
    }
}

fn progress(line: &str) -> Result<PullProgress> {
    let value: Value = parse(line)?;
    if value.get("error").is_some_and(|e| !e.is_null()) {
        return Err(ErrorDetails::from_value(&value).unwrap_or_default().into_error(None));
    }
    if !value.is_object() {
        return Err(Error::invalid_output("the server's reply is no progress of a pull"));
    }
    let mut progress = PullProgress::new(text(&value, "status"));
    progress.digest = word(&value, "digest");
    progress.total = count(&value, "total");
    progress.completed = count(&value, "completed");
    Ok(progress)
}
