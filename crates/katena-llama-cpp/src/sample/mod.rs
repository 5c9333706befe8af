//! Choosing the next token from the model's logits. Nothing here needs a context: logits in, a token out.

mod chain;
#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;

use katena_core::{Error, Result};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use chain::Chain;
pub(crate) use chain::Sampling;

/// Chooses the tokens of one answer, and remembers them.
pub(crate) struct Chooser {
    vocabulary: usize,
    /// `None`: always the likeliest.
    chain: Option<Chain>,
    /// The candidates of a step; kept for its memory.
    candidates: Vec<LlamaTokenData>,
}

impl Chooser {
    /// For a model with `vocabulary` tokens and answers of at most `context_tokens`.
    ///
    /// # Errors
    /// `Unexpected` if llama.cpp can't make a sampler.
    #[allow(clippy::unnecessary_wraps, reason = "constraints can fail")]
    pub(crate) fn new(sampling: &Sampling, vocabulary: i32, context_tokens: usize) -> Result<Self> {
        Ok(Self {
            vocabulary: vocabulary.max(0) as usize,
            chain: Chain::new(sampling, vocabulary, context_tokens),
            candidates: Vec::new(),
        })
    }

    /// Chooses the next token by the model's `logits`, one for each token of the vocabulary.
    ///
    /// # Errors
    /// `Unexpected` if there is not one logit a token, or none is a number; nothing is chosen then.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Result<LlamaToken> {
        if logits.len() != self.vocabulary {
            return Err(Error::unexpected("the model gave a wrong number of logits"));
        }
        let Some(chain) = &mut self.chain else { return likeliest(logits) };
        self.candidates.clear();
        for (id, logit) in logits.iter().enumerate() {
            if logit.is_nan() {
                return Err(broken());
            }
            if *logit > f32::NEG_INFINITY {
                let logit = logit.min(f32::MAX);
                self.candidates.push(LlamaTokenData::new(LlamaToken::new(id as i32), logit, 0.0));
            }
        }
        if self.candidates.is_empty() {
            return Err(broken());
        }
        let mut array = LlamaTokenDataArray::new(std::mem::take(&mut self.candidates), false);
        let token = chain.choose(&mut array);
        self.candidates = array.data;
        token.ok_or_else(broken)
    }

    /// True once the answer is complete: it must end now.
    #[allow(clippy::unused_self, reason = "constraints end answers")]
    pub(crate) fn ended(&self) -> bool {
        false
    }
}

fn broken() -> Error {
    Error::unexpected("the model's logits are not numbers")
}

/// The token with the largest logit; the first of equals.
fn likeliest(logits: &[f32]) -> Result<LlamaToken> {
    let mut best = None;
    let mut most = f32::NEG_INFINITY;
    for (id, logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return Err(broken());
        }
        if *logit > most {
            most = *logit;
            best = Some(id);
        }
    }
    best.map(|id| LlamaToken::new(id as i32)).ok_or_else(broken)
}
