//! Numbers of JSON that parsers can read. JSON's grammar allows any count of digits, so that `58E7826` is JSON, but no number
//! of 64 bits: most parsers refuse it.

/// Most digits of a number, and most of its exponent. 64-bit floats keep 15 digits, so that a multiple of 5 still is one
/// where a parser makes a float of it. A form that asks for more gets more.
const DIGITS: u32 = 15;
const EXPONENT: u32 = 2;

/// Follows JSON byte by byte.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    place: Place,
    digits: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Between values.
    #[default]
    Outside,
    Text,
    Escape,
    /// In a number, before its exponent.
    Number,
    Exponent,
}

impl Numbers {
    /// True if a number is being written.
    pub(super) fn inside(self) -> bool {
        matches!(self.place, Place::Number | Place::Exponent)
    }

    /// Goes on by `bytes`, and says whether all numbers stay short enough.
    pub(super) fn after(mut self, bytes: &[u8]) -> (Self, bool) {
        let mut fits = true;
        for byte in bytes {
            self.place = match (self.place, byte) {
                (Place::Escape, _) => Place::Text,
                (Place::Text, b'\\') => Place::Escape,
                (Place::Text, b'"') => Place::Outside,
                (Place::Text, _) => Place::Text,
                (Place::Outside, b'0'..=b'9') => {
                    self.digits = 1;
                    Place::Number
                }
                (Place::Number | Place::Exponent, b'0'..=b'9') => {
                    self.digits = self.digits.saturating_add(1);
                    self.place
                }
                (Place::Number, b'e' | b'E') => {
                    self.digits = 0;
                    Place::Exponent
                }
                (Place::Number, b'.') => Place::Number,
                (Place::Exponent, b'+' | b'-') => Place::Exponent,
                (_, b'"') => Place::Text,
                _ => Place::Outside,
            };
            let most = if self.place == Place::Exponent { EXPONENT } else { DIGITS };
            fits &= !self.inside() || self.digits <= most;
        }
        (self, fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(text: &str) -> bool {
        // Byte by byte as at once.
        let (mut steps, mut fits) = (Numbers::default(), true);
        for byte in text.bytes() {
            let (next, good) = steps.after(&[byte]);
            steps = next;
            fits &= good;
        }
        assert_eq!(fits, Numbers::default().after(text.as_bytes()).1);
        fits
    }

    #[test]
    fn numbers_stay_within_what_parsers_read() {
        for good in [
            "1e99",
            "-1.5E-12",
            "[1,2e3,\"58E7826\"]",
            "{\"12345e999\":1}",
            "\"\\\"1e999\"",
            &"9".repeat(15),
            "true",
        ] {
            assert!(fits(good), "{good}");
            assert!(serde_json::from_str::<serde_json::Value>(good).is_ok(), "{good}");
        }
        for bad in [
            "58E7826",
            "[1e100]",
            "{\"a\":1E+999}",
            &"9".repeat(41),
            "0.00000000000000000000000000000000000000001",
        ] {
            assert!(!fits(bad), "{bad}");
        }
        let far = format!("{}e99", "9".repeat(15));
        assert!(fits(&far) && serde_json::from_str::<f64>(&far).unwrap().is_finite());
    }
}
