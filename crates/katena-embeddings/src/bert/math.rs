//! What a transformer computes number by number: softmax, GELU, layer normalisation.
//!
//! Written as plain loops over lines of 16 numbers without branches, which the compiler turns into vector instructions of the
//! processor that [`pulp`] found.

use pulp::{Arch, Simd, WithSimd};

use super::linear::LINE;

/// Adding and subtracting it rounds a small number to the nearest whole one: 1.5 · 2²³.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first exact in 12 bits (Cody and Waite, 1980).
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);

/// eˣ for x ≤ 0, relative error below 3e-7; below -87 as at -87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2.0) - n * LN_2.1;
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0));
    let e = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * tail)));
    // The low bits of `rounded` are n: it goes into the exponent.
    f32::from_bits(e.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// x · Φ(x) with Φ the normal distribution function, error below 5e-7 (erf after Abramowitz and Stegun, 7.1.26).
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = -1.453_152_1 + t * 1.061_405_4;
    let p = t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * p)));
    let tail = 0.5 * x * p * exp(-z * z);
    if x >= 0.0 { x - tail } else { tail }
}

/// Weight and bias of a layer normalisation.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    /// Replaces each of `rows` rows of `x` by the normalised sum of it and the row of `add`; rows are `stride` apart.
    pub(super) fn apply(&self, arch: Arch, rows: usize, x: &mut [f32], add: &[f32], stride: usize) {
        arch.dispatch(Normalize { norm: self, rows, x, add, stride });
    }
}

struct Normalize<'a> {
    norm: &'a Norm,
    rows: usize,
    x: &'a mut [f32],
    add: &'a [f32],
    stride: usize,
}

impl WithSimd for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Norm { weight, bias, epsilon } = self.norm;
        let width = weight.len();
        let rows = self.x.chunks_exact_mut(self.stride).zip(self.add.chunks_exact(self.stride));
        for (x, add) in rows.take(self.rows) {
            let x = &mut x[..width];
            for (x, add) in x.iter_mut().zip(add) {
                *x += add;
            }
            let mean = sum(x, |x| x) / width as f32;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + epsilon).sqrt();
            for ((x, w), b) in x.iter_mut().zip(weight).zip(bias) {
                *x = (*x - mean) * scale * w + b;
            }
        }
    }
}

/// The sum in 16 lanes.
#[inline(always)]
fn sum(of: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LINE];
    let (lines, rest) = of.as_chunks::<LINE>();
    for line in lines {
        for (lane, x) in lanes.iter_mut().zip(line) {
            *lane += f(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

/// GELU of each number.
pub(super) fn gelu_all(arch: Arch, x: &mut [f32]) {
    arch.dispatch(Gelu(x));
}

struct Gelu<'a>(&'a mut [f32]);

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.0 {
            *x = gelu(*x);
        }
    }
}

/// Replaces whole lines by e to the power of each number less the largest; returns their sum.
#[inline(always)]
pub(super) fn softmax(x: &mut [f32]) -> f32 {
    let (lines, _) = x.as_chunks_mut::<LINE>();
    let mut most = [f32::MIN; LINE];
    for line in &*lines {
        for (most, x) in most.iter_mut().zip(line) {
            *most = if *x > *most { *x } else { *most };
        }
    }
    let most = most.iter().fold(f32::MIN, |a, b| if *b > a { *b } else { a });
    let mut sums = [0.0; LINE];
    for line in lines {
        for (sum, x) in sums.iter_mut().zip(line) {
            *x = exp(*x - most);
            *sum += *x;
        }
    }
    sums.iter().sum()
}
