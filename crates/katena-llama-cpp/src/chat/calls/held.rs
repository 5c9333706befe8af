//! Text that is held back, read from its beginning and added to at its end.

use std::ops::Deref;

/// A queue of text. Taking from its beginning does not move the rest each time.
#[derive(Debug, Default)]
pub(super) struct Held {
    text: String,
    from: usize,
}

impl Deref for Held {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text[self.from..]
    }
}

impl Held {
    pub(super) fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Drops the first `bytes`.
    pub(super) fn drop(&mut self, bytes: usize) {
        self.from += bytes;
        if self.from > self.text.len() / 2 {
            self.text.drain(..self.from);
            self.from = 0;
        }
    }

    /// Takes the first `bytes`.
    pub(super) fn take(&mut self, bytes: usize) -> String {
        let taken = self[..bytes].to_owned();
        self.drop(bytes);
        taken
    }

    pub(super) fn take_all(&mut self) -> String {
        self.take(self.len())
    }
}

/// The first of `marks` in `text`, and where it stands.
pub(super) fn first_of<'m>(
    text: &str,
    marks: impl Iterator<Item = &'m str> + Clone,
) -> Option<(usize, &'m str)> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find_map(|at| {
        marks.clone().find(|mark| bytes[at..].starts_with(mark.as_bytes())).map(|mark| (at, mark))
    })
}

/// The beginning of `text`, `bytes` long at most.
pub(super) fn window(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
