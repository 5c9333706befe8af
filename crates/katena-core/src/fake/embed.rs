//! A fake embedder.

use std::sync::Arc;

use async_trait::async_trait;

use crate::embed::{EmbedRequest, EmbedResponse, Embedder, EmbedderInfo};
use crate::error::Result;
use crate::splitter::Tokenizer;

/// Hashes words into a vector of length 1: texts that share words are near each other. No model, no download; a double, not a substitute for one.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{Context, EmbedderExt, fake::HashEmbedder};
/// let vector = HashEmbedder::new(64).embed_query("hello world", &Context::new()).await.unwrap();
/// assert_eq!(vector.len(), 64);
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct HashEmbedder {
    info: EmbedderInfo,
}

impl HashEmbedder {
    /// Vectors of `dimensions` (at least 1).
    pub fn new(dimensions: usize) -> Self {
        let dimensions = dimensions.max(1);
        Self { info: EmbedderInfo::new(format!("hash-{dimensions}"), dimensions) }
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0_f32; self.info.dimensions];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            let hash = fnv(word.chars().flat_map(char::to_lowercase));
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            vector[(hash % self.info.dimensions as u64) as usize] += sign;
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length == 0.0 {
            vector[0] = 1.0;
        } else {
            for x in &mut vector {
                *x /= length;
            }
        }
        vector
    }
}

/// FNV-1a, 64 bits: stable across processes, which `std`'s hasher does not promise.
fn fnv(chars: impl Iterator<Item = char>) -> u64 {
    chars.fold(0xcbf2_9ce4_8422_2325, |hash, c| (hash ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3))
}

#[async_trait]
impl Embedder for HashEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        None
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        Ok(EmbedResponse::new(request.texts.iter().map(|t| self.vector(t)).collect()))
    }
}
