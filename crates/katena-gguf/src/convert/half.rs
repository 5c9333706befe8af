//! 16-bit floating point numbers.

/// The nearest IEEE 754 half-precision number, ties to even; too large becomes infinite.
pub(crate) fn to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff) as i32;
    let mantissa = bits & 0x007f_ffff;
    if exponent == 0xff {
        let nan = if mantissa == 0 { 0 } else { 0x0200 | (mantissa >> 13) as u16 };
        return sign | 0x7c00 | nan;
    }
    let unbiased = exponent - 127 + 15;
    if unbiased >= 0x1f {
        return sign | 0x7c00;
    }
    // The mantissa with its hidden bit, and how far it moves right.
    let (full, shift) = if unbiased <= 0 {
        if unbiased < -10 {
            return sign;
        }
        (mantissa | 0x0080_0000, 14 - unbiased)
    } else {
        (mantissa | (unbiased as u32) << 23, 13)
    };
    let kept = full >> shift;
    let rest = full & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    let up = u32::from(rest > half || (rest == half && kept & 1 == 1));
    sign | (kept + up) as u16
}

/// A half-precision number's value.
pub(crate) fn from_f16(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let mantissa = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => mantissa * 2f32.powi(-24),
        0x1f if mantissa == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        e => (1.0 + mantissa / 1024.0) * 2f32.powi(e - 15),
    }
}

/// A bfloat16 number's value.
pub(crate) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let x = from_f16(bits);
            if x.is_nan() {
                assert!(from_f16(to_f16(x)).is_nan());
            } else {
                assert_eq!(to_f16(x), bits, "{bits:#x}");
            }
        }
    }

    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        for bits in 0..0x7bff_u16 {
            let (a, b) = (from_f16(bits), from_f16(bits + 1));
            let middle = f32::midpoint(a, b);
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(to_f16(middle), even, "{bits:#x}");
            assert_eq!(to_f16(f32::from_bits(middle.to_bits() - 1)), bits);
            assert_eq!(to_f16(f32::from_bits(middle.to_bits() + 1)), bits + 1);
        }
        assert_eq!(to_f16(65_520.0), 0x7c00);
        assert_eq!(to_f16(-65_519.0), 0xfbff);
        assert_eq!(to_f16(1e-9), 0);
        assert_eq!(from_bf16(0x3f80), 1.0);
    }
}
