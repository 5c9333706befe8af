//! Blocks of 32 weights, as ggml lays them out (`ggml-common.h`) and computes them (`ggml-quants.c`).

use katena_core::{Error, Result};

use crate::convert::half::{from_bf16, from_f16, to_f16};

/// Weights of a block.
pub(super) const ROW: usize = 32;
/// The type's number in a file.
pub(super) const Q8_0: u32 = 8;
/// Bytes of a `Q8_0` block.
pub(super) const Q8_0_BYTES: usize = 34;

type Decode = fn(&[u8], &mut [f32; ROW]);

/// How 32 weights of a type are read.
pub(super) struct Decoder {
    /// Bytes that hold 32 weights.
    pub(super) bytes: usize,
    /// Reads them.
    pub(super) decode: Decode,
}

/// The decoder of a tensor type, if it is one that is rewritten.
pub(super) fn decoder(kind: u32) -> Option<Decoder> {
    let (bytes, decode): (usize, Decode) = match kind {
        0 => {
            (ROW * 4, |b, x| fill(x, b.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))))
        }
        1 => (ROW * 2, |b, x| fill(x, b.chunks_exact(2).map(half))),
        30 => {
            (ROW * 2, |b, x| fill(x, b.chunks_exact(2).map(|c| from_bf16(u16::from_le_bytes([c[0], c[1]])))))
        }
        2 => (18, |b, x| four(&b[2..], x, half(b), -8.0 * half(b))),
        3 => (20, |b, x| four(&b[4..], x, half(b), half(&b[2..]))),
        6 => (22, |b, x| five(&b[2..], x, half(b), -16.0 * half(b))),
        7 => (24, |b, x| five(&b[4..], x, half(b), half(&b[2..]))),
        _ => return None,
    };
    Some(Decoder { bytes, decode })
}

fn half(bytes: &[u8]) -> f32 {
    from_f16(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn fill(to: &mut [f32; ROW], from: impl Iterator<Item = f32>) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
}

/// 16 bytes: the low halves are the first 16 numbers, the high halves the others.
fn four(nibbles: &[u8], x: &mut [f32; ROW], scale: f32, least: f32) {
    for (n, byte) in nibbles.iter().enumerate() {
        x[n] = f32::from(byte & 15) * scale + least;
        x[n + 16] = f32::from(byte >> 4) * scale + least;
    }
}

/// Four bytes with the fifth bit of each number, then as [`four`].
fn five(bytes: &[u8], x: &mut [f32; ROW], scale: f32, least: f32) {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let bit = |n: usize| ((high >> n & 1) << 4) as u8;
    for (n, byte) in bytes[4..].iter().enumerate() {
        x[n] = f32::from(byte & 15 | bit(n)) * scale + least;
        x[n + 16] = f32::from(byte >> 4 | bit(n + 16)) * scale + least;
    }
}

/// Appends a `Q8_0` block: the scale (largest magnitude ÷ 127) in 16 bits, then each number ÷ scale, rounded half away from zero.
pub(super) fn encode(numbers: &[f32; ROW], to: &mut Vec<u8>) -> Result<()> {
    let mut most = 0.0f32;
    for x in numbers {
        if !x.is_finite() {
            return Err(Error::invalid_input("a weight is not a finite number"));
        }
        most = most.max(x.abs());
    }
    let scale = most / 127.0;
    let stored = to_f16(scale);
    if !from_f16(stored).is_finite() {
        return Err(Error::invalid_input("a weight is too large for a 16-bit scale"));
    }
    // As ggml: the quotient by the scale before it is rounded to 16 bits.
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    to.extend(stored.to_le_bytes());
    to.extend(numbers.iter().map(|x| ((x * inverse).round().clamp(-127.0, 127.0) as i8).to_le_bytes()[0]));
    Ok(())
}
