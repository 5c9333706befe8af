//! Bytes to text.

use encoding_rs::{Encoding, ISO_2022_JP, UTF_16BE, UTF_16LE, WINDOWS_1252};
use katena_core::{Error, Result};

/// Decodes a text file: by its byte-order mark, else UTF-8, else UTF-16 without a mark, else windows-1252 where the bytes
/// read like words in it. A byte-order mark is not part of the text.
///
/// # Errors
/// `InvalidInput` with the offset of the first byte that is no UTF-8, if it is nothing else either.
pub(crate) fn decode(bytes: Vec<u8>, declared: Option<&'static Encoding>) -> Result<String> {
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        return strictly(&bytes[mark..], encoding);
    }
    if declared == Some(ISO_2022_JP) {
        return strictly(&bytes, ISO_2022_JP);
    }
    if let Some(encoding) = utf16_by_zeros(&bytes) {
        return strictly(&bytes, encoding);
    }
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let at = error.utf8_error().valid_up_to();
    let bytes = error.into_bytes();
    if let Some(encoding) = declared {
        // The author's word, and like a browser: what can't be decoded becomes U+FFFD.
        return Ok(encoding.decode_without_bom_handling(&bytes).0.into_owned());
    }
    if reads_like_windows_1252(&bytes) {
        return Ok(WINDOWS_1252.decode_without_bom_handling(&bytes).0.into_owned());
    }
    Err(Error::invalid_input(format!(
        "the text is not UTF-8 (first at byte {at}) and does not look like UTF-16 or windows-1252"
    )))
}

fn strictly(bytes: &[u8], encoding: &'static Encoding) -> Result<String> {
    let (text, bad) = encoding.decode_without_bom_handling(bytes);
    if bad {
        return Err(Error::invalid_input(format!(
            "the text is marked as {} but is not valid in it",
            encoding.name()
        )));
    }
    Ok(text.into_owned())
}

/// UTF-16 of mostly Latin text has a zero in nearly every second byte.
fn utf16_by_zeros(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = &bytes[..bytes.len().min(4096) & !1];
    if head.len() < 4 {
        return None;
    }
    let pairs = head.len() / 2;
    let zeros = |parity: usize| head.iter().skip(parity).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    if odd * 10 > pairs * 7 && even * 20 < pairs {
        Some(UTF_16LE)
    } else if even * 10 > pairs * 7 && odd * 20 < pairs {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// Accented letters stand in words of plain letters (or are such words: à, é), and nothing is undefined or a control
/// character. Other alphabets and binary files fail this, and are better refused than loaded as rubbish.
fn reads_like_windows_1252(bytes: &[u8]) -> bool {
    let (mut high, mut odd) = (0_usize, 0_usize);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\t' | b'\n' | b'\r' | 0x0c | 0x20..=0x7e => {}
            0x00..=0x1f | 0x7f | 0x81 | 0x8d | 0x8f | 0x90 | 0x9d => return false,
            0xc0..=0xff => {
                high += 1;
                let around = |near: Option<&u8>| near.is_some_and(|b| b.is_ascii_alphabetic());
                let letter = |near: Option<&u8>| near.is_some_and(|b| *b >= 0xc0);
                let before = at.checked_sub(1).and_then(|n| bytes.get(n));
                let after = bytes.get(at + 1);
                let in_word = around(before) || around(after);
                let alone = !letter(before)
                    && !letter(after)
                    && b"\xc0\xe0\xc9\xe9\xc8\xe8\xea\xcd\xed\xd3\xf3\xda\xfa\xe5\xc5\xf6\xd6\xe4"
                        .contains(byte);
                odd += usize::from(!in_word && !alone);
            }
            _ => high += 1,
        }
    }
    odd * 20 <= high
}

/// The encoding that an HTML file declares in its first bytes.
#[cfg(feature = "html")]
pub(crate) fn declared_in_html(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(1024)].to_ascii_lowercase();
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(&head[from..], b"charset") {
        let rest = &head[from + found + 7..];
        from += found + 7;
        let rest = rest.trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b"=") else { continue };
        let rest = rest.trim_ascii_start();
        let label: &[u8] = match rest.first() {
            Some(quote @ (b'"' | b'\'')) => rest[1..].split(|b| b == quote).next().unwrap_or_default(),
            _ => rest
                .split(|b| matches!(b, b' ' | b'"' | b'\'' | b'>' | b'/' | b';' | b'\n'))
                .next()
                .unwrap_or_default(),
        };
        if let Some(encoding) = Encoding::for_label(label) {
            // A page that could be read so far is not UTF-16.
            let wide = encoding == UTF_16LE || encoding == UTF_16BE;
            return Some(if wide { encoding_rs::UTF_8 } else { encoding });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String> {
        decode(bytes.to_vec(), None)
    }

    #[test]
    fn finds_the_encoding() {
        assert_eq!(text("\u{feff}h\u{e9}".as_bytes()).unwrap(), "hé");
        assert_eq!(text(b"\xff\xfeh\0\xe9\0").unwrap(), "hé");
        assert_eq!(text(b"\xfe\xff\0h\0\xe9").unwrap(), "hé");
        assert_eq!(text(b"h\0e\0l\0l\0o\0").unwrap(), "hello");
        assert_eq!(text(b"n\nm\xfcnchen\n").unwrap(), "n\nmünchen\n");
        assert_eq!(text(b"\x93quoted\x94 \x96 \x80 5, \xe0 la carte").unwrap(), "“quoted” – € 5, à la carte");
        assert_eq!(text(b"").unwrap(), "");
    }

    #[test]
    fn refuses_what_is_no_text() {
        let error = text(b"ok \xff\xfe bad \xc3(").unwrap_err();
        assert!(error.message().contains("byte 3"), "{error}");
        // windows-1251, and a binary file.
        assert!(text(b"\xcf\xf0\xe8\xe2\xe5\xf2, \xec\xe8\xf0").is_err());
        assert!(text(b"\x7fELF\x02\x01\x01\xff\xfe\x90").is_err());
        assert!(text(b"\xff\xfeh").is_err(), "half a character");
    }
}
