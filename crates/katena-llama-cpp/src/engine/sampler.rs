//! The sampler chain of one request.

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;

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

/// A chain that always ends in a choice; one without aborts the process.
pub(crate) struct Sampler(LlamaSampler);

impl Sampler {
    /// Builds the chain: penalties, then top-k, top-p, min-p, temperature, then the choice.
    pub(crate) fn new(s: &Sampling, vocabulary: i32, context_tokens: usize) -> Self {
        let mut chain = Vec::new();
        if s.presence != 0.0 || s.frequency != 0.0 || s.repeat != 1.0 {
            let last = i32::try_from(context_tokens).unwrap_or(i32::MAX);
            chain.push(LlamaSampler::penalties(vocabulary, last, s.repeat, s.frequency, s.presence));
        }
        if s.temperature <= 0.0 {
            chain.push(LlamaSampler::greedy());
            return Self(LlamaSampler::chain(chain, true));
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
        Self(LlamaSampler::chain(chain, true))
    }

    /// Chooses and remembers a token; only the engine calls it, at an index that has logits.
    pub(super) fn sample(&mut self, context: &LlamaContext<'_>, index: i32) -> LlamaToken {
        self.0.sample(context, index)
    }
}
