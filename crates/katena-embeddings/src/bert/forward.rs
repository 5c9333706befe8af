//! The network: a batch of texts, one after the other without padding, to a vector each.

use pulp::Arch;

use super::attention::{Attend, Buffers};
use super::linear::{Linear, padded, room};
use super::math::{Norm, gelu_all};
use katena_gguf::Pooling;

/// One layer (Devlin et al., "BERT", 2018; Vaswani et al., "Attention is all you need", 2017).
#[derive(Debug)]
pub(super) struct Layer {
    /// Queries, then keys, then values.
    pub(super) qkv: Linear,
    pub(super) output: Linear,
    pub(super) output_norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) norm: Norm,
}

/// A model's weights.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Numbers between `up` and `down`.
    pub(super) inner: usize,
    /// A row a token of the vocabulary.
    pub(super) words: Vec<f32>,
    /// A row a position, the first token type's included.
    pub(super) positions: Vec<f32>,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
    pub(super) pooling: Pooling,
}

/// Buffers of one thread, reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Work {
    x: Vec<f32>,
    qkv: Vec<f32>,
    context: Vec<f32>,
    y: Vec<f32>,
    inner: Vec<f32>,
    attention: Buffers,
}

impl Network {
    /// Tokens of the vocabulary.
    pub(super) fn vocabulary(&self) -> usize {
        self.words.len() / self.width
    }

    /// Most tokens of a text.
    pub(super) fn longest(&self) -> usize {
        self.positions.len() / self.width
    }

    /// Numbers in a thread's buffers for batches of `tokens` tokens.
    pub(super) fn work(width: usize, inner: usize, tokens: usize, longest: usize) -> usize {
        room(tokens) * (3 * padded(width) + padded(3 * width) + padded(inner))
            + 2 * padded(longest) * padded(width)
            + 6 * padded(longest)
    }

    /// The pooled vector of each text, not normalised.
    ///
    /// Texts are not empty, not longer than [`longest`](Self::longest), of tokens below [`vocabulary`](Self::vocabulary).
    pub(super) fn run(&self, arch: Arch, texts: &[&[u32]], work: &mut Work) -> Vec<Vec<f32>> {
        let rows: usize = texts.iter().map(|t| t.len()).sum();
        let (width, stride, triple) = (self.width, padded(self.width), padded(3 * self.width));
        for (buffer, stride) in [
            (&mut work.x, stride),
            (&mut work.context, stride),
            (&mut work.y, stride),
            (&mut work.qkv, triple),
            (&mut work.inner, padded(self.inner)),
        ] {
            let needed = room(rows) * stride;
            if buffer.len() < needed {
                buffer.resize(needed, 0.0);
            }
        }
        self.embed(arch, texts, rows, work);
        for layer in &self.layers {
            layer.qkv.apply(arch, rows, &work.x, stride, &mut work.qkv);
            let mut first = 0;
            for text in texts {
                let attend = Attend {
                    qkv: &work.qkv[first * triple..],
                    qkv_stride: triple,
                    tokens: text.len(),
                    width,
                    heads: self.heads,
                    to: &mut work.context[first * stride..],
                    buffers: &mut work.attention,
                };
                attend.run(arch);
                first += text.len();
            }
            layer.output.apply(arch, rows, &work.context, stride, &mut work.y);
            layer.output_norm.apply(arch, rows, &mut work.x, &work.y, stride);
            layer.up.apply(arch, rows, &work.x, stride, &mut work.inner);
            gelu_all(arch, &mut work.inner[..rows * padded(self.inner)]);
            layer.down.apply(arch, rows, &work.inner, padded(self.inner), &mut work.y);
            layer.norm.apply(arch, rows, &mut work.x, &work.y, stride);
        }
        let mut at = 0;
        texts
            .iter()
            .map(|text| {
                let rows = &work.x[at * stride..(at + text.len()) * stride];
                at += text.len();
                self.pool(rows, stride)
            })
            .collect()
    }

    /// Token and position vectors, normalised.
    fn embed(&self, arch: Arch, texts: &[&[u32]], rows: usize, work: &mut Work) {
        let (width, stride) = (self.width, padded(self.width));
        let tokens = texts.iter().flat_map(|text| text.iter().enumerate());
        let targets = work.x.chunks_exact_mut(stride).zip(work.y.chunks_exact_mut(stride));
        for ((x, y), (position, token)) in targets.zip(tokens) {
            let from = *token as usize * width;
            x[..width].copy_from_slice(&self.words[from..from + width]);
            let from = position * width;
            y[..width].copy_from_slice(&self.positions[from..from + width]);
        }
        self.norm.apply(arch, rows, &mut work.x, &work.y, stride);
    }

    fn pool(&self, rows: &[f32], stride: usize) -> Vec<f32> {
        let mut rows = rows.chunks_exact(stride).map(|row| &row[..self.width]);
        match self.pooling {
            // The mean's length does not matter: vectors get length 1.
            Pooling::Mean => rows.fold(vec![0.0; self.width], |mut sum, row| {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                sum
            }),
            Pooling::Cls => rows.next().unwrap_or_default().to_vec(),
            Pooling::Last => rows.next_back().unwrap_or_default().to_vec(),
        }
    }
}
