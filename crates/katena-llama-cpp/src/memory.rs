//! How much memory a model will take, asked before it is loaded.

use katena_core::{Error, Result};

use katena_gguf::Header;

use crate::options::LlamaOptions;
use crate::settings::{CachePlace, CacheType, devices};

/// What llama.cpp takes beside the parts counted here, generously.
const OVERHEAD: u64 = 64 << 20;
/// More layers than any model has.
const MAX_LAYERS: u64 = 65_536;
/// The most that a context may take where free memory is unknown.
const UNKNOWN_LIMIT: u64 = 16 << 30;

/// What a model will take, in bytes, estimated from its file without loading it.
///
/// ```
/// use katena_llama_cpp::{CacheType, LlamaChat, LlamaOptions};
/// # let folder = katena_testkit::fixtures::temp_dir();
/// # let path = katena_testkit::tiny::tiny_llama(folder.path());
/// let options = LlamaOptions::new().with_context_tokens(512);
/// let full = LlamaChat::estimate(&path, &options)?;
/// let small = LlamaChat::estimate(&path, &options.with_cache_types(CacheType::F16, CacheType::F16))?;
/// assert_eq!(full.cache_bytes, small.cache_bytes);
/// assert!(full.fits());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// Weights in main memory, mapped or copied; adapters included.
    pub weights_bytes: u64,
    /// Keys and values of the context's tokens in main memory.
    pub cache_bytes: u64,
    /// What is kept of finished requests in main memory at most, and what it takes to move a context there.
    pub kept_bytes: u64,
    /// Buffers of one step, and what llama.cpp takes beside.
    pub buffer_bytes: u64,
    /// Weights and cache on GPUs.
    pub gpu_bytes: u64,
    /// Tokens that the cache holds.
    pub cache_tokens: u64,
    /// Tokens of finished requests that are kept at most.
    pub kept_tokens: u64,
    /// Main memory that may be taken: the option's limit, else what is free; `None` if the system does not tell.
    pub available_bytes: Option<u64>,
    /// Free memory of the GPUs that would be used; `None` without.
    pub gpu_available_bytes: Option<u64>,
}

impl MemoryEstimate {
    /// Bytes of main memory; saturates.
    pub fn total_bytes(&self) -> u64 {
        let context = self.cache_bytes.saturating_add(self.kept_bytes);
        self.weights_bytes.saturating_add(context).saturating_add(self.buffer_bytes)
    }

    /// True if all of it fits into what there is.
    pub fn fits(&self) -> bool {
        let limit = self.available_bytes.unwrap_or(UNKNOWN_LIMIT.saturating_add(self.weights_bytes));
        self.total_bytes() <= limit && self.gpu_available_bytes.is_none_or(|free| self.gpu_bytes <= free)
    }

    /// An error with the numbers, if it does not fit.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn check(&self) -> Result<()> {
        if self.fits() {
            return Ok(());
        }
        let number = |n: Option<u64>| n.map_or_else(|| "?".into(), |n| n.to_string());
        Err(Error::config("the model with this context would not fit into memory")
            .with_context("needed_bytes", self.total_bytes().to_string())
            .with_context("available_bytes", number(self.available_bytes))
            .with_context("weights_bytes", self.weights_bytes.to_string())
            .with_context("cache_bytes", self.cache_bytes.to_string())
            .with_context("cache_tokens", self.cache_tokens.to_string())
            .with_context("kept_bytes", self.kept_bytes.to_string())
            .with_context("gpu_bytes", self.gpu_bytes.to_string())
            .with_context("gpu_available_bytes", number(self.gpu_available_bytes)))
    }
}

/// An estimate in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// The file, which is mapped or copied.
    pub(crate) weights: u64,
    /// Keys and values of all context tokens.
    pub(crate) cache: u64,
    /// Buffers of one step.
    pub(crate) buffers: u64,
}

impl Estimate {
    /// The sum; saturates.
    pub(crate) fn total(self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.buffers).saturating_add(OVERHEAD)
    }
}

/// Bytes of keys and values that one token takes in the cache: for each layer, key heads × (key length + value length).
pub(crate) fn cache_bytes_per_token(header: &Header, keys: CacheType, values: CacheType) -> Option<u64> {
    let layers = header.arch_number("block_count").filter(|n| *n > 0)?;
    if layers > MAX_LAYERS {
        return Some(u64::MAX);
    }
    let arch = header.text("general.architecture")?;
    let heads = header.per_layer(&format!("{arch}.attention.head_count"), layers)?;
    let kv =
        header.per_layer(&format!("{arch}.attention.head_count_kv"), layers).unwrap_or_else(|| heads.clone());
    let width = header.arch_number("embedding_length")?;
    let most = heads.iter().copied().max().filter(|n| *n > 0)?;
    let key = header.arch_number("attention.key_length").unwrap_or(width / most);
    let value = header.arch_number("attention.value_length").unwrap_or(width / most);
    let row = |length: u64, kind: CacheType| {
        let (numbers, bytes) = kind.block();
        length.div_ceil(numbers).checked_mul(bytes)
    };
    let per_head = row(key, keys)?.checked_add(row(value, values)?)?;
    Some(kv.iter().try_fold(0u64, |sum, n| sum.checked_add(n.checked_mul(per_head)?)).unwrap_or(u64::MAX))
}

/// Estimates a model that holds `context` tokens and computes `batch` at a time. Saturates instead of overflowing.
pub(crate) fn estimate(header: &Header, context: u64, batch: u64) -> Estimate {
    estimate_as(header, context, batch, CacheType::F16, CacheType::F16)
}

fn estimate_as(header: &Header, context: u64, batch: u64, keys: CacheType, values: CacheType) -> Estimate {
    let width = header.arch_number("embedding_length").unwrap_or(0);
    let inner = header.arch_number("feed_forward_length").unwrap_or(width.saturating_mul(4));
    let words = header.length("tokenizer.ggml.tokens").unwrap_or(0);
    // Activations of a step, the logits of its outputs, and the attention mask over the context.
    let row = words.saturating_add(width.saturating_mul(16)).saturating_add(inner.saturating_mul(2));
    let buffers = batch.saturating_mul(row.saturating_add(context.saturating_mul(2))).saturating_mul(4);
    let cache = match cache_bytes_per_token(header, keys, values) {
        Some(bytes) => bytes.saturating_mul(context),
        // A model without attention keeps a state of fixed size.
        None => width.saturating_mul(4096),
    };
    Estimate { weights: header.file_bytes, cache, buffers }
}

/// What is kept of finished requests if the caller names nothing, unless one context is larger.
const USUAL_KEPT: u64 = 4096;

/// Estimates a chat model with these options, whose cache holds `tokens` for all requests together, one of them at most
/// `context`; 0: nothing is kept. If the caller does not say how much is kept, it is what there is room for. Layers on a GPU count
/// there, each layer alike and the output as one more; what this build can't put there counts here.
///
/// # Errors
/// `NotFound` for an adapter that is not there; those of [`devices`].
pub(crate) fn estimate_chat(
    header: &Header,
    options: &LlamaOptions,
    tokens: u64,
    context: u64,
) -> Result<MemoryEstimate> {
    let all =
        estimate_as(header, tokens, u64::from(options.batch_tokens), options.key_type, options.value_type);
    let mut adapters = 0u64;
    for lora in &options.lora {
        adapters = adapters.saturating_add(crate::lora::bytes(&lora.path)?);
    }
    let mut there = Vec::new();
    if options.gpu_layers > 0 {
        there = devices()?;
        there.retain(|d| {
            d.takes_layers() && (options.devices.is_empty() || options.devices.contains(&d.name))
        });
    }
    let layers = header.arch_number("block_count").unwrap_or(0).saturating_add(1);
    let away = if there.is_empty() { 0 } else { u64::from(options.gpu_layers).min(layers) };
    let share = |bytes: u64| (u128::from(bytes) * u128::from(away) / u128::from(layers)) as u64;
    let (gpu_weights, gpu_cache) =
        (share(all.weights), if options.cache_place == CachePlace::Layer { share(all.cache) } else { 0 });
    let gpu_buffers = if away > 0 { all.buffers } else { 0 };
    let mut estimate = MemoryEstimate {
        weights_bytes: (all.weights - gpu_weights).saturating_add(adapters),
        cache_bytes: all.cache - gpu_cache,
        kept_bytes: 0,
        kept_tokens: 0,
        buffer_bytes: all.buffers.saturating_add(OVERHEAD),
        gpu_bytes: gpu_weights.saturating_add(gpu_cache).saturating_add(gpu_buffers),
        cache_tokens: tokens,
        available_bytes: options.memory_limit.or_else(available),
        gpu_available_bytes: (away > 0)
            .then(|| there.iter().fold(0u64, |sum, d| sum.saturating_add(d.free_bytes))),
    };
    if let Some(token) = cache_bytes_per_token(header, options.key_type, options.value_type)
        && context > 0
    {
        let moved = token.saturating_mul(context);
        let spare = estimate.available_bytes.map(|bytes| bytes.saturating_sub(estimate.total_bytes()));
        let room = spare.map_or(u64::MAX, |bytes| bytes.saturating_sub(moved) / token.max(1));
        let kept = options.kept_tokens.map_or_else(|| room.min(USUAL_KEPT.max(context)), u64::from);
        if kept > 0 {
            estimate.kept_tokens = kept;
            estimate.kept_bytes = token.saturating_mul(kept).saturating_add(moved);
        }
    }
    Ok(estimate)
}

/// Refuses what will not fit into `limit`, or into the free memory.
pub(crate) fn check(estimate: Estimate, limit: Option<u64>, context: u64) -> Result<()> {
    let (limit, whose) = match limit.or_else(available) {
        Some(bytes) => (bytes, "available_bytes"),
        None => (UNKNOWN_LIMIT.saturating_add(estimate.weights), "limit_bytes"),
    };
    if estimate.total() <= limit {
        return Ok(());
    }
    Err(Error::config("the model with this context would not fit into memory")
        .with_context("needed_bytes", estimate.total().to_string())
        .with_context(whose, limit.to_string())
        .with_context("weights_bytes", estimate.weights.to_string())
        .with_context("cache_bytes", estimate.cache.to_string())
        .with_context("context_tokens", context.to_string()))
}

/// Free memory in bytes, where the system tells (Linux: the kernel's figure, and the control group's limit).
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let free = parse_meminfo(&text)?;
    let group = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let number = |name: &str| group(name)?.trim().parse::<u64>().ok();
    match (number("memory.max"), number("memory.current")) {
        (Some(max), Some(now)) => {
            let stat = group("memory.stat").unwrap_or_default();
            Some(free.min(left_in_group(max, now, &stat)))
        }
        _ => Some(free),
    }
}

/// What a control group may still take: pages of files count as used there, and are given up when room is needed, as the
/// kernel reckons in `MemAvailable`.
fn left_in_group(max: u64, now: u64, stat: &str) -> u64 {
    let of = |name: &str| {
        let line = stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let files = of("inactive_file").saturating_add(of("active_file"));
    max.saturating_sub(now.saturating_sub(files))
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_gguf::{Keep, Value, Writer};

    fn header(pairs: &[(&str, Value)]) -> Header {
        let mut writer = Writer::default();
        writer.set("general.architecture", Value::Text("llama".into()));
        for (key, value) in pairs {
            writer.set(format!("llama.{key}"), value.clone());
        }
        let mut bytes = Vec::new();
        writer.write::<std::io::Error>(&mut bytes, |_, _| unreachable!()).unwrap();
        let len = bytes.len() as u64;
        Header::parse(std::io::Cursor::new(bytes), len, Keep::Small).unwrap()
    }

    #[test]
    fn a_groups_file_pages_are_room() {
        let stat = "anon 100\nfile 700\nactive_file 200\ninactive_file 400\nactive_file_x 9\n";
        assert_eq!(left_in_group(1000, 800, stat), 800);
        assert_eq!(left_in_group(1000, 800, ""), 200);
        assert_eq!(left_in_group(1000, 1200, "inactive_file 10\nactive_file x\n"), 0);
        assert_eq!(left_in_group(1000, 300, "inactive_file 400\n"), 1000);
    }

    #[test]
    fn counts_the_cache_as_measured() {
        // SmolLM2-135M: 30 layers, 3 key heads of 64: 23,040 bytes a token.
        let h = header(&[
            ("block_count", Value::Unsigned(30)),
            ("attention.head_count", Value::Unsigned(9)),
            ("attention.head_count_kv", Value::Unsigned(3)),
            ("embedding_length", Value::Unsigned(576)),
        ]);
        let bytes = |h: &Header| cache_bytes_per_token(h, CacheType::F16, CacheType::F16);
        assert_eq!(bytes(&h), Some(23_040));
        // 64 numbers are two blocks of 34 bytes, or of 18.
        let small = cache_bytes_per_token(&h, CacheType::Q8_0, CacheType::Q4_0);
        assert_eq!(small, Some(30 * 3 * (68 + 36)));
        let layers = header(&[
            ("block_count", Value::Unsigned(2)),
            ("attention.head_count", Value::Unsigned(4)),
            ("attention.head_count_kv", Value::Numbers(vec![4, 2])),
            ("embedding_length", Value::Unsigned(64)),
        ]);
        assert_eq!(bytes(&layers), Some((4 + 2) * 32 * 2));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_numbers() {
        let h = header(&[
            ("block_count", Value::Unsigned(30)),
            ("attention.head_count", Value::Unsigned(9)),
            ("embedding_length", Value::Unsigned(576)),
        ]);
        let huge = estimate(&h, 2_000_000_000, 256);
        let error = check(huge, None, 2_000_000_000).unwrap_err();
        assert_eq!(error.context("needed_bytes"), Some(huge.total().to_string().as_str()));
        assert!(check(estimate(&h, 512, 256), Some(1 << 20), 512).is_err());
        assert!(check(estimate(&h, 512, 256), Some(4 << 30), 512).is_ok());
        let overflow = header(&[
            ("block_count", Value::Unsigned(u64::from(u32::MAX))),
            ("attention.head_count", Value::Unsigned(1)),
            ("embedding_length", Value::Unsigned(u64::from(u32::MAX))),
        ]);
        assert_eq!(estimate(&overflow, u64::MAX, u64::MAX).total(), u64::MAX);
    }

    #[test]
    fn reads_meminfo() {
        assert_eq!(parse_meminfo("MemTotal: 9 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        assert_eq!(parse_meminfo("MemTotal: 9 kB\n"), None);
    }
}
