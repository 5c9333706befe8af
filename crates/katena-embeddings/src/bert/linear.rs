//! Matrix products on one thread: rows of numbers times weights that were laid out once.
//!
//! Weights lie in panels of 16 outputs: for each input one line of 16 numbers. A block of [`ROWS`] rows times a panel stays in
//! registers, and a panel's [`INPUTS`] lines in the first-level cache, while the rows go by (Goto and van de Geijn, "Anatomy of
//! high-performance matrix multiplication", 2008). Rows are read where they lie: nothing is padded but the last block.

use pulp::{Arch, Simd, WithSimd};

/// Numbers of a line.
pub(super) const LINE: usize = 16;
/// Rows of a block; with two vectors of eight numbers a row this fills 12 of the 16 registers of AVX2.
pub(super) const ROWS: usize = 6;
/// Inputs of a pass: 24 KiB of a panel.
const INPUTS: usize = 384;
/// Rows that pass before the next panel is taken; 360 KiB of rows at 384 inputs.
const PASS: usize = 40 * ROWS;

/// Sixteen numbers that share a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; LINE]);

impl Line {
    pub(super) const ZERO: Self = Self([0.0; LINE]);
}

/// A width rounded up to whole lines.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(LINE)
}

/// Rows that a buffer needs for `rows` rows: whole blocks, and one more, since a text may begin anywhere.
pub(super) fn room(rows: usize) -> usize {
    rows.next_multiple_of(ROWS) + ROWS
}

/// `y = x · Wᵀ + b`.
#[derive(Debug)]
pub(super) struct Linear {
    inputs: usize,
    /// Panels of `inputs` lines.
    weights: Vec<Line>,
    /// A line a panel.
    bias: Vec<Line>,
}

impl Linear {
    /// Lays out matrices of `inputs` columns whose outputs follow each other.
    pub(super) fn new(inputs: usize, parts: &[(Vec<f32>, Vec<f32>)]) -> Self {
        let outputs: usize = parts.iter().map(|(_, bias)| bias.len()).sum();
        let panels = outputs.div_ceil(LINE);
        let mut weights = vec![Line::ZERO; panels * inputs];
        let mut bias = vec![Line::ZERO; panels];
        let rows = parts.iter().flat_map(|(weights, _)| weights.chunks_exact(inputs));
        let biases = parts.iter().flat_map(|(_, bias)| bias);
        for (n, (row, b)) in rows.zip(biases).enumerate() {
            let (panel, lane) = (n / LINE, n % LINE);
            bias[panel].0[lane] = *b;
            for (line, w) in weights[panel * inputs..].iter_mut().zip(row) {
                line.0[lane] = *w;
            }
        }
        Self { inputs, weights, bias }
    }

    /// Numbers of a row of the result, whole lines.
    fn stride(&self) -> usize {
        self.bias.len() * LINE
    }

    /// Multiplies `rows` rows of `from`, `from_stride` numbers apart, into rows of `to`, whole lines apart.
    ///
    /// Both have [`room`] for the rows.
    pub(super) fn apply(&self, arch: Arch, rows: usize, from: &[f32], from_stride: usize, to: &mut [f32]) {
        arch.dispatch(Apply { linear: self, rows, from, from_stride, to });
    }
}

struct Apply<'a> {
    linear: &'a Linear,
    rows: usize,
    from: &'a [f32],
    from_stride: usize,
    to: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match S::F32_LANES {
            4 => self.run::<S, 4>(s),
            8 => self.run::<S, 2>(s),
            16 => self.run::<S, 1>(s),
            _ => self.run::<S, 16>(s),
        }
    }
}

impl Apply<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, s: S) {
        let Self { linear, rows, from, from_stride, to } = self;
        let (inputs, stride) = (linear.inputs, linear.stride());
        for pass in (0..rows).step_by(PASS) {
            let end = rows.min(pass + PASS);
            for first in (0..inputs).step_by(INPUTS) {
                let last = inputs.min(first + INPUTS);
                for (n, panel) in linear.weights.chunks_exact(inputs).enumerate() {
                    for row in (pass..end).step_by(ROWS) {
                        let a: [&[f32]; ROWS] = std::array::from_fn(|i| {
                            let at = (row + i) * from_stride;
                            &from[at + first..at + last]
                        });
                        let mut sums = [[s.splat_f32s(0.0); VECTORS]; ROWS];
                        if first == 0 {
                            sums = [vectors::<S, VECTORS>(s, &linear.bias[n].0); ROWS];
                        } else {
                            for (i, sum) in sums.iter_mut().enumerate() {
                                *sum = vectors::<S, VECTORS>(s, line(to, (row + i) * stride + n * LINE));
                            }
                        }
                        block(s, a, &panel[first..last], &mut sums);
                        for (i, sum) in sums.iter().enumerate() {
                            store::<S, VECTORS>(line_mut(to, (row + i) * stride + n * LINE), sum);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn line(of: &[f32], at: usize) -> &[f32] {
    &of[at..at + LINE]
}

#[inline(always)]
fn line_mut(of: &mut [f32], at: usize) -> &mut [f32] {
    &mut of[at..at + LINE]
}

/// A line as vectors.
#[inline(always)]
fn vectors<S: Simd, const VECTORS: usize>(s: S, line: &[f32]) -> [S::f32s; VECTORS] {
    let mut all = [s.splat_f32s(0.0); VECTORS];
    for (to, from) in all.iter_mut().zip(S::as_simd_f32s(line).0) {
        *to = *from;
    }
    all
}

#[inline(always)]
pub(super) fn store<S: Simd, const VECTORS: usize>(line: &mut [f32], from: &[S::f32s; VECTORS]) {
    for (to, from) in S::as_mut_simd_f32s(line).0.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Adds to `sums` the products of six rows with the lines of a panel, one line an input.
#[inline(always)]
pub(super) fn block<S: Simd, const VECTORS: usize>(
    s: S,
    rows: [&[f32]; ROWS],
    panel: &[Line],
    sums: &mut [[S::f32s; VECTORS]; ROWS],
) {
    let len = panel.len();
    let rows = rows.map(|r| &r[..len]);
    let mut sum = *sums;
    for k in 0..len {
        let weights = vectors::<S, VECTORS>(s, &panel[k].0);
        for i in 0..ROWS {
            let x = s.splat_f32s(rows[i][k]);
            for j in 0..VECTORS {
                sum[i][j] = s.mul_add_e_f32s(x, weights[j], sum[i][j]);
            }
        }
    }
    *sums = sum;
}
