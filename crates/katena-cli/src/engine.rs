//! The models that a command line can name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use katena_core::fake::HashEmbedder;
use katena_core::{ChatModel, ChatRequest, ChatResponse, ChatStream, Embedder, Error, ErrorKind, ModelInfo};
use katena_llama_cpp::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions};
use katena_llms::OpenAiChat;

use crate::args;
use crate::failure::{Failure, Result};
use crate::models;
use crate::progress::Progress;

/// Tokens of prompt and answer together: the prompt stays under 700, the rest is for the answer.
const CONTEXT: u32 = 1024;

/// Fails early, with words, where the bundled engine would die by an illegal instruction.
pub(crate) fn check_processor() -> Result<()> {
    katena_llama_cpp::check_cpu().map_err(|error| Failure::set_up(error.to_string()))
}

/// The safetensors → GGUF step of the default embedder.
pub(crate) fn convert(model: &Path, gguf: &Path) -> Result<()> {
    katena_llama_cpp::convert::bert_to_gguf(model, gguf).map_err(Failure::from)
}

/// The embedder that `--embedder` names, or the default one.
pub(crate) fn embedder(
    name: Option<&str>,
    threads: Option<u32>,
    progress: Progress,
) -> Result<Arc<dyn Embedder>> {
    if let Some(dimensions) = name.and_then(|n| n.strip_prefix("hash:")) {
        let dimensions = dimensions.parse().ok().filter(|n| (1..=4096).contains(n));
        let dimensions =
            dimensions.ok_or_else(|| Failure::set_up("--embedder hash:N takes an N from 1 to 4096"))?;
        return Ok(Arc::new(HashEmbedder::new(dimensions)));
    }
    check_processor()?;
    let path = match name {
        Some(path) => own_file(path, "--embedder")?,
        None => models::embedder(progress)?,
    };
    let bar = Arc::new(progress.percent("loading the embedder"));
    let mut options = EmbedderOptions::new().with_progress({
        let bar = bar.clone();
        move |done| bar.set((done * 100.0) as u64)
    });
    if let Some(threads) = threads {
        options = options.with_threads(threads);
    }
    let embedder = LlamaEmbedder::load(&path, options)?;
    bar.finish();
    Ok(Arc::new(embedder))
}

fn own_file(path: &str, flag: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::set_up(format!("{flag}: there is no file {}", path.display())))
}

/// The chat model that `--model` names, or the default one. Files are there when this returns; they are loaded at the
/// first question.
pub(crate) fn chat(args: &args::Ask, progress: Progress) -> Result<Arc<LazyChat>> {
    let source = match args.model.as_deref() {
        Some(name) if name.starts_with("openai:") => {
            let model = OpenAi {
                name: name["openai:".len()..].to_owned(),
                base_url: args.base_url.clone(),
                key: std::env::var(&args.api_key_env).ok().filter(|k| !k.is_empty()),
                variable: args.api_key_env.clone(),
            };
            if model.name.is_empty() {
                return Err(Failure::set_up("--model openai:NAME needs the model's name"));
            }
            Source::OpenAi(model)
        }
        Some(path) => {
            check_processor()?;
            Source::File(own_file(path, "--model")?)
        }
        None => {
            check_processor()?;
            Source::File(models::chat(progress)?)
        }
    };
    if args.base_url.is_some() && !matches!(source, Source::OpenAi(_)) {
        return Err(Failure::set_up("--base-url goes with --model openai:NAME"));
    }
    let info = match &source {
        Source::File(path) => {
            ModelInfo::new("llama.cpp", path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        }
        Source::OpenAi(model) => ModelInfo::new("openai", model.name.clone()),
    };
    let (threads, gpu_layers) = (args.documents.threads, args.gpu_layers);
    Ok(Arc::new(LazyChat { info, source, threads, gpu_layers, progress, state: Mutex::default() }))
}

/// A chat model over HTTP, as the flags describe it.
struct OpenAi {
    name: String,
    base_url: Option<String>,
    key: Option<String>,
    variable: String,
}

impl OpenAi {
    fn connect(&self) -> katena_core::Result<Arc<dyn ChatModel>> {
        let model = match (&self.base_url, &self.key) {
            (None, None) => {
                let variable = &self.variable;
                let message = format!("no key for the model {}: set the variable {variable}", self.name);
                return Err(Error::new(ErrorKind::Unauthenticated, message));
            }
            (None, Some(key)) => OpenAiChat::new(&self.name, key.as_str()),
            (Some(url), None) => OpenAiChat::compatible(&self.name, url)?,
            (Some(url), Some(key)) => OpenAiChat::new(&self.name, key.as_str()).with_base_url(url)?,
        };
        Ok(Arc::new(model))
    }
}

enum Source {
    File(PathBuf),
    OpenAi(OpenAi),
}

/// A chat model that is loaded when it is first asked: after the sources are on the screen, and not at all when there
/// are none.
pub(crate) struct LazyChat {
    info: ModelInfo,
    source: Source,
    threads: Option<u32>,
    gpu_layers: u32,
    progress: Progress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    model: Option<Arc<dyn ChatModel>>,
    loading: Option<Duration>,
}

impl fmt::Debug for LazyChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyChat").field("model", &self.info.model).finish_non_exhaustive()
    }
}

impl LazyChat {
    /// The model's name.
    pub(crate) fn name(&self) -> &str {
        &self.info.model
    }

    /// How long loading took, if it was loaded.
    pub(crate) fn loading(&self) -> Option<Duration> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).loading
    }

    async fn model(self: &Arc<Self>) -> katena_core::Result<Arc<dyn ChatModel>> {
        let this = self.clone();
        // Loading reads a whole file; Ctrl-C must be heard meanwhile.
        tokio::task::spawn_blocking(move || {
            let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(model) = &state.model {
                return Ok(model.clone());
            }
            let start = Instant::now();
            let model = this.load()?;
            state.loading = Some(start.elapsed());
            state.model = Some(model.clone());
            Ok(model)
        })
        .await
        .map_err(|e| Error::unexpected("the model's loader failed").with_source(e))?
    }

    fn load(&self) -> katena_core::Result<Arc<dyn ChatModel>> {
        match &self.source {
            Source::File(path) => {
                let bar = self.progress.percent(&format!("loading {}", self.info.model));
                let mut options =
                    LlamaOptions::new().with_context_tokens(CONTEXT).with_gpu_layers(self.gpu_layers);
                if let Some(threads) = self.threads {
                    options = options.with_threads(threads);
                }
                let options = options.with_progress(move |done| bar.set((done * 100.0) as u64));
                Ok(Arc::new(LlamaChat::load(path, options)?))
            }
            Source::OpenAi(model) => model.connect(),
        }
    }
}

/// [`LazyChat`] as a model; the `Arc` is what lets a blocking thread share it.
#[derive(Debug, Clone)]
pub(crate) struct Lazy(pub(crate) Arc<LazyChat>);

#[async_trait::async_trait]
impl ChatModel for Lazy {
    fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    async fn generate(&self, request: &ChatRequest) -> katena_core::Result<ChatResponse> {
        self.0.model().await?.generate(request).await
    }

    async fn stream(&self, request: &ChatRequest) -> katena_core::Result<ChatStream> {
        self.0.model().await?.stream(request).await
    }
}
