//! Bytes of tokens to text: incremental UTF-8, and stop texts across token borders.

/// Decodes UTF-8 that arrives in pieces; invalid bytes become U+FFFD.
#[derive(Debug, Default)]
pub(crate) struct Utf8Decoder {
    pending: Vec<u8>,
}

impl Utf8Decoder {
    /// The text that is certain after `bytes`; at most 3 bytes are held back.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(good) => {
                    text.push_str(good);
                    rest = &[];
                    break;
                }
                Err(e) => {
                    let (good, bad) = rest.split_at(e.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(good));
                    let Some(len) = e.error_len() else {
                        rest = bad;
                        break;
                    };
                    text.push('\u{FFFD}');
                    rest = &bad[len..];
                }
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// What is left when no more bytes come.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// Passes text on until one of the stop texts appears; holds back what may become one.
#[derive(Debug)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    /// A filter for these stop texts, none of them empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), stopped: false }
    }

    /// The text that may be shown after `text` was generated.
    pub(crate) fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        if self.stops.is_empty() {
            return text.to_owned();
        }
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|s| self.held.find(s.as_str())).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = held_back(&self.held, self.stops.iter().map(String::as_str));
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// True once a stop text was met.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// What was held back, when no more text comes.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// How many bytes at the end of `text` may be the beginning of one of `marks`.
pub(crate) fn held_back<'a>(text: &str, marks: impl Iterator<Item = &'a str>) -> usize {
    marks
        .map(|mark| {
            let most = text.len().min(mark.len().saturating_sub(1));
            (1..=most).rev().find(|n| text.as_bytes().ends_with(&mark.as_bytes()[..*n])).unwrap_or(0)
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_however_it_is_cut() {
        let text = "a🦙日本é\u{301} end";
        for size in 1..=text.len() {
            let mut decoder = Utf8Decoder::default();
            let mut got: String = text.as_bytes().chunks(size).map(|c| decoder.push(c)).collect();
            got.push_str(&decoder.finish());
            assert_eq!(got, text, "pieces of {size}");
        }
    }

    #[test]
    fn invalid_bytes_are_marked_not_lost() {
        let mut decoder = Utf8Decoder::default();
        assert_eq!(decoder.push(b"a\xff"), "a\u{FFFD}");
        assert_eq!(decoder.push(b"\xf0\x9f"), "");
        assert_eq!(decoder.push(b"b"), "\u{FFFD}b");
        assert_eq!(decoder.push(b"\xe6"), "");
        assert_eq!(decoder.finish(), "\u{FFFD}");
    }

    #[test]
    fn a_stop_is_found_across_borders() {
        let text = "one two STOP three";
        for size in 1..=text.len() {
            let mut filter = StopFilter::new(vec!["STOP".into(), "never".into()]);
            let mut got = String::new();
            for chunk in text.as_bytes().chunks(size) {
                got.push_str(&filter.push(std::str::from_utf8(chunk).unwrap()));
            }
            got.push_str(&filter.finish());
            assert_eq!(got, "one two ", "pieces of {size}");
            assert!(filter.stopped());
        }
    }

    #[test]
    fn what_only_looks_like_a_stop_is_passed_on() {
        let mut filter = StopFilter::new(vec!["</a>".into(), "日本".into()]);
        assert_eq!(filter.push("x</"), "x");
        assert_eq!(filter.push("b>"), "</b>");
        assert_eq!(filter.push("日"), "");
        assert_eq!(filter.push("日本"), "日");
        assert!(filter.stopped());
        let mut filter = StopFilter::new(vec!["aab".into()]);
        let got: String = ["a", "a", "a", "b"].iter().map(|t| filter.push(t)).collect();
        assert_eq!(got, "a");
        let mut filter = StopFilter::new(vec!["END".into()]);
        assert_eq!(filter.push("EN"), "");
        assert_eq!(filter.finish(), "EN");
    }
}
