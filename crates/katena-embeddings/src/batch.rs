//! How many texts go into one call.

use std::ops::Range;

/// The most that one call carries. Limits that vendors state in tokens are kept in bytes, since a token is at least one
/// byte; a single text beyond the limit goes alone, and the vendor decides.
///
/// ```
/// use katena_embeddings::BatchLimits;
/// let limits = BatchLimits::new(64).with_bytes(100_000);
/// assert_eq!(limits.texts, 64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// Most texts, at least 1.
    pub texts: usize,
    /// Most bytes of all texts together.
    pub bytes: usize,
}

impl BatchLimits {
    /// At most so many texts (at least 1) and 1 MB.
    pub const fn new(texts: usize) -> Self {
        Self { texts: if texts == 0 { 1 } else { texts }, bytes: 1_000_000 }
    }

    /// Sets the most bytes.
    pub const fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Cuts texts of these lengths into batches, in order, each text in exactly one.
    pub(crate) fn split(&self, lengths: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut start, mut bytes, mut end) = (0, 0_usize, 0);
        for length in lengths {
            let full = end - start >= self.texts.max(1) || bytes.saturating_add(length) > self.bytes;
            if full && end > start {
                batches.push(start..end);
                (start, bytes) = (end, 0);
            }
            bytes = bytes.saturating_add(length);
            end += 1;
        }
        if end > start {
            batches.push(start..end);
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_both_limits_and_lose_nothing() {
        let limits = BatchLimits::new(3).with_bytes(10);
        let split = |lengths: &[usize]| limits.split(lengths.iter().copied());
        assert_eq!(split(&[]), []);
        assert_eq!(split(&[1, 1, 1, 1]), [0..3, 3..4]);
        assert_eq!(split(&[5, 5, 1]), [0..2, 2..3]);
        assert_eq!(split(&[99, 1, 99]), [0..1, 1..2, 2..3]);
        assert_eq!(BatchLimits::new(0).split([1, 1].into_iter()), [0..1, 1..2]);
    }
}
