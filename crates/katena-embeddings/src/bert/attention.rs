//! Attention of each text's tokens to each other.

use pulp::{Arch, Simd, WithSimd};

use super::linear::{LINE, Line, ROWS, block, padded, store};
use super::math::softmax;

/// Below every score: weighs nothing.
const NOTHING: f32 = -1e30;

/// Buffers for one text and head.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Panels of 16 tokens, a line for each of the head's dimensions.
    keys: Vec<Line>,
    /// Panels of 16 dimensions, a line a token.
    values: Vec<Line>,
    /// Of a block of tokens, to each token.
    scores: Vec<f32>,
}

/// Computes all heads of one text.
pub(super) struct Attend<'a> {
    /// Queries, keys and values of each token, from the text's first on; [room](super::linear::room) for them.
    pub(super) qkv: &'a [f32],
    pub(super) qkv_stride: usize,
    pub(super) tokens: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    /// A row a token.
    pub(super) to: &'a mut [f32],
    pub(super) buffers: &'a mut Buffers,
}

impl Attend<'_> {
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match S::F32_LANES {
            4 => self.all::<S, 4>(s),
            8 => self.all::<S, 2>(s),
            16 => self.all::<S, 1>(s),
            _ => self.all::<S, 16>(s),
        }
    }
}

impl Attend<'_> {
    #[inline(always)]
    fn all<S: Simd, const VECTORS: usize>(mut self, s: S) {
        let head = self.width / self.heads;
        let panels = self.tokens.div_ceil(LINE);
        self.buffers.keys.resize(panels * head, Line::ZERO);
        self.buffers.values.resize(head.div_ceil(LINE) * self.tokens, Line::ZERO);
        self.buffers.scores.resize(ROWS * panels * LINE, 0.0);
        for n in 0..self.heads {
            self.pack(n, head);
            for row in (0..self.tokens).step_by(ROWS) {
                self.rows::<S, VECTORS>(s, n, head, row);
            }
        }
    }

    /// Lays out a head's keys, scaled, and values.
    #[inline(always)]
    fn pack(&mut self, n: usize, head: usize) {
        let scale = 1.0 / (head as f32).sqrt();
        let (keys, values) = (&mut self.buffers.keys, &mut self.buffers.values);
        // Tokens past the text's end in the last panel: their scores are set to `NOTHING` later.
        if let Some(last) = keys.chunks_exact_mut(head).next_back() {
            last.fill(Line::ZERO);
        }
        for (token, row) in self.qkv.chunks_exact(self.qkv_stride).take(self.tokens).enumerate() {
            let at = self.width + n * head;
            let panel = &mut keys[token / LINE * head..][..head];
            for (line, x) in panel.iter_mut().zip(&row[at..at + head]) {
                line.0[token % LINE] = x * scale;
            }
            let at = at + self.width;
            for (part, from) in row[at..at + head].chunks(LINE).enumerate() {
                // Lanes past the head's end keep what they have: nobody reads their results.
                values[part * self.tokens + token].0[..from.len()].copy_from_slice(from);
            }
        }
    }

    /// A block of tokens.
    #[inline(always)]
    fn rows<S: Simd, const VECTORS: usize>(&mut self, s: S, n: usize, head: usize, row: usize) {
        let length = padded(self.tokens);
        let Buffers { keys, values, scores } = &mut *self.buffers;
        let queries: [&[f32]; ROWS] = std::array::from_fn(|i| {
            let at = (row + i) * self.qkv_stride + n * head;
            &self.qkv[at..at + head]
        });
        for (part, panel) in keys.chunks_exact(head).enumerate() {
            let mut sums = [[s.splat_f32s(0.0); VECTORS]; ROWS];
            block(s, queries, panel, &mut sums);
            for (i, sum) in sums.iter().enumerate() {
                let at = i * length + part * LINE;
                store::<S, VECTORS>(&mut scores[at..at + LINE], sum);
            }
        }
        let mut weights = [0.0; ROWS];
        for (row, weight) in scores.chunks_exact_mut(length).zip(&mut weights) {
            row[self.tokens..].fill(NOTHING);
            *weight = 1.0 / softmax(row);
        }
        let rows: [&[f32]; ROWS] = std::array::from_fn(|i| &scores[i * length..i * length + self.tokens]);
        let stride = padded(self.width);
        for (part, panel) in values.chunks_exact(self.tokens).enumerate() {
            let mut sums = [[s.splat_f32s(0.0); VECTORS]; ROWS];
            block(s, rows, panel, &mut sums);
            let used = LINE.min(head - part * LINE);
            for (i, sum) in sums.iter().enumerate().take(self.tokens - row) {
                let mut line = [0.0; LINE];
                store::<S, VECTORS>(&mut line, sum);
                let at = (row + i) * stride + n * head + part * LINE;
                for (to, x) in self.to[at..at + used].iter_mut().zip(&line) {
                    *to = x * weights[i];
                }
            }
        }
    }
}
