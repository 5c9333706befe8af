//! Vertex AI: `:predict` for the models of the first generation, `:embedContent` for those of the second.

use std::sync::Arc;

use katena_core::{EmbedResponse, Error, Result};
use katena_http::{Endpoint, TokenSource};
use serde_json::{Value, json};

use super::{MODELS, Reply, Tasks, read};
use crate::shell::{Call, Shell, Wire};
use crate::{BatchLimits, EmbedModel, Truncate};

/// At most 250 texts and 20,000 tokens a call, by Google's page on text embeddings.
const LIMITS: BatchLimits = BatchLimits::new(250).with_bytes(20_000);

/// These take one text a call.
const ONE: BatchLimits = BatchLimits::new(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Predict,
    EmbedContent,
}

#[derive(Debug, Clone)]
pub(crate) struct VertexWire {
    tasks: Tasks,
    route: Route,
}

impl Wire for VertexWire {
    type Reply = Reply;

    fn path(&self, call: &Call<'_>) -> String {
        let method = match self.route {
            Route::Predict => "predict",
            Route::EmbedContent => "embedContent",
        };
        format!("publishers/google/models/{}:{method}", call.model)
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let task = self.tasks.field(call.role);
        // Google cuts long texts silently unless told not to.
        let truncate = call.truncate == Truncate::End;
        match self.route {
            Route::Predict => {
                let one = |text: &str| {
                    let mut one = json!({ "content": self.tasks.text(call.role, text) });
                    if let Some(task) = task {
                        one["task_type"] = task.into();
                    }
                    one
                };
                let mut parameters = json!({ "autoTruncate": truncate });
                if let Some(n) = call.dimensions {
                    parameters["outputDimensionality"] = n.into();
                }
                json!({
                    "instances": call.texts.iter().map(|t| one(t)).collect::<Vec<_>>(),
                    "parameters": parameters,
                })
            }
            Route::EmbedContent => {
                let parts: Vec<Value> =
                    call.texts.iter().map(|t| json!({ "text": self.tasks.text(call.role, t) })).collect();
                let mut config = json!({ "autoTruncate": truncate });
                if let Some(task) = task {
                    config["taskType"] = task.into();
                }
                if let Some(n) = call.dimensions {
                    config["outputDimensionality"] = n.into();
                }
                json!({ "content": { "parts": parts }, "embedContentConfig": config })
            }
        }
    }

    fn read(&self, reply: Reply) -> Result<EmbedResponse> {
        read(reply)
    }

    fn space(&self) -> String {
        self.tasks.space()
    }
}

embedder! {
    /// Google's embedding models on Vertex AI, opened by an access token of scope `cloud-platform`.
    ///
    /// The role goes into `task_type`; `gemini-embedding-2` reads it in the text. Texts that are too long are refused by
    /// the service unless [`with_truncation`](Self::with_truncation) says otherwise. The Gemini models take one text a
    /// call, so many calls are made.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use katena_embeddings::VertexEmbedder;
    /// use katena_http::StaticToken;
    /// let token = Arc::new(StaticToken::new("token"));
    /// let embedder = VertexEmbedder::new("text-embedding-005", "my-project", "europe-west4", token)?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    VertexEmbedder, VertexWire
}
embedder_setters!(VertexEmbedder: dimensions, truncate);

impl VertexEmbedder {
    /// A model of a project in a location: a region, `global`, `us` or `eu`.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known, or project or location are not names.
    pub fn new(
        model: impl Into<EmbedModel>,
        project: impl AsRef<str>,
        location: impl AsRef<str>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let model = model.into().resolve_by_name(MODELS)?;
        let (project, location) = (project.as_ref(), location.as_ref());
        let name = |s: &str, more: &[char]| {
            !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || more.contains(&c))
        };
        if !name(project, &['.', ':']) || !name(location, &[]) {
            return Err(Error::config("a project or location of Google's cloud is a plain name")
                .with_vendor("vertex"));
        }
        let host = match location {
            "global" => "aiplatform.googleapis.com".to_owned(),
            "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
            region => format!("{region}-aiplatform.googleapis.com"),
        };
        let base = format!("https://{host}/v1/projects/{project}/locations/{location}");
        let tasks = Tasks::of(&model.name);
        let route = if tasks == Tasks::Prompt { Route::EmbedContent } else { Route::Predict };
        let limits = if model.name.contains("gemini") { ONE } else { LIMITS };
        let mut shell =
            Shell::new("vertex", Endpoint::new(base)?, model, VertexWire { tasks, route }, limits);
        shell.set_tokens(tokens);
        Ok(Self(shell))
    }

    /// Sets the task type for queries and for documents, such as `SEMANTIC_SIMILARITY` for both.
    pub fn with_task_types(self, query: impl Into<String>, document: impl Into<String>) -> Self {
        Self(self.0.set(|s| s.wire.tasks = Tasks::new(query, document)))
    }
}
