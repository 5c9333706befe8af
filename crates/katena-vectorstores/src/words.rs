//! Texts and queries as words.

use rust_stemmers::{Algorithm, Stemmer};

/// So many different words of a query are looked up; the rest of a longer one is not read.
pub(crate) const MAX_QUERY_WORDS: usize = 256;

/// Runs of letters, digits and combining marks.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    let is_mark = |c: char| matches!(c, '\u{300}'..='\u{36f}');
    text.split(move |c: char| !c.is_alphanumeric() && !is_mark(c)).filter(|w| !w.is_empty())
}

/// The words of a text as they are indexed: lower case, English endings removed.
pub(crate) fn terms(text: &str) -> impl Iterator<Item = String> {
    let stemmer = Stemmer::create(Algorithm::English);
    split(text).map(move |word| stemmer.stem(&word.to_lowercase()).into_owned())
}

/// The different items, in order of first appearance, at most [`MAX_QUERY_WORDS`].
pub(crate) fn distinct<T: Ord + Clone>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::BTreeSet::new();
    items.filter(|i| seen.insert(i.clone())).take(MAX_QUERY_WORDS).collect()
}
