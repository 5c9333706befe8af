//! Settings of devices, of the cache and of the positions' encoding.

use std::path::PathBuf;

use katena_core::Result;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use serde::{Deserialize, Serialize};

use crate::options::LlamaOptions;

/// How a model is spread over several GPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SplitMode {
    /// All of it on one: [`LlamaOptions::main_gpu`].
    None,
    /// Each layer and its part of the cache on one of them.
    #[default]
    Layer,
    /// The rows of each matrix on all of them, where the backend can do it.
    Row,
}

/// Whether attention is computed in one pass, without a matrix of all scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlashAttention {
    /// Where the device computes it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How keys or values are stored in the cache. What is smaller than 16 bits saves memory and costs some quality.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    #[default]
    F16,
    /// 16-bit floats with the range of 32-bit ones.
    Bf16,
    /// Blocks of 32 numbers in 34 bytes.
    Q8_0,
    /// Blocks of 32 numbers in 24 bytes.
    Q5_1,
    /// Blocks of 32 numbers in 22 bytes.
    Q5_0,
    /// Blocks of 32 numbers in 20 bytes.
    Q4_1,
    /// Blocks of 32 numbers in 18 bytes.
    Q4_0,
}

impl CacheType {
    /// Numbers of a block and its bytes.
    pub(crate) fn block(self) -> (u64, u64) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q5_1 => (32, 24),
            Self::Q5_0 => (32, 22),
            Self::Q4_1 => (32, 20),
            Self::Q4_0 => (32, 18),
        }
    }

    /// True for types of blocks.
    pub(crate) fn quantised(self) -> bool {
        self.block().0 > 1
    }
}

/// Where the cache of keys and values lies if layers are on a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CachePlace {
    /// Beside its layer, on the GPU.
    #[default]
    Layer,
    /// In main memory.
    Main,
}

/// How the weights get into main memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Weights {
    /// The file is mapped: the system reads what is used, and may give its pages back.
    #[default]
    Mapped,
    /// The file is mapped and kept in memory; the system's limit on locked memory must allow it, else llama.cpp's log warns
    /// and the file is merely mapped.
    Locked,
    /// The file is read into memory.
    Copied,
}

/// How positions beyond the training's context are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RopeMethod {
    /// All positions are squeezed alike (Chen et al. 2023, <https://arxiv.org/abs/2306.15595>).
    Linear,
    /// Slow dimensions are squeezed more than fast ones (Peng et al. 2023, <https://arxiv.org/abs/2309.00071>).
    Yarn,
}

/// A longer context than the model was trained for.
///
/// ```
/// use katena_llama_cpp::{LlamaOptions, RopeMethod, RopeScaling};
/// // Four times the training's context.
/// let options = LlamaOptions::new().with_rope_scaling(RopeScaling::new(RopeMethod::Yarn, 4.0));
/// assert_eq!(options.rope_scaling.map(|r| r.factor), Some(4.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RopeScaling {
    /// How.
    pub method: RopeMethod,
    /// How many times the training's context, above 1 up to 64.
    pub factor: f32,
}

impl RopeScaling {
    /// By this method, so many times longer.
    pub fn new(method: RopeMethod, factor: f32) -> Self {
        Self { method, factor }
    }
}

/// A low-rank adapter (LoRA) in GGUF, as llama.cpp's `convert_lora_to_gguf.py` writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lora {
    /// The adapter's file.
    pub path: PathBuf,
    /// How strongly it counts: 1 as trained, 0 not at all.
    pub scale: f32,
}

impl Lora {
    /// An adapter that counts so strongly.
    pub fn new(path: impl Into<PathBuf>, scale: f32) -> Self {
        Self { path: path.into(), scale }
    }
}

/// What a [`Device`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor.
    Processor,
    /// A library or part of the processor that computes faster, with the processor's memory.
    Accelerator,
    /// A GPU with a memory of its own.
    Gpu,
    /// A GPU that shares main memory.
    IntegratedGpu,
    /// Something newer than this crate.
    Other,
}

/// Something that llama.cpp can compute on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its name, such as `CUDA0`, for [`LlamaOptions::devices`].
    pub name: String,
    /// What its maker calls it.
    pub description: String,
    /// The backend that drives it, such as `CUDA`.
    pub backend: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Its memory in bytes; 0 if it does not tell.
    pub total_bytes: u64,
    /// How much of that is free.
    pub free_bytes: u64,
    /// Its place in ggml's list.
    pub(crate) index: usize,
}

impl Device {
    /// True if layers can be put there.
    pub(crate) fn takes_layers(&self) -> bool {
        matches!(self.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu)
    }
}

/// The devices that this build of llama.cpp sees on this machine.
///
/// ```
/// let devices = katena_llama_cpp::devices()?;
/// assert!(devices.iter().any(|d| d.kind == katena_llama_cpp::DeviceKind::Processor));
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// `Unsupported` on a processor that can't run llama.cpp.
pub fn devices() -> Result<Vec<Device>> {
    crate::backend::backend()?;
    Ok(list_llama_ggml_backend_devices()
        .into_iter()
        .map(|d| Device {
            name: d.name,
            description: d.description,
            backend: d.backend,
            kind: match d.device_type {
                LlamaBackendDeviceType::Cpu => DeviceKind::Processor,
                LlamaBackendDeviceType::Accelerator => DeviceKind::Accelerator,
                LlamaBackendDeviceType::Gpu => DeviceKind::Gpu,
                LlamaBackendDeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
                LlamaBackendDeviceType::Unknown => DeviceKind::Other,
            },
            total_bytes: d.memory_total as u64,
            free_bytes: d.memory_free as u64,
            index: d.index,
        })
        .collect())
}

/// Devices, cache, positions, adapters.
impl LlamaOptions {
    /// Sets how the layers on GPUs are spread over them.
    pub fn with_split_mode(mut self, mode: SplitMode) -> Self {
        self.split_mode = mode;
        self
    }

    /// Sets the GPU that takes all layers with [`SplitMode::None`], by its place among [`LlamaOptions::devices`].
    pub fn with_main_gpu(mut self, place: u32) -> Self {
        self.main_gpu = place;
        self
    }

    /// Sets the GPUs that are used, by the names that [`devices`] gives.
    pub fn with_devices<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.devices = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether attention is computed in one pass.
    pub fn with_flash_attention(mut self, flash: FlashAttention) -> Self {
        self.flash_attention = flash;
        self
    }

    /// Sets how keys and values are stored in the cache.
    pub fn with_cache_types(mut self, keys: CacheType, values: CacheType) -> Self {
        self.key_type = keys;
        self.value_type = values;
        self
    }

    /// Sets where the cache lies.
    pub fn with_cache_place(mut self, place: CachePlace) -> Self {
        self.cache_place = place;
        self
    }

    /// Sets how the weights get into main memory.
    pub fn with_weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// Sets how many tokens of a step are computed at once.
    pub fn with_ubatch_tokens(mut self, tokens: u32) -> Self {
        self.ubatch_tokens = Some(tokens);
        self
    }

    /// Sets the threads for steps of more than one token.
    pub fn with_batch_threads(mut self, threads: u32) -> Self {
        self.batch_threads = Some(threads);
        self
    }

    /// Sets a longer context than the model was trained for.
    pub fn with_rope_scaling(mut self, scaling: RopeScaling) -> Self {
        self.rope_scaling = Some(scaling);
        self
    }

    /// Adds an adapter. llama.cpp's safe interface takes one: loading with more is `Unsupported`.
    pub fn with_lora(mut self, path: impl Into<PathBuf>, scale: f32) -> Self {
        self.lora.push(Lora::new(path, scale));
        self
    }
}
