//! llama.cpp's samplers, in a chain that always ends in a choice.

use katena_core::{Error, Result};
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use super::Vocabulary;

/// Temperatures below this are taken as this: logits divided by it stay finite.
const COLDEST: f32 = 1e-4;
/// What is less likely than the likeliest by more than e⁻⁸⁰ has no logarithm in 32 bits.
const FAR: f32 = 80.0;
/// How many candidates mirostat 1 looks at to estimate the distribution's shape; the paper's value.
const MIROSTAT_M: usize = 100;

/// A token as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// By its number.
    Id(i32),
    /// By its text, which must be one token.
    Text(String),
}

/// Exclude top choices: with `probability`, all tokens likelier than `threshold` but the least of them are dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Xtc {
    pub(crate) probability: f32,
    pub(crate) threshold: f32,
}

/// Don't repeat yourself: a token that would continue a repetition of `n` tokens loses
/// `multiplier · base^(n − allowed_length)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dry {
    pub(crate) multiplier: f32,
    pub(crate) base: f32,
    pub(crate) allowed_length: u32,
    /// `None`: the whole answer.
    pub(crate) last: Option<u32>,
    /// Texts over which no repetition counts.
    pub(crate) breakers: Vec<String>,
}

/// Keeps the surprise of each token near `tau` bits (Basu et al. 2020, arXiv:2007.14966).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mirostat {
    /// 1 or 2.
    pub(crate) version: u32,
    pub(crate) tau: f32,
    pub(crate) eta: f32,
}

/// How the next token is chosen. Values have been checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampling {
    /// 0: always the likeliest.
    pub(crate) temperature: f32,
    /// How far the temperature moves with the entropy, and the exponent of that.
    pub(crate) dynamic: Option<(f32, f32)>,
    pub(crate) top_k: Option<u32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) typical_p: Option<f32>,
    pub(crate) top_n_sigma: Option<f32>,
    pub(crate) xtc: Option<Xtc>,
    pub(crate) dry: Option<Dry>,
    pub(crate) mirostat: Option<Mirostat>,
    pub(crate) presence: f32,
    pub(crate) frequency: f32,
    /// 1: none.
    pub(crate) repeat: f32,
    /// Tokens that penalties look back over; `None`: the whole answer.
    pub(crate) repeat_last: Option<u32>,
    pub(crate) bias: Vec<(Word, f32)>,
    pub(crate) seed: u32,
}

impl Default for Sampling {
    /// The likeliest token, always.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            dynamic: None,
            top_k: None,
            top_p: None,
            min_p: None,
            typical_p: None,
            top_n_sigma: None,
            xtc: None,
            dry: None,
            mirostat: None,
            presence: 0.0,
            frequency: 0.0,
            repeat: 1.0,
            repeat_last: None,
            bias: Vec::new(),
            seed: 1,
        }
    }
}

/// A temperature that grows with the entropy of the candidates (arXiv:2309.02772).
struct Dynamic {
    least: f32,
    most: f32,
    exponent: f32,
}

impl Dynamic {
    fn apply(&self, candidates: &mut LlamaTokenDataArray) {
        let data = &mut candidates.data;
        if data.len() < 2 {
            return;
        }
        let most = data.iter().map(|c| c.logit()).fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = data.iter().map(|c| (c.logit() - most).exp()).sum();
        let entropy: f32 = data
            .iter()
            .map(|c| (c.logit() - most - sum.ln(), (c.logit() - most).exp() / sum))
            .map(|(log, p)| if p > 0.0 { -p * log } else { 0.0 })
            .sum();
        let part = (entropy / (data.len() as f32).ln()).clamp(0.0, 1.0);
        let temperature = self.least + (self.most - self.least) * part.powf(self.exponent);
        for candidate in data {
            candidate.set_logit(candidate.logit() / temperature);
        }
    }
}

/// Samplers in their order; the last one chooses.
pub(super) struct Chain {
    shape: LlamaSampler,
    dynamic: Option<Dynamic>,
    mirostat: Option<(Mirostat, f32)>,
    /// Far candidates are dropped first.
    near: bool,
    vocabulary: i32,
    pick: LlamaSampler,
}

fn whole(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Chain {
    /// Penalties, DRY, top-nσ, top-k, typical, top-p, min-p, XTC, temperature, mirostat, then the choice: llama.cpp's usual
    /// order. `None` if that is just the likeliest token.
    ///
    /// # Errors
    /// `Unsupported` for DRY without a model.
    pub(super) fn new(
        s: &Sampling,
        vocabulary: Vocabulary<'_>,
        context_tokens: usize,
    ) -> Result<Option<Self>> {
        let all = u32::try_from(context_tokens).unwrap_or(u32::MAX).min(i32::MAX as u32);
        let back = |last: Option<u32>| whole(last.unwrap_or(all).min(all));
        let count = vocabulary.count();
        let mut chain = Vec::new();
        if s.presence != 0.0 || s.frequency != 0.0 || s.repeat != 1.0 {
            chain.push(LlamaSampler::penalties(
                count,
                back(s.repeat_last),
                s.repeat,
                s.frequency,
                s.presence,
            ));
        }
        if let Some(dry) = s.dry.as_ref().filter(|dry| dry.multiplier > 0.0) {
            let Vocabulary::Model(model) = vocabulary else {
                return Err(Error::unsupported("DRY needs a model's texts"));
            };
            chain.push(LlamaSampler::dry(
                model,
                dry.multiplier,
                dry.base,
                whole(dry.allowed_length),
                back(dry.last),
                dry.breakers.iter().map(String::as_bytes),
            ));
        }
        let xtc = s.xtc.map(|x| LlamaSampler::xtc(x.probability, x.threshold, 1, s.seed));
        if s.temperature <= 0.0 {
            chain.extend(xtc);
            if chain.is_empty() {
                return Ok(None);
            }
            return Ok(Some(Self {
                shape: LlamaSampler::chain(chain, true),
                dynamic: None,
                mirostat: None,
                near: false,
                vocabulary: count,
                pick: LlamaSampler::greedy(),
            }));
        }
        chain.extend(s.top_n_sigma.map(LlamaSampler::top_n_sigma));
        chain.extend(s.top_k.map(|k| LlamaSampler::top_k(whole(k))));
        chain.extend(s.typical_p.map(|p| LlamaSampler::typical(p, 1)));
        chain.extend(s.top_p.map(|p| LlamaSampler::top_p(p, 1)));
        chain.extend(s.min_p.map(|p| LlamaSampler::min_p(p, 1)));
        chain.extend(xtc);
        let temperature = s.temperature.max(COLDEST);
        if s.dynamic.is_none() {
            chain.push(LlamaSampler::temp(temperature));
        }
        Ok(Some(Self {
            shape: LlamaSampler::chain(chain, true),
            dynamic: s.dynamic.map(|(range, exponent)| Dynamic {
                least: (temperature - range).max(COLDEST),
                most: temperature + range,
                exponent,
            }),
            mirostat: s.mirostat.map(|m| (m, 2.0 * m.tau)),
            near: s.typical_p.is_some() || s.mirostat.is_some(),
            vocabulary: count,
            pick: LlamaSampler::dist(s.seed),
        }))
    }

    /// Chooses among `candidates`, of which there is at least one, and remembers the choice.
    pub(super) fn choose(&mut self, candidates: &mut LlamaTokenDataArray) -> Option<LlamaToken> {
        if self.near {
            drop_far(candidates);
        }
        let token = if let [only] = candidates.data.as_slice() {
            only.id()
        } else {
            self.shape.apply(candidates);
            if let Some(dynamic) = &self.dynamic {
                dynamic.apply(candidates);
            }
            if let Some((mirostat, mu)) = &mut self.mirostat {
                drop_far(candidates);
                truncate(mirostat, *mu, self.vocabulary, candidates);
            }
            if candidates.data.is_empty() {
                return None;
            }
            self.pick.apply(candidates);
            let chosen = &candidates.data[candidates.selected?];
            if let Some((mirostat, mu)) = &mut self.mirostat {
                let surprise = -chosen.p().log2();
                if surprise.is_finite() {
                    *mu -= mirostat.eta * (surprise - mirostat.tau);
                }
            }
            chosen.id()
        };
        self.shape.accept(token);
        Some(token)
    }
}

fn drop_far(candidates: &mut LlamaTokenDataArray) {
    let most = candidates.data.iter().map(|c| c.logit()).fold(f32::NEG_INFINITY, f32::max);
    candidates.data.retain(|c| c.logit() >= most - FAR);
}

/// Keeps the candidates that mirostat allows, likeliest first. At least one stays.
fn truncate(mirostat: &Mirostat, mu: f32, vocabulary: i32, candidates: &mut LlamaTokenDataArray) {
    let data = &mut candidates.data;
    data.sort_by(|a, b| b.logit().total_cmp(&a.logit()));
    candidates.sorted = true;
    let most = data.first().map_or(0.0, |c| c.logit());
    let sum: f32 = data.iter().map(|c| (c.logit() - most).exp()).sum();
    // ln p of the n-th.
    let log = |n: usize| data[n].logit() - most - sum.ln();
    let keep = if mirostat.version == 1 {
        let (mut both, mut squares) = (0.0, 0.0);
        for n in 0..data.len().saturating_sub(1).min(MIROSTAT_M - 1) {
            let t = ((n + 2) as f32 / (n + 1) as f32).ln();
            both += t * (log(n) - log(n + 1));
            squares += t * t;
        }
        let s: f32 = both / squares;
        let epsilon = s - 1.0;
        let k = ((epsilon * mu.exp2()) / (1.0 - (vocabulary as f32).powf(-epsilon))).powf(1.0 / s);
        // No number, as of a flat distribution, keeps all.
        if k.is_nan() { data.len() } else { k as usize }
    } else {
        let limit = -mu * std::f32::consts::LN_2;
        (0..data.len()).take_while(|n| log(*n) >= limit).count()
    };
    data.truncate(keep.max(1));
}
