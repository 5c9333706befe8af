//! Chat models on llama.cpp.

mod calls;
mod choose;
mod emit;
mod plan;
mod prompt;
mod session;
mod slot;
mod stats;
mod stream;
mod strftime;
mod template;
mod text;
mod thoughts;
mod thread;
#[cfg(feature = "mtmd")]
mod vision;
mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ModelInfo, Result, Tokenizer,
};
use llama_cpp_2::model::LlamaModel;
use tokio::sync::mpsc;

use crate::engine::{Engine, Form, Purpose, Shape, Tuning, load_chat_model, model_name};
use crate::memory::{self, MemoryEstimate};
use crate::metadata::ModelMetadata;
use crate::options::LlamaOptions;
use crate::sample::Grammars;
use crate::sched::{Limits, Reuse};
use crate::tokens::PieceTokenizer;
use katena_gguf::{Header, Keep};
use plan::{Defaults, plan};
use prompt::Prompter;
use session::Identity;
use slot::Job;
pub use stats::EngineStats;
use stats::Shared;
use stream::Events;
use thread::{ModelThread, chooser, whole};
#[cfg(feature = "mtmd")]
pub use vision::LlamaVision;
use worker::Work;

/// The context of a slot if the caller names none, where the model was trained for more.
const USUAL_CONTEXT: u32 = 8192;
/// Events on their way to a reader.
const EVENTS: usize = 32;
/// Most slots.
const MAX_SLOTS: u32 = 64;
/// The cache of all slots together at most if the caller names none, unless one context is larger.
const USUAL_CACHE: u32 = 32_768;

/// A chat model in this process.
///
/// One thread owns the model; clones and concurrent calls share it. [`LlamaOptions::slots`] requests are answered side by
/// side, one token each a step, others wait their turn; when too many wait, a call fails at once with `Unavailable` and a
/// time to try again. Dropping a stream frees its slot within one step. An answer that is not read pauses after some 32
/// events and goes on when it is read; meanwhile others may have its slot.
/// What requests begin with in common is computed once and kept in main memory:
/// [`Usage::cached_tokens`](katena_core::Usage::cached_tokens) says how much of a prompt was there already. [`LlamaChat::stats`] tells what the engine does.
/// The thread ends when the last clone and the last stream are dropped.
///
/// Messages go through the model's own chat template. Text in them that looks like a control mark (`<|im_end|>`) stays
/// text. Unset options: temperature and cut-offs that the file recommends (`general.sampling.*`), else temperature 0.8,
/// top_k 40, top_p 0.95, min_p 0.05; who sets a cut-off gets that one alone. Without `max_tokens` the answer may fill
/// the context; an answer that does ends with `Length`. Log-probabilities are the model's own, before bias, form, temperature
/// and cut-offs. Equal seeds repeat an answer as long as the same requests run side by side.
///
/// # Forms of answers
///
/// [`ResponseFormat`](katena_core::ResponseFormat) is kept token by token: what can't continue the form is never chosen. The
/// answer ends by itself once it is complete; one that `max_tokens` or a stop text cuts off before is not whole.
/// - `JsonSchema`: drafts 4 to 2020-12. Keywords that are kept: `type`, `const`, `enum`, `properties`, `required`,
///   `additionalProperties`, `patternProperties`, `minProperties` and `maxProperties` (in simple cases), `items`,
///   `prefixItems`, `additionalItems`, `minItems`, `maxItems`, `minLength`, `maxLength`, `pattern`, `format` (by shape),
///   `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`, `anyOf`, `allOf`, `oneOf` whose cases
///   exclude each other, and `$ref` inside the schema. Any other that says what is valid is `Unsupported` with the context
///   `keyword`; nothing but annotations is passed over. Properties come in the schema's order; others only where
///   `additionalProperties` or `patternProperties` speak of them, or schemas are combined. White space between tokens
///   is bounded, and numbers have at most 15 digits and 2 of an exponent, so that parsers can read them.
/// - `JsonObject`: any object. `Regex`: the whole answer matches. `Grammar`: llguidance's dialect of Lark.
/// - `ToolChoice::Required` and `Named`: the call's arguments fit the tool's schema. A form and tools that may be called
///   exclude each other (`Unsupported`).
///
/// A new form is compiled once, some 10 ms on a thread of its own, and kept for later requests.
///
/// # Extras
///
/// Out of range is `InvalidInput`, an unknown name `Unsupported`. They are applied in this order.
///
/// | extra | range | what |
/// |---|---|---|
/// | `logit_bias` | −100 to 100 each, 1024 at most | an object: number of a token, or a text that is one token → what is added to its logit |
/// | `repeat_penalty` | 0.1 to 10 | divides the logits of tokens in the answer; 1 is off |
/// | `repeat_last_n` | 0 to 1048576 | tokens of the answer that the three penalties look back over; unset: all |
/// | `dry_multiplier`, `dry_base`, `dry_allowed_length`, `dry_penalty_last_n`, `dry_sequence_breakers` | 0 to 100, 1 to 100 (1.75), ≥ 0 (2), ≥ 0 (all), 32 texts | "don't repeat yourself": a token that continues a repetition loses multiplier · base^(length − allowed) |
/// | `top_n_sigma` | 0.001 to 1000 | logits within n standard deviations of the largest |
/// | `typical_p` | 0.001 to 1 | locally typical tokens |
/// | `min_p` | 0 to 1 | tokens at least this likely, relative to the likeliest |
/// | `xtc_probability`, `xtc_threshold` | 0 to 1, 0 to 0.5 (0.1) | with that probability all tokens above the threshold but the least likely go |
/// | `dynatemp_range`, `dynatemp_exponent` | 0 to 100, 0.01 to 100 (1) | the temperature moves by ± range with the entropy |
/// | `mirostat`, `mirostat_tau`, `mirostat_eta` | 0, 1 or 2; 0.001 to 100 (5), 0 to 1 (0.1) | keeps the surprise near tau bits; instead of cut-offs |
///
/// ```no_run
/// # async fn f() -> katena_core::Result<()> {
/// use katena_core::{ChatModel, ChatRequest, Message};
/// use katena_llama_cpp::{LlamaChat, LlamaOptions};
/// let model = LlamaChat::load("smollm2-135m-instruct.gguf", LlamaOptions::new())?;
/// let request = ChatRequest::new([Message::user("What is the capital of France?")]).with_temperature(0.0);
/// println!("{}", model.generate(&request).await?.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LlamaChat(Arc<Inner>);

struct Inner {
    info: ModelInfo,
    metadata: ModelMetadata,
    model: Arc<LlamaModel>,
    prompter: Prompter,
    grammars: Arc<Grammars>,
    defaults: Defaults,
    context_tokens: usize,
    slots: usize,
    queue: usize,
    shared: Arc<Shared>,
    identity: Identity,
    /// What states look like; `None` if nothing is kept.
    form: Option<Arc<Form>>,
    thread: ModelThread<Work>,
}

impl fmt::Debug for LlamaChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlamaChat").field("info", &self.0.info).finish_non_exhaustive()
    }
}

impl LlamaChat {
    /// Loads a GGUF file and starts its thread. Blocks until the model is ready and, if tokens are to be kept, has computed one,
    /// by which the form of its states is learnt.
    ///
    /// # Errors
    /// `NotFound` or `InvalidInput` for a missing or broken file, naming it; `Unsupported` for GPU layers in a build without
    /// GPU, or a processor that can't run llama.cpp; `Config` for settings that are out of range, and with the numbers if
    /// weights and context would not fit into memory.
    pub fn load(path: impl AsRef<Path>, options: LlamaOptions) -> Result<Self> {
        crate::cpu::check_cpu()?;
        let path = path.as_ref();
        let header = Header::read(path, Keep::Small)?;
        let named = |e: Error| e.with_context("file", path.display().to_string());
        let tuning = Tuning::of(&options, &header).map_err(named)?;
        let metadata = ModelMetadata::of(&header).map_err(named)?;
        let context_tokens = context_tokens(&header, &options).map_err(named)?;
        let limits = limits(&options, context_tokens)?;
        let estimate =
            memory::estimate_chat(&header, &options, limits.cache_tokens as u64, context_tokens.into())?;
        estimate.check().map_err(named)?;
        let limits = Limits { kept_tokens: estimate.kept_tokens as usize, ..limits };
        let causal = header.flag(&format!("{}.attention.causal", header.architecture().map_err(named)?));
        if causal == Some(false) {
            return Err(named(Error::unsupported(
                "this model makes vectors, not answers; load it as an embedder",
            )));
        }

        let (model, adapter) = load_chat_model(path, &header, &options)?;
        let model = Arc::new(model);
        let name = model_name(path);
        let template = options.chat_template.as_deref().or(header.text("tokenizer.chat_template"));
        let prompter = Prompter::new(model.clone(), template);
        let grammars = Grammars::of_model(model.clone());
        let cut = Engine::can_cut(&model, &header) && limits.kept_tokens > 0;
        let reuse = if cut { Reuse::Prefixes } else { Reuse::Off };
        let limits = Limits { reuse, ..limits };
        let shape = Shape {
            context_tokens,
            sequences: limits.slots as u32,
            // Each running answer has its token in every step.
            batch_tokens: options.batch_tokens.max(if options.batch_tokens > 0 { options.slots } else { 0 }),
            threads: options.threads,
            purpose: Purpose::Generate { cache_tokens: limits.cache_tokens as u32, unified: limits.unified },
        };
        let shared = Arc::new(Shared::default());
        let extra = (tuning, adapter);
        let handle = worker::start(model.clone(), shape, limits, name.clone(), shared.clone(), extra)
            .map_err(named)?;
        let mut capabilities =
            ChatCapabilities::none().with_seed().with_logprobs().with_json_schema().with_stop().with_usage();
        if prompter.format().is_some() {
            capabilities = capabilities.with_tools();
        }
        let info = ModelInfo::new("llama.cpp", name)
            .with_context_tokens(handle.context_tokens as u32)
            .with_capabilities(capabilities);
        Ok(Self(Arc::new(Inner {
            info,
            metadata,
            model,
            prompter,
            grammars,
            defaults: Defaults::of(&header),
            context_tokens: handle.context_tokens,
            slots: limits.slots,
            queue: options.queue.max(1),
            shared,
            identity: Identity { path: path.to_owned(), settings: settings(&options)? },
            form: handle.form,
            thread: ModelThread::new(handle.jobs, handle.thread),
        })))
    }

    /// What the model would take in memory with these options, without loading it.
    ///
    /// # Errors
    /// As [`LlamaChat::load`] for the file's head and settings that are out of range. What does not fit is no error here:
    /// see [`MemoryEstimate::fits`].
    pub fn estimate(path: impl AsRef<Path>, options: &LlamaOptions) -> Result<MemoryEstimate> {
        let path = path.as_ref();
        let header = Header::read(path, Keep::Small)?;
        let named = |e: Error| e.with_context("file", path.display().to_string());
        Tuning::of(options, &header).map_err(named)?;
        let context_tokens = context_tokens(&header, options).map_err(named)?;
        let limits = limits(options, context_tokens)?;
        memory::estimate_chat(&header, options, limits.cache_tokens as u64, context_tokens.into())
            .map_err(named)
    }

    /// What the file says about the model.
    pub fn metadata(&self) -> &ModelMetadata {
        &self.0.metadata
    }

    /// The model's own tokenizer, to measure prompts with.
    pub fn tokenizer(&self) -> Arc<dyn Tokenizer> {
        Arc::new(PieceTokenizer::new(self.0.model.clone(), self.0.info.model.clone()))
    }

    /// How many tokens the request's prompt has, template and marks included.
    ///
    /// # Errors
    /// As [`ChatModel::generate`] before the call: `InvalidInput`, `Unsupported`, `ContextTooLong`.
    pub fn prompt_tokens(&self, request: &ChatRequest) -> Result<usize> {
        let plan = plan(request, &self.0.defaults, self.0.prompter.format())?;
        Ok(self.0.prompter.prompt(request, &plan, self.0.context_tokens)?.tokens.len())
    }

    /// What the engine did so far and does now.
    pub fn stats(&self) -> EngineStats {
        self.0.shared.stats()
    }

    async fn start(&self, request: &ChatRequest) -> Result<Events<Work>> {
        request.context.check()?;
        let place = self.0.shared.enter(self.0.slots, self.0.queue)?;
        let plan = plan(request, &self.0.defaults, self.0.prompter.format())?;
        let prompt = self.0.prompter.prompt(request, &plan, self.0.context_tokens)?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let (model, grammars) = (&self.0.model, &self.0.grammars);
        let chooser = chooser(request, &plan, model, grammars, self.0.context_tokens).await?;
        let job = Job { prompt, plan, chooser, context: request.context.clone(), events, place };
        self.0.thread.ask(Work::Answer(Box::new(job)), receiver, request)
    }
}

/// The settings that change what the model computes, adapters by the hash of their file.
fn settings(options: &LlamaOptions) -> Result<String> {
    let mut text = format!(
        "{:?} {:?} {:?} {:?}",
        options.key_type, options.value_type, options.flash_attention, options.rope_scaling
    );
    for lora in &options.lora {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(&lora.path)?)?;
        text = format!("{text} {} {}", hasher.finalize().to_hex(), lora.scale);
    }
    Ok(text)
}

/// What the options share out, checked.
fn limits(options: &LlamaOptions, context_tokens: u32) -> Result<Limits> {
    let within = |name: &'static str, value: u32, least: u32, most: u32| {
        if (least..=most).contains(&value) {
            return Ok(value as usize);
        }
        Err(Error::config("a setting of the local model is out of range")
            .with_context("setting", name)
            .with_context("value", value.to_string())
            .with_context("least", least.to_string())
            .with_context("most", most.to_string()))
    };
    let slots = within("slots", options.slots, 1, MAX_SLOTS)?;
    let all = context_tokens.saturating_mul(options.slots);
    let cache = options.cache_tokens.unwrap_or(all.min(USUAL_CACHE.max(context_tokens)));
    let cache = within("cache_tokens", cache, context_tokens, 1 << 28)?;
    let usual_prefill = if options.gpu_layers > 0 { 512 } else { 64 };
    Ok(Limits {
        slots,
        // More than that is of no use.
        cache_tokens: cache.min(all as usize),
        unified: cache < all as usize,
        context_tokens: context_tokens as usize,
        batch_tokens: options.batch_tokens as usize,
        prefill_cap: within("prefill_tokens", options.prefill_tokens.unwrap_or(usual_prefill), 1, 8192)?,
        kept_tokens: 0,
        reuse: Reuse::Off,
    })
}

/// The context asked for, or the usual one, within what the model was trained for.
fn context_tokens(header: &Header, options: &LlamaOptions) -> Result<u32> {
    let asked = options.context_tokens;
    let trained = header.arch_number("context_length").and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let factor = options.rope_scaling.map_or(1.0, |r| f64::from(r.factor));
    // A float above what fits becomes the largest number.
    let trained = trained.map(|n| (f64::from(n) * factor) as u32);
    match asked {
        None => Ok(trained.unwrap_or(USUAL_CONTEXT).min(USUAL_CONTEXT)),
        Some(tokens) if tokens < 16 || trained.is_some_and(|most| tokens > most) => Err(Error::config(
            "the context is smaller than 16 tokens or larger than the model was trained for",
        )
        .with_context("context_tokens", tokens.to_string())
        .with_context("trained_tokens", trained.map_or_else(|| "?".into(), |n| n.to_string()))),
        Some(tokens) => Ok(tokens),
    }
}

#[async_trait]
impl ChatModel for LlamaChat {
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
