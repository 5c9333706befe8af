//! A chat model that reads images.

mod head;
mod image;
mod log;
mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ModelInfo, Part, Result, Role,
};
use katena_gguf::{Header, Keep};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc;

use super::plan::{Defaults, plan};
use super::prompt::{Prompt, Prompter};
use super::slot::Job;
use super::stats::Shared;
use super::stream::Events;
use super::thread::{ModelThread, chooser, whole};
use super::{EVENTS, context_tokens};
use crate::engine::{Purpose, Shape, Tuning, load_chat_model, model_name};
use crate::memory;
use crate::options::LlamaOptions;
use crate::sample::Grammars;
use image::Picture;
use worker::{Eyes, Gpu, Look, Piece};

/// Most images of a request.
const MAX_IMAGES: usize = 64;
/// Stands for an image while the template is rendered; a character of private use that messages may not hold.
const PLACE: char = '\u{F0F20}';

/// A chat model in this process that reads images: a model and a projector that belong together, each a GGUF file.
///
/// Images are `Part::Image` of user messages, with the bytes of a PNG or JPEG inside; an address is `Unsupported`. Each
/// takes a fixed number of the context's tokens. What projectors are known: LLaVA's of two layers (`mlp`, LLaVA 1.5).
/// One request is answered at a time, others wait, and when too many wait a call fails at once with `Unavailable` and a time
/// to try again; [`LlamaOptions::slots`] and what is kept of earlier prompts do not matter here. Cancelling takes effect
/// between two tokens, batches or images. For text alone, [`LlamaChat`](crate::LlamaChat) is faster.
/// Both files should come from someone you trust: the projector's head is checked strictly, since llama.cpp stops the
/// process over what it does not expect.
///
/// ```no_run
/// # async fn f(photo: String) -> katena_core::Result<()> {
/// use katena_core::{ChatModel, ChatRequest, Media, Message, Part, Role};
/// use katena_llama_cpp::{LlamaOptions, LlamaVision};
/// let model = LlamaVision::load("llava-7b.gguf", "llava-7b-mmproj.gguf", LlamaOptions::new())?;
/// let image = Part::Image { media: Media::Base64 { mime: "image/png".into(), data: photo } };
/// let question = Message::new(Role::User, vec![image, Part::text("What is this?")]);
/// println!("{}", model.generate(&ChatRequest::new([question])).await?.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LlamaVision(Arc<Inner>);

struct Inner {
    info: ModelInfo,
    model: Arc<LlamaModel>,
    prompter: Prompter,
    grammars: Arc<Grammars>,
    defaults: Defaults,
    context_tokens: usize,
    image_tokens: usize,
    queue: usize,
    shared: Arc<Shared>,
    thread: ModelThread<Box<Look>>,
}

impl fmt::Debug for LlamaVision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlamaVision").field("info", &self.0.info).finish_non_exhaustive()
    }
}

impl LlamaVision {
    /// Loads a model and its projector and starts their thread. Blocks until both are ready.
    ///
    /// # Errors
    /// As [`LlamaChat::load`](crate::LlamaChat::load) for the model. For the projector: `NotFound` or `InvalidInput` for a
    /// missing or broken file, or one for a model of another width; `Unsupported` for another kind of projector, or
    /// parts of one that are not known here.
    pub fn load(path: impl AsRef<Path>, projector: impl AsRef<Path>, options: LlamaOptions) -> Result<Self> {
        crate::cpu::check_cpu()?;
        let (path, projector) = (path.as_ref(), projector.as_ref());
        let header = Header::read(path, Keep::Small)?;
        let named = |e: Error| e.with_context("file", path.display().to_string());
        let tuning = Tuning::of(&options, &header).map_err(named)?;
        let context_tokens = context_tokens(&header, &options).map_err(named)?;
        let other = |e: Error| e.with_context("file", projector.display().to_string());
        let head = head::check(projector, &Header::read(projector, Keep::Small)?).map_err(other)?;
        if header.arch_number("embedding_length") != Some(head.width) {
            return Err(other(Error::invalid_input("the projector was made for a model of another width"))
                .with_context("projector_width", head.width.to_string()));
        }
        let eyes = Eyes {
            path: match projector.to_str() {
                Some(path) if !path.contains('\0') => path.to_owned(),
                _ => return Err(other(Error::invalid_input("the projector's path is not valid UTF-8"))),
            },
            tokens: head.tokens,
            threads: options.threads,
            gpu: if options.gpu_layers > 0 { Gpu::Used } else { Gpu::Unused },
        };
        let mut estimate =
            memory::estimate_chat(&header, &options, context_tokens.into(), 0).map_err(named)?;
        estimate.weights_bytes = estimate.weights_bytes.saturating_add(head.weights_bytes);
        estimate.buffer_bytes = estimate.buffer_bytes.saturating_add(head.buffer_bytes);
        estimate.check().map_err(named)?;
        if header.flag(&format!("{}.attention.causal", header.architecture().map_err(named)?)) == Some(false)
        {
            return Err(named(Error::unsupported("this model makes vectors, not answers")));
        }

        let (model, adapter) = load_chat_model(path, &header, &options)?;
        log::to_tracing();
        let model = Arc::new(model);
        let name = model_name(path);
        let template = options.chat_template.as_deref().or(header.text("tokenizer.chat_template"));
        let prompter = Prompter::new(model.clone(), template);
        let grammars = Grammars::of_model(model.clone());
        let shape = Shape {
            context_tokens,
            sequences: 1,
            batch_tokens: options.batch_tokens,
            threads: options.threads,
            purpose: Purpose::Generate { cache_tokens: context_tokens, unified: true },
        };
        let handle =
            worker::start(model.clone(), shape, name.clone(), eyes, (tuning, adapter)).map_err(other)?;
        let mut capabilities = ChatCapabilities::none()
            .with_images()
            .with_seed()
            .with_logprobs()
            .with_json_schema()
            .with_stop()
            .with_usage();
        if prompter.format().is_some() {
            capabilities = capabilities.with_tools();
        }
        let info = ModelInfo::new("llama.cpp", name)
            .with_context_tokens(handle.context_tokens as u32)
            .with_capabilities(capabilities);
        Ok(Self(Arc::new(Inner {
            info,
            model,
            prompter,
            grammars,
            defaults: Defaults::of(&header),
            context_tokens: handle.context_tokens,
            image_tokens: head.tokens,
            queue: options.queue.max(1),
            shared: Arc::default(),
            thread: ModelThread::new(handle.jobs, handle.thread),
        })))
    }

    /// How many tokens of the context an image takes.
    pub fn image_tokens(&self) -> usize {
        self.0.image_tokens
    }

    async fn start(&self, request: &ChatRequest) -> Result<Events<Box<Look>>> {
        let inner = &self.0;
        request.context.check()?;
        let place = inner.shared.enter(1, inner.queue)?;
        let (text, pictures) = split(request)?;
        let plan = plan(&text, &inner.defaults, inner.prompter.format())?;
        let (parts, reading) = inner.prompter.parts(&text, &plan, inner.context_tokens, PLACE)?;
        if parts.len() != pictures.len() + 1 {
            return Err(Error::invalid_input("the model's chat template does not write each image once"));
        }
        if parts.last().is_none_or(Vec::is_empty) {
            return Err(Error::invalid_input("the model's chat template writes nothing after an image"));
        }
        let tokens = parts.iter().map(Vec::len).sum::<usize>() + pictures.len() * inner.image_tokens;
        if tokens >= inner.context_tokens {
            return Err(worker::too_long(tokens, inner.context_tokens));
        }
        let mut pictures = pictures.into_iter();
        let mut pieces = Vec::new();
        for part in parts {
            if !part.is_empty() {
                pieces.push(Piece::Text(part));
            }
            pieces.extend(pictures.next().map(Piece::Image));
        }
        let chooser = chooser(request, &plan, &inner.model, &inner.grammars, inner.context_tokens).await?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let prompt = Prompt { tokens: vec![LlamaToken::new(0); tokens], reading };
        let job = Job { prompt, plan, chooser, context: request.context.clone(), events, place };
        inner.thread.ask(Box::new(Look { job, pieces }), receiver, request)
    }
}

/// The request with a mark where each image was, and the images.
fn split(request: &ChatRequest) -> Result<(ChatRequest, Vec<Picture>)> {
    let mut text = request.clone();
    let mut pictures = Vec::new();
    for message in &mut text.messages {
        for part in &mut message.parts {
            let Part::Image { media } = part else { continue };
            if message.role != Role::User {
                return Err(Error::unsupported("images are read in messages of the user alone")
                    .with_context("part", "image"));
            }
            if pictures.len() == MAX_IMAGES {
                return Err(Error::invalid_input("the request has too many images")
                    .with_context("most", MAX_IMAGES.to_string()));
            }
            pictures.push(Picture::of(media)?);
            *part = Part::text(PLACE);
        }
    }
    // Whoever writes the mark does not get a place for an image.
    let marks = |request: &ChatRequest| -> Result<usize> {
        let messages = serde_json::to_string(&request.messages);
        let tools = serde_json::to_string(&request.tools);
        let (Ok(messages), Ok(tools)) = (messages, tools) else {
            return Err(Error::invalid_input("the messages can't be read"));
        };
        Ok(messages.matches(PLACE).count() + tools.matches(PLACE).count())
    };
    if marks(&text)? != pictures.len() {
        return Err(Error::invalid_input("the messages hold characters of private use"));
    }
    Ok((text, pictures))
}

#[async_trait]
impl ChatModel for LlamaVision {
    fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        whole(self.start(request).await?).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        Ok(Box::pin(self.start(request).await?))
    }
}
