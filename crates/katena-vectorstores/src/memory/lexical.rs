//! An inverted index with BM25 scores (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009).

use std::collections::{BinaryHeap, HashMap};

use crate::matrix::Hit;
use crate::words;

const K1: f32 = 1.2;
const B: f32 = 0.75;

#[derive(Default)]
pub(crate) struct Lexical {
    /// Per term: which texts have it, by rising key, and how often.
    postings: HashMap<String, Vec<(i64, u32)>>,
    /// Words per text.
    lengths: HashMap<i64, u32>,
    total: u64,
}

impl Lexical {
    /// Adds a text; `key` is greater than all before.
    pub(crate) fn insert(&mut self, key: i64, text: &str) {
        let mut length = 0;
        for term in words::terms(text) {
            length += 1;
            let posting = self.postings.entry(term).or_default();
            match posting.last_mut() {
                Some((last, count)) if *last == key => *count += 1,
                _ => posting.push((key, 1)),
            }
        }
        self.total += u64::from(length);
        self.lengths.insert(key, length);
    }

    /// Removes a text that was inserted under `key`.
    pub(crate) fn remove(&mut self, key: i64, text: &str) {
        let Some(length) = self.lengths.remove(&key) else { return };
        self.total -= u64::from(length);
        for term in words::terms(text) {
            let Some(posting) = self.postings.get_mut(&term) else { continue };
            if let Ok(at) = posting.binary_search_by_key(&key, |(k, _)| *k) {
                posting.remove(at);
            }
            if posting.is_empty() {
                self.postings.remove(&term);
            }
        }
    }

    /// Scores of the texts with at least one of the query's words.
    pub(crate) fn search(&self, query: &str) -> BinaryHeap<Hit> {
        let texts = self.lengths.len() as f32;
        let average = self.total as f32 / texts.max(1.0);
        let mut scores: HashMap<i64, f32> = HashMap::new();
        for term in words::distinct(words::terms(query)) {
            let Some(posting) = self.postings.get(&term) else { continue };
            let having = posting.len() as f32;
            let rarity = (1.0 + (texts - having + 0.5) / (having + 0.5)).ln();
            for (key, count) in posting {
                let length = self.lengths.get(key).copied().unwrap_or(0) as f32;
                let count = *count as f32;
                let weight = count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / average));
                *scores.entry(*key).or_default() += rarity * weight;
            }
        }
        scores.into_iter().map(|(key, score)| Hit { score, key }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_text_leaves_nothing_behind() {
        let mut index = Lexical::default();
        index.insert(1, "Bees make honey, bees sting");
        let alone = index.search("bees").pop().unwrap().score;
        index.insert(2, "Ants make hills");
        index.remove(2, "Ants make hills");
        assert_eq!(index.search("bees").pop().unwrap().score, alone);
        index.remove(1, "Bees make honey, bees sting");
        assert!(index.postings.is_empty() && index.lengths.is_empty() && index.total == 0);
    }

    #[test]
    fn the_score_is_bm25() {
        let mut index = Lexical::default();
        index.insert(1, "zebra zebra lion");
        index.insert(2, "lion tiger wolf bear elk");
        let hit = index.search("Zebras?").pop().unwrap();
        // One of two texts, twice in 3 words, 4 on average.
        let wanted = (1.0_f32 + 1.5 / 1.5).ln() * (2.0 * 2.2) / (2.0 + 1.2 * (0.25 + 0.75 * 3.0 / 4.0));
        assert!(hit.key == 1 && (hit.score - wanted).abs() < 1e-5, "{} {wanted}", hit.score);
    }
}
