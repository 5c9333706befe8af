//! Images of a request: their bytes, and how large they say they are. Nothing is decoded here.

use katena_core::{Error, Media, Result};

/// Most bytes of an image.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// Longest side of an image, in pixels.
pub(super) const MAX_SIDE: u32 = 16_384;
/// Most pixels of an image.
pub(super) const MAX_PIXELS: u64 = 40_000_000;

fn bad(words: &'static str) -> Error {
    Error::invalid_input(words)
}

/// An image whose head is sound.
pub(super) struct Picture {
    pub(super) bytes: Vec<u8>,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Picture {
    /// The image in `media`.
    ///
    /// # Errors
    /// `Unsupported` for an address, and for anything but PNG and JPEG; `InvalidInput` for broken or too large ones.
    pub(super) fn of(media: &Media) -> Result<Self> {
        let Media::Base64 { data, .. } = media else {
            return Err(Error::unsupported("a local model reads no addresses: give the image's bytes")
                .with_context("part", "image"));
        };
        if data.len() / 4 * 3 > MAX_BYTES + 3 {
            return Err(bad("an image has too many bytes").with_context("most_bytes", MAX_BYTES.to_string()));
        }
        let bytes = base64(data.as_bytes()).ok_or_else(|| bad("an image is no valid base64"))?;
        let (width, height) = size(&bytes)?;
        let pixels = u64::from(width) * u64::from(height);
        if width == 0 || height == 0 || width.max(height) > MAX_SIDE || pixels > MAX_PIXELS {
            return Err(bad("an image is empty or has too many pixels")
                .with_context("width", width.to_string())
                .with_context("height", height.to_string())
                .with_context("longest_side", MAX_SIDE.to_string())
                .with_context("most_pixels", MAX_PIXELS.to_string()));
        }
        Ok(Self { bytes, width, height })
    }
}

/// Standard base64 with padding (RFC 4648, section 4), strictly.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let groups = text.len() / 4;
    for (n, group) in text.chunks_exact(4).enumerate() {
        let padding = group.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && n + 1 < groups) {
            return None;
        }
        let mut bits = 0u32;
        for b in &group[..4 - padding] {
            let value = match b {
                b'A'..=b'Z' => b - b'A',
                b'a'..=b'z' => b - b'a' + 26,
                b'0'..=b'9' => b - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * padding;
        let bytes = bits.to_be_bytes();
        let kept = 3 - padding;
        // What padding cuts off must be zero.
        if bytes[1 + kept..].iter().any(|b| *b != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..=kept]);
    }
    Some(out)
}

/// Width and height as the image's head says: PNG (its first chunk, `IHDR`) or JPEG (its frame header).
fn size(bytes: &[u8]) -> Result<(u32, u32)> {
    if let Some(rest) = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n") {
        let number = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        return match (rest.get(4..8), number(8), number(12)) {
            (Some(b"IHDR"), Some(width), Some(height)) => Ok((width, height)),
            _ => Err(bad("a PNG image is broken")),
        };
    }
    if bytes.starts_with(b"\xff\xd8") {
        return jpeg_size(bytes).ok_or_else(|| bad("a JPEG image is broken"));
    }
    Err(Error::unsupported("images are read as PNG or JPEG"))
}

/// The frame header comes after tables and application segments, each with its length.
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        while *bytes.get(at)? == 0xff {
            at += 1;
        }
        let marker = bytes[at];
        let length = usize::from(number(at + 1)?);
        match marker {
            0xc0..=0xc2 => return Some((number(at + 6)?.into(), number(at + 4)?.into())),
            0xc4 | 0xdb | 0xdd | 0xe0..=0xef | 0xfe if length >= 2 => at += 1 + length,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::ErrorKind;

    #[test]
    fn base64_is_strict() {
        // The vectors of RFC 4648, section 10.
        for (text, plain) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(plain.as_bytes()), "{text}");
        }
        assert_eq!(base64(b"+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
        for text in ["Z", "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Zg==Zg==", "Zm 9", "Zm-_", "Z=g="] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_in_the_head() {
        let png = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x02\0\0\0\x03"[..], &[8, 2, 0, 0, 0]].concat();
        assert_eq!(size(&png).unwrap(), (258, 3));
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x11\x08\0\x07\0\x05\x03";
        assert_eq!(size(jpeg).unwrap(), (5, 7));
        for cut in 2..jpeg.len() - 1 {
            assert!(size(&jpeg[..cut]).is_err(), "{cut}");
        }
        for cut in 8..24 {
            assert_eq!(size(&png[..cut]).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert!(
            size(b"\xff\xd8\xff\xe0\0\0\xff\xc0\0\x11\x08\0\x07\0\x05").is_err(),
            "a segment without a length"
        );
        assert_eq!(size(b"GIF89a").unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
