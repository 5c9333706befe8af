//! Finds the passages that an answer without marks rests on, by its words.

use std::collections::{HashMap, HashSet};

use super::answer::{Citation, CitationOrigin, Passage};

/// Share of a sentence's weighted words that the passage must hold.
const ENOUGH: f32 = 0.6;
/// Words that carry no fact.
const EMPTY_WORDS: [&str; 58] = [
    "a", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do",
    "does", "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "may",
    "more", "must", "no", "not", "of", "on", "or", "our", "should", "so", "that", "the", "their", "there",
    "they", "this", "to", "was", "we", "were", "what", "when", "which", "who", "will", "with", "you", "your",
];

/// The words of a text that carry facts, in a plain form: lower case, without a plural's s.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || ".,:@-".contains(c))).filter_map(|w| {
        let word = w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if word.is_empty() || EMPTY_WORDS.contains(&word.as_str()) {
            return None;
        }
        let plain = word.strip_suffix('s').filter(|w| w.chars().count() > 2);
        Some(plain.map_or_else(|| word.clone(), str::to_owned))
    })
}

/// Ends of the sentences of a text, as byte offsets before the end mark's white space.
fn sentences(text: &str) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let next_is_space = chars.peek().is_none_or(|(_, n)| n.is_whitespace());
        if c == '\n' || (".!?".contains(c) && next_is_space) || "。！？".contains(c) || end == text.len() {
            if !text[start..end].trim().is_empty() {
                all.push((start, start + text[start..end].trim_end().len()));
            }
            start = end;
        }
    }
    all
}

/// One citation for each sentence of the answer whose words stand in a passage. What only repeats the question proves
/// nothing and counts less.
pub(crate) fn matched(answer: &str, question: &str, passages: &[Passage]) -> Vec<Citation> {
    let sets: Vec<HashSet<String>> = passages.iter().map(|p| words(&p.document.text).collect()).collect();
    let mut holders: HashMap<&str, usize> = HashMap::new();
    for word in sets.iter().flatten() {
        *holders.entry(word).or_default() += 1;
    }
    let asked: HashSet<String> = words(question).collect();
    let weight = |word: &str| {
        let rare = 1.0 + (sets.len() as f32 / holders.get(word).copied().unwrap_or(1) as f32).ln();
        let number = if word.chars().any(|c| c.is_ascii_digit()) { 2.0 } else { 1.0 };
        let told = if asked.contains(word) { 0.25 } else { 1.0 };
        rare * number * told
    };
    let mut citations = Vec::new();
    for (start, end) in sentences(answer) {
        let said: HashSet<String> = words(&answer[start..end]).collect();
        let all: f32 = said.iter().map(|w| weight(w)).sum();
        let best = sets
            .iter()
            .enumerate()
            .map(|(n, set)| {
                let held: Vec<&String> = said.iter().filter(|w| set.contains(*w)).collect();
                let new = held.iter().any(|w| !asked.contains(*w));
                let share = if new { held.iter().map(|w| weight(w)).sum::<f32>() / all } else { 0.0 };
                (n, share)
            })
            .fold(None, |best: Option<(usize, f32)>, now| match best {
                Some(b) if b.1 >= now.1 => Some(b),
                _ => Some(now),
            });
        if let Some((n, share)) = best
            && share >= ENOUGH
        {
            citations.push(Citation::new(passages[n].number, CitationOrigin::MatchedByText, end));
        }
    }
    citations
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::{Document, Source};

    fn passages(texts: &[&str]) -> Vec<Passage> {
        let passage = |(n, t): (usize, &&str)| Passage::new(n + 1, Document::new(*t, Source::new("a")), 1.0);
        texts.iter().enumerate().map(passage).collect()
    }

    #[test]
    fn each_sentence_finds_its_passage() {
        let passages =
            passages(&["Laptops are backed up nightly for 35 days.", "Salaries are paid on the 26th."]);
        let found = matched(
            "Salaries are paid on the 26th. Laptops are kept 35 days. The moon is green.",
            "when?",
            &passages,
        );
        let numbers: Vec<usize> = found.iter().map(|c| c.number).collect();
        assert_eq!(numbers, [2, 1]);
        assert_eq!(found[0].at, "Salaries are paid on the 26th.".len());
    }

    #[test]
    fn repeating_the_question_proves_nothing() {
        let passages = passages(&["Salaries are paid on the 26th."]);
        assert_eq!(matched("Salaries are paid.", "When are salaries paid?", &passages), []);
    }
}
