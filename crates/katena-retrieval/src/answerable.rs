//! Can these documents answer the question at all?

use std::collections::HashSet;

use rust_stemmers::{Algorithm, Stemmer};

use crate::retrieve::FusedHit;

/// Words that ask or connect and say nothing about the subject.
const EMPTY_WORDS: &str = "a an the of in on at to for from by with and or but is are was were be been being do does \
    did done have has had having i me my we our us you your he she it its they them their this that these those there \
    here what which who whom whose when where why how much many can could may might must shall should will would if \
    then than as about into over under after before up down out no not any some all each so too very just also only \
    own same such more most other s t please tell give name say get go make long";

/// Decides whether documents can answer a question, from what a search found.
///
/// The formula looks at two numbers:
/// - `similarity`: the best cosine between the question and a candidate, −1 to 1;
/// - `known`: which share of the question's words occurs in any candidate, 0 to 1, each stemmed word `w` weighted by
///   `ln(1 + (n − d + ½) / (d + ½))`, where `d` of the `n` candidates hold it. A word that no candidate of either search
///   holds weighs most: hardly any document speaks of it.
///
/// Answerable is what has `similarity ≥ sure`, or `similarity ≥ maybe` and `known ≥ least`.
///
/// Cosines mean different things to different embedders: the values of [`minilm`](Answerability::minilm) hold for
/// all-MiniLM-L6-v2 with chunks of about 100 tokens under titles. No threshold recognises a question about a known subject of which
/// the documents leave out one fact ("the password of the guest network").
///
/// ```
/// use katena_retrieval::Answerability;
/// let strict = Answerability::minilm().with_sure(0.6);
/// assert_eq!(strict.judge("Who wrote the novel?", &[]).answerable, false);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answerability {
    sure: f32,
    maybe: f32,
    least: f32,
}

/// What [`Answerability`] decided, and from which numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether the documents can answer, as far as can be told.
    pub answerable: bool,
    /// The best cosine between the question and a candidate; −1 without candidates.
    pub similarity: f32,
    /// Weighted share of the question's words that some candidate holds, 0 to 1; 1 if it has none but empty words.
    pub known: f32,
}

impl Answerability {
    /// For all-MiniLM-L6-v2: sure from 0.45, maybe from 0.36 if 0.55 of the words are known.
    pub fn minilm() -> Self {
        Self { sure: 0.45, maybe: 0.36, least: 0.55 }
    }

    /// From this similarity on the documents can answer, whatever the words.
    pub fn with_sure(mut self, similarity: f32) -> Self {
        self.sure = similarity;
        self
    }

    /// From this similarity on they can if enough of the words are known.
    pub fn with_maybe(mut self, similarity: f32) -> Self {
        self.maybe = similarity;
        self
    }

    /// So much of the words is enough, 0 to 1.
    pub fn with_least_known(mut self, share: f32) -> Self {
        self.least = share;
        self
    }

    /// Judges by all candidates that a search brought (not only by the few that are shown).
    pub fn judge(&self, question: &str, candidates: &[FusedHit]) -> Verdict {
        let similarity = candidates.iter().map(|h| h.similarity).fold(-1.0, f32::max);
        let known = known(question, candidates);
        let answerable = !candidates.is_empty()
            && (similarity >= self.sure || (similarity >= self.maybe && known >= self.least));
        Verdict { answerable, similarity, known }
    }
}

fn stems<'t>(stemmer: &'t Stemmer, text: &'t str) -> impl Iterator<Item = String> + 't {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    words.map(|w| stemmer.stem(&w.to_lowercase()).into_owned())
}

fn known(question: &str, candidates: &[FusedHit]) -> f32 {
    let stemmer = Stemmer::create(Algorithm::English);
    let empty: HashSet<String> = stems(&stemmer, EMPTY_WORDS).collect();
    let asked: HashSet<String> = stems(&stemmer, question).filter(|w| !empty.contains(w)).collect();
    let texts: Vec<HashSet<String>> =
        candidates.iter().map(|h| stems(&stemmer, &h.document.text).collect()).collect();
    let (mut all, mut held) = (0.0, 0.0);
    for word in &asked {
        let holders = texts.iter().filter(|t| t.contains(word)).count() as f32;
        let weight = (1.0 + (texts.len() as f32 - holders + 0.5) / (holders + 0.5)).ln();
        all += weight;
        if holders > 0.0 {
            held += weight;
        }
    }
    if all > 0.0 { held / all } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::{Document, Source};

    fn hit(text: &str, similarity: f32) -> FusedHit {
        FusedHit::new(Document::new(text, Source::new("a")), similarity, similarity, None)
    }

    #[test]
    fn similar_is_answerable_and_far_is_not() {
        let judge = Answerability::minilm();
        let hits = |s| [hit("Salaries are paid on the 26th.", s), hit("Vans leave at nine.", 0.1)];
        let question = "When are the salaries paid?";
        assert!(judge.judge(question, &hits(0.5)).answerable);
        assert!(judge.judge(question, &hits(0.4)).answerable, "its words are known");
        assert!(!judge.judge("Who wrote Moby-Dick?", &hits(0.4)).answerable, "its words are not");
        assert!(!judge.judge(question, &hits(0.3)).answerable);
        assert_eq!(judge.judge("what is it?", &hits(0.3)).known, 1.0);
    }

    #[test]
    fn the_share_of_known_words_is_weighted() {
        let hits = [hit("the salary", 0.0), hit("a salary and a van", 0.0)];
        let salary = (1.0_f32 + 0.5 / 2.5).ln();
        let cat = (1.0_f32 + 2.5 / 0.5).ln();
        let known = known("The cat's salary", &hits);
        assert!((known - salary / (salary + cat)).abs() < 1e-6, "{known}");
    }
}
