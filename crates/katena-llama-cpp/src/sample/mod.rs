//! Choosing the next token from the model's logits. Nothing here needs a context: logits in, a token out.
//!
//! The order: the bias of single tokens, what the answer's form allows, penalties, cut-offs, temperature, the choice.

mod chain;
mod extras;
mod grammar;
mod numbers;
mod pattern;
mod schema;
#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
mod weight;

use katena_core::{Error, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use chain::Chain;
pub(crate) use chain::Sampling;
use chain::Word;
pub(crate) use extras::Extras;
pub(crate) use grammar::{Constraint, Form, Grammars, Part};
pub(crate) use schema::size as check_size;

/// Logits beyond this are cut: sums and products of them stay finite.
const LARGEST: f32 = 1e30;

/// Where a sampler learns about tokens.
#[derive(Clone, Copy)]
pub(crate) enum Vocabulary<'m> {
    /// A loaded model.
    Model(&'m LlamaModel),
    /// So many tokens without texts, for tests.
    #[cfg_attr(not(test), allow(dead_code, reason = "tests choose without a model"))]
    Plain(i32),
}

impl Vocabulary<'_> {
    fn count(self) -> i32 {
        match self {
            Self::Model(model) => model.n_vocab(),
            Self::Plain(count) => count,
        }
    }

    /// The token of a word that a caller named.
    fn token(self, word: &Word) -> Result<LlamaToken> {
        let id = match (word, self) {
            (Word::Id(id), _) => *id,
            (Word::Text(text), Self::Model(model)) => {
                match model.vocab().tokenize(text.as_bytes(), false, false).as_slice() {
                    [one] => one.0,
                    more => {
                        return Err(Error::invalid_input(
                            "a text in logit_bias is not one token of this model",
                        )
                        .with_context("tokens", more.len().to_string()));
                    }
                }
            }
            (Word::Text(_), Self::Plain(_)) => -1,
        };
        if id < 0 || id >= self.count() {
            return Err(Error::invalid_input("a token in logit_bias is not in the model's vocabulary")
                .with_context("token", id.to_string()));
        }
        Ok(LlamaToken::new(id))
    }
}

/// Chooses the tokens of one answer, and remembers them.
pub(crate) struct Chooser {
    vocabulary: usize,
    /// `None`: always the likeliest.
    chain: Option<Chain>,
    /// What is added to the logits of single tokens, by token.
    bias: Vec<(usize, f32)>,
    constraint: Option<Constraint>,
    /// The logits with the bias; kept for its memory.
    biased: Vec<f32>,
    /// The candidates of a step; kept for its memory.
    candidates: Vec<LlamaTokenData>,
}

impl Chooser {
    /// For answers of at most `context_tokens`.
    ///
    /// # Errors
    /// `InvalidInput` if a biased token does not exist.
    pub(crate) fn new(
        sampling: &Sampling,
        vocabulary: Vocabulary<'_>,
        context_tokens: usize,
    ) -> Result<Self> {
        let bias = sampling.bias.iter().map(|(word, by)| Ok((vocabulary.token(word)?.0 as usize, *by)));
        Ok(Self {
            vocabulary: vocabulary.count().max(0) as usize,
            chain: Chain::new(sampling, vocabulary, context_tokens)?,
            bias: bias.collect::<Result<_>>()?,
            constraint: None,
            biased: Vec::new(),
            candidates: Vec::new(),
        })
    }

    /// Holds the answer to a form.
    #[must_use]
    pub(crate) fn with_constraint(mut self, constraint: Option<Constraint>) -> Self {
        self.constraint = constraint;
        self
    }

    /// Chooses the next token by the model's `logits`, one for each token of the vocabulary.
    ///
    /// # Errors
    /// `Unexpected` if there is not one logit a token, or none is a number; `InvalidOutput` or `InvalidInput` if the
    /// answer's form can't go on. Nothing is chosen then.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Result<LlamaToken> {
        if logits.len() != self.vocabulary {
            return Err(Error::unexpected("the model gave a wrong number of logits"));
        }
        let mut biased = std::mem::take(&mut self.biased);
        let token = if self.bias.is_empty() {
            self.pick(logits)
        } else {
            biased.clear();
            biased.extend_from_slice(logits);
            for (token, by) in &self.bias {
                biased[*token] += by;
            }
            self.pick(&biased)
        };
        self.biased = biased;
        let token = token?;
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        Ok(token)
    }

    fn pick(&mut self, logits: &[f32]) -> Result<LlamaToken> {
        let Some(chain) = &mut self.chain else {
            let best = likeliest(logits)?;
            let Some(constraint) = &mut self.constraint else { return Ok(best) };
            // Most tokens of a willing model are allowed: asking about one is cheaper than about all.
            if constraint.allows(best) {
                return Ok(best);
            }
            let mask = constraint.mask()?;
            let allowed = mask.iter().map(|id| id as usize).filter(|id| *id < logits.len());
            return allowed
                .filter(|id| logits[*id] > f32::NEG_INFINITY)
                .reduce(|a, b| if logits[b] > logits[a] { b } else { a })
                .map(|id| LlamaToken::new(id as i32))
                .ok_or_else(impossible);
        };
        self.candidates.clear();
        let mut broken_logit = false;
        let mut add = |id: usize, logit: f32| {
            broken_logit |= logit.is_nan();
            if logit > f32::NEG_INFINITY {
                let logit = logit.clamp(-LARGEST, LARGEST);
                self.candidates.push(LlamaTokenData::new(LlamaToken::new(id as i32), logit, 0.0));
            }
        };
        match &mut self.constraint {
            None => logits.iter().enumerate().for_each(|(id, logit)| add(id, *logit)),
            Some(constraint) => {
                let mask = constraint.mask()?;
                mask.iter()
                    .map(|id| id as usize)
                    .filter(|id| *id < logits.len())
                    .for_each(|id| add(id, logits[id]));
            }
        }
        if broken_logit {
            return Err(broken());
        }
        if self.candidates.is_empty() {
            return Err(if self.constraint.is_some() { impossible() } else { broken() });
        }
        let mut array = LlamaTokenDataArray::new(std::mem::take(&mut self.candidates), false);
        let token = chain.choose(&mut array);
        self.candidates = array.data;
        token.ok_or_else(broken)
    }

    /// True once the answer is complete: it must end now.
    pub(crate) fn ended(&self) -> bool {
        self.constraint.as_ref().is_some_and(Constraint::ended)
    }
}

fn broken() -> Error {
    Error::unexpected("the model's logits are not numbers")
}

fn impossible() -> Error {
    Error::invalid_output("no token of the model continues the form that the answer must have")
}

/// The token with the largest logit; the first of equals. First the largest of each block, in lanes that the compiler makes
/// vectors of, then its place.
fn likeliest(logits: &[f32]) -> Result<LlamaToken> {
    const LANES: usize = 16;
    const BLOCK: usize = 64 * LANES;
    let (mut most, mut start) = (f32::NEG_INFINITY, 0);
    for (n, block) in logits.chunks(BLOCK).enumerate() {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let mut strange = [0; LANES];
        let (lanes, rest) = block.as_chunks::<LANES>();
        for lane in lanes {
            for at in 0..LANES {
                strange[at] |= u32::from(lane[at].is_nan());
                largest[at] = if lane[at] > largest[at] { lane[at] } else { largest[at] };
            }
        }
        if strange != [0; LANES] || rest.iter().any(|logit| logit.is_nan()) {
            return Err(broken());
        }
        let largest = largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        if largest > most {
            (most, start) = (largest, n * BLOCK);
        }
    }
    let place = logits[start..].iter().position(|logit| *logit == most);
    let best = place.filter(|_| most > f32::NEG_INFINITY).map(|n| LlamaToken::new((start + n) as i32));
    best.ok_or_else(broken)
}
