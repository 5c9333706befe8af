//! llama.cpp's samplers, in a chain that always ends in a choice.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

/// How the next token is chosen. Values have been checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampling {
    /// 0: always the likeliest.
    pub(crate) temperature: f32,
    pub(crate) top_k: Option<u32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) presence: f32,
    pub(crate) frequency: f32,
    /// 1: none.
    pub(crate) repeat: f32,
    pub(crate) seed: u32,
}

/// Samplers in their order; the last one chooses.
pub(super) struct Chain(LlamaSampler);

impl Chain {
    /// Penalties, then top-k, top-p, min-p, temperature, then the choice. `None` if that is just the likeliest token.
    pub(super) fn new(s: &Sampling, vocabulary: i32, context_tokens: usize) -> Option<Self> {
        let mut chain = Vec::new();
        if s.presence != 0.0 || s.frequency != 0.0 || s.repeat != 1.0 {
            let last = i32::try_from(context_tokens).unwrap_or(i32::MAX);
            chain.push(LlamaSampler::penalties(vocabulary, last, s.repeat, s.frequency, s.presence));
        }
        if s.temperature <= 0.0 {
            if chain.is_empty() {
                return None;
            }
            chain.push(LlamaSampler::greedy());
            return Some(Self(LlamaSampler::chain(chain, true)));
        }
        if let Some(k) = s.top_k {
            chain.push(LlamaSampler::top_k(i32::try_from(k).unwrap_or(i32::MAX)));
        }
        if let Some(p) = s.top_p {
            chain.push(LlamaSampler::top_p(p, 1));
        }
        if let Some(p) = s.min_p {
            chain.push(LlamaSampler::min_p(p, 1));
        }
        chain.push(LlamaSampler::temp(s.temperature));
        chain.push(LlamaSampler::dist(s.seed));
        Some(Self(LlamaSampler::chain(chain, true)))
    }

    /// Chooses among `candidates`, of which there is at least one, and remembers the choice.
    pub(super) fn choose(&mut self, candidates: &mut LlamaTokenDataArray) -> Option<LlamaToken> {
        self.0.apply(candidates);
        let token = candidates.selected_token()?;
        self.0.accept(token);
        Some(token)
    }
}
