//! Settings of a context and of loading, checked against file, build and machine before llama.cpp sees them.

use katena_core::{Error, Result};
use katena_gguf::Header;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams, RopeScalingType};
use llama_cpp_2::model::params::{LlamaModelParams, LlamaSplitMode};

use crate::backend::backend;
use crate::options::LlamaOptions;
use crate::settings::{
    CachePlace, CacheType, FlashAttention, RopeMethod, RopeScaling, SplitMode, Weights, devices,
};

/// Most layers whose head lengths are looked at.
const MAX_LAYERS: u64 = 65_536;

/// What a context has beside its [`Shape`](super::Shape).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Tuning {
    flash: FlashAttention,
    keys: CacheType,
    values: CacheType,
    place: CachePlace,
    ubatch: Option<u32>,
    batch_threads: Option<u32>,
    rope: Option<(RopeScaling, u32)>,
}

fn out_of_range(name: &'static str, value: impl ToString, least: u32, most: u32) -> Error {
    Error::config("a setting of the local model is out of range")
        .with_context("setting", name)
        .with_context("value", value.to_string())
        .with_context("least", least.to_string())
        .with_context("most", most.to_string())
}

impl Tuning {
    /// The options, checked.
    ///
    /// # Errors
    /// `Config` for what is out of range or contradicts itself, `Unsupported` for what the model can't.
    pub(crate) fn of(options: &LlamaOptions, header: &Header) -> Result<Self> {
        if let Some(tokens) = options.ubatch_tokens
            && !(1..=8192).contains(&tokens)
        {
            return Err(out_of_range("ubatch_tokens", tokens, 1, 8192));
        }
        if let Some(threads) = options.batch_threads
            && !(1..=512).contains(&threads)
        {
            return Err(out_of_range("batch_threads", threads, 1, 512));
        }
        if options.value_type.quantised() && options.flash_attention == FlashAttention::Off {
            return Err(Error::config("quantised values in the cache need flash attention")
                .with_context("value_type", format!("{:?}", options.value_type)));
        }
        let lengths = HeadLengths::of(header);
        for (what, kind, length) in
            [("key", options.key_type, lengths.key), ("value", options.value_type, lengths.value)]
        {
            // llama.cpp stops the process over a row that is not of whole blocks.
            if kind.quantised() && length.is_none_or(|n| n == 0 || n % kind.block().0 != 0) {
                return Err(Error::unsupported(
                    "the model's heads are not of whole blocks: its cache can't be quantised so",
                )
                .with_context("setting", format!("{what}_type"))
                .with_context("type", format!("{kind:?}"))
                .with_context("head_length", length.map_or_else(|| "?".into(), |n| n.to_string())));
            }
        }
        let rope = match options.rope_scaling {
            None => None,
            Some(scaling) => {
                if !(scaling.factor > 1.0 && scaling.factor <= 64.0) {
                    return Err(out_of_range("rope_scaling", scaling.factor, 1, 64));
                }
                if header.arch_number("rope.dimension_count") == Some(0) || lengths.key.is_none() {
                    return Err(Error::unsupported("the model has no rotary positions to scale"));
                }
                let trained = header
                    .arch_number("context_length")
                    .and_then(|n| u32::try_from(n).ok())
                    .filter(|n| *n > 0)
                    .ok_or_else(|| Error::unsupported("the file does not say what context to scale"))?;
                Some((scaling, trained))
            }
        };
        Ok(Self {
            flash: options.flash_attention,
            keys: options.key_type,
            values: options.value_type,
            place: options.cache_place,
            ubatch: options.ubatch_tokens,
            batch_threads: options.batch_threads,
            rope,
        })
    }

    /// Tokens computed at once, of a batch of so many.
    pub(crate) fn ubatch(&self, usual: u32, batch: u32) -> u32 {
        self.ubatch.unwrap_or(usual).min(batch)
    }

    /// Puts the settings into a context's parameters.
    pub(crate) fn apply(&self, mut params: LlamaContextParams) -> LlamaContextParams {
        params = params
            .with_flash_attention_policy(match self.flash {
                FlashAttention::Auto => llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_AUTO,
                FlashAttention::On => llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_ENABLED,
                FlashAttention::Off => llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED,
            })
            .with_type_k(cache_type(self.keys))
            .with_type_v(cache_type(self.values))
            .with_offload_kqv(self.place == CachePlace::Layer);
        if let Some(threads) = self.batch_threads {
            params = params.with_n_threads_batch(threads as i32);
        }
        if let Some((scaling, trained)) = self.rope {
            params = params.with_rope_freq_scale(1.0 / scaling.factor).with_rope_scaling_type(match scaling
                .method
            {
                RopeMethod::Linear => RopeScalingType::Linear,
                RopeMethod::Yarn => RopeScalingType::Yarn,
            });
            if scaling.method == RopeMethod::Yarn {
                params = params.with_yarn_orig_ctx(trained);
            }
        }
        params
    }
}

/// Numbers of a head's key and value, where all layers have the same.
struct HeadLengths {
    key: Option<u64>,
    value: Option<u64>,
}

impl HeadLengths {
    fn of(header: &Header) -> Self {
        let usual = (|| {
            let arch = header.text("general.architecture")?;
            let layers = header.arch_number("block_count").filter(|n| *n <= MAX_LAYERS)?;
            let heads = header.per_layer(&format!("{arch}.attention.head_count"), layers)?;
            let most = heads.iter().copied().max().filter(|n| *n > 0)?;
            Some(header.arch_number("embedding_length")? / most)
        })();
        Self {
            key: header.arch_number("attention.key_length").or(usual),
            value: header.arch_number("attention.value_length").or(usual),
        }
    }
}

fn cache_type(kind: CacheType) -> KvCacheType {
    match kind {
        CacheType::F32 => KvCacheType::F32,
        CacheType::F16 => KvCacheType::F16,
        CacheType::Bf16 => KvCacheType::BF16,
        CacheType::Q8_0 => KvCacheType::Q8_0,
        CacheType::Q5_1 => KvCacheType::Q5_1,
        CacheType::Q5_0 => KvCacheType::Q5_0,
        CacheType::Q4_1 => KvCacheType::Q4_1,
        CacheType::Q4_0 => KvCacheType::Q4_0,
    }
}

/// What layers on GPUs are loaded with.
///
/// # Errors
/// `Unsupported` for GPUs that this build or machine doesn't have, or a split that needs one; `Config` for a main GPU that
/// is not among them.
pub(crate) fn model_params(options: &LlamaOptions) -> Result<LlamaModelParams> {
    let mut params = LlamaModelParams::default().with_n_gpu_layers(options.gpu_layers);
    params = match options.weights {
        Weights::Mapped => {
            if !llama_cpp_2::mmap_supported() {
                return Err(Error::unsupported("files can't be mapped on this system"));
            }
            params.with_use_mmap(true).with_use_mlock(false)
        }
        Weights::Locked => {
            if !llama_cpp_2::mlock_supported() {
                return Err(Error::unsupported("memory can't be locked on this system"));
            }
            params.with_use_mmap(true).with_use_mlock(true)
        }
        Weights::Copied => params.with_use_mmap(false).with_use_mlock(false),
    };
    let placed = !options.devices.is_empty()
        || options.split_mode != SplitMode::default()
        || options.main_gpu != 0
        || options.gpu_layers > 0;
    if !placed {
        return Ok(params);
    }
    if !backend()?.supports_gpu_offload() {
        return Err(Error::unsupported(
            "layers can't go to the GPU: build with one of the features cuda, vulkan, metal, rocm, on a machine that has it",
        ));
    }
    let all = devices()?;
    let mut chosen = Vec::new();
    for name in &options.devices {
        let device = all.iter().find(|d| d.name == *name && d.takes_layers()).ok_or_else(|| {
            let there: Vec<_> = all.iter().filter(|d| d.takes_layers()).map(|d| d.name.as_str()).collect();
            Error::unsupported("there is no such GPU")
                .with_context("device", name.clone())
                .with_context("there_are", there.join(", "))
        })?;
        if chosen.contains(&device.index) {
            return Err(Error::config("a GPU is named twice").with_context("device", name.clone()));
        }
        chosen.push(device.index);
    }
    let count =
        if chosen.is_empty() { all.iter().filter(|d| d.takes_layers()).count() } else { chosen.len() };
    if options.main_gpu as usize >= count.max(1) {
        return Err(out_of_range("main_gpu", options.main_gpu, 0, (count.max(1) - 1) as u32));
    }
    if !chosen.is_empty() {
        params = params
            .with_devices(&chosen)
            .map_err(|e| Error::unsupported("llama.cpp does not take these devices").with_source(e))?;
    }
    Ok(params.with_main_gpu(options.main_gpu as i32).with_split_mode(match options.split_mode {
        SplitMode::None => LlamaSplitMode::None,
        SplitMode::Layer => LlamaSplitMode::Layer,
        SplitMode::Row => LlamaSplitMode::Row,
    }))
}
