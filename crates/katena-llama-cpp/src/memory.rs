//! How much memory a model will take, asked before it is loaded.

use katena_core::{Error, Result};

use katena_gguf::Header;

/// Bytes of a key or value in the cache (16-bit floats).
const CACHE_BYTES: u64 = 2;
/// What llama.cpp takes beside the parts counted here, generously.
const OVERHEAD: u64 = 64 << 20;
/// More layers than any model has.
const MAX_LAYERS: u64 = 65_536;
/// The most that a context may take where free memory is unknown.
const UNKNOWN_LIMIT: u64 = 16 << 30;

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
pub(crate) fn cache_bytes_per_token(header: &Header) -> Option<u64> {
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
    let per_head = key.checked_add(value)?.checked_mul(CACHE_BYTES)?;
    kv.iter().try_fold(0u64, |sum, n| sum.checked_add(n.checked_mul(per_head)?))
}

/// Estimates a model that holds `context` tokens and computes `batch` at a time. Saturates instead of overflowing.
pub(crate) fn estimate(header: &Header, context: u64, batch: u64) -> Estimate {
    let width = header.arch_number("embedding_length").unwrap_or(0);
    let inner = header.arch_number("feed_forward_length").unwrap_or(width.saturating_mul(4));
    let words = header.length("tokenizer.ggml.tokens").unwrap_or(0);
    // Activations of a step, the logits of its outputs, and the attention mask over the context.
    let row = words.saturating_add(width.saturating_mul(16)).saturating_add(inner.saturating_mul(2));
    let buffers = batch.saturating_mul(row.saturating_add(context.saturating_mul(2))).saturating_mul(4);
    let cache = match cache_bytes_per_token(header) {
        Some(bytes) => bytes.saturating_mul(context),
        // A model without attention keeps a state of fixed size.
        None => width.saturating_mul(4096),
    };
    Estimate { weights: header.file_bytes, cache, buffers }
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
    let group = |name: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok()
    };
    match (group("memory.max"), group("memory.current")) {
        (Some(max), Some(now)) => Some(free.min(max.saturating_sub(now))),
        _ => Some(free),
    }
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
    fn counts_the_cache_as_measured() {
        // SmolLM2-135M: 30 layers, 3 key heads of 64: 23,040 bytes a token.
        let h = header(&[
            ("block_count", Value::Unsigned(30)),
            ("attention.head_count", Value::Unsigned(9)),
            ("attention.head_count_kv", Value::Unsigned(3)),
            ("embedding_length", Value::Unsigned(576)),
        ]);
        assert_eq!(cache_bytes_per_token(&h), Some(23_040));
        let layers = header(&[
            ("block_count", Value::Unsigned(2)),
            ("attention.head_count", Value::Unsigned(4)),
            ("attention.head_count_kv", Value::Numbers(vec![4, 2])),
            ("embedding_length", Value::Unsigned(64)),
        ]);
        assert_eq!(cache_bytes_per_token(&layers), Some((4 + 2) * 32 * 2));
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
