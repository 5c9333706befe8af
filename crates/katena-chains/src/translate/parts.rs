//! What goes into a translation, what comes out, and the glossary.

use std::fmt;

/// A text to translate.
///
/// ```
/// use katena_chains::TranslationInput;
/// let input = TranslationInput::from("Good morning!").with_target("French");
/// assert_eq!(input.target.as_deref(), Some("French"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TranslationInput {
    /// The text.
    pub text: String,
    /// Its language; without one, the chain's.
    pub source: Option<String>,
    /// The language to translate into; without one, the chain's.
    pub target: Option<String>,
}

impl fmt::Debug for TranslationInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranslationInput")
            .field("bytes", &self.text.len())
            .field("source", &self.source)
            .field("target", &self.target)
            .finish()
    }
}

impl TranslationInput {
    /// A text, with the chain's languages.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None, target: None }
    }

    /// Names its language: a line of up to 64 bytes.
    pub fn with_source(mut self, language: impl Into<String>) -> Self {
        self.source = Some(language.into());
        self
    }

    /// Names the language to translate into: a line of up to 64 bytes.
    pub fn with_target(mut self, language: impl Into<String>) -> Self {
        self.target = Some(language.into());
        self
    }
}

impl From<&str> for TranslationInput {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for TranslationInput {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// A term of the text whose translation by the glossary is not in the result.
///
/// ```
/// use katena_chains::MissingTerm;
/// assert_eq!(MissingTerm::new("chain", "Kette").translation, "Kette");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingTerm {
    /// The term.
    pub term: String,
    /// How it was to be translated.
    pub translation: String,
}

impl MissingTerm {
    /// A term and its translation.
    pub fn new(term: impl Into<String>, translation: impl Into<String>) -> Self {
        Self { term: term.into(), translation: translation.into() }
    }
}

/// A translated text. `Display` prints it.
///
/// ```
/// use katena_chains::Translation;
/// assert_eq!(Translation::new("Hallo").to_string(), "Hallo");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Translation {
    /// The translation.
    pub text: String,
    /// Terms of the glossary that stand in the source but not, as the glossary has them, in the translation. Upper and lower
    /// case are the same, and the translation's term may have an ending.
    pub missing_terms: Vec<MissingTerm>,
    /// In how many pieces it was translated.
    pub pieces: usize,
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translation")
            .field("bytes", &self.text.len())
            .field("missing_terms", &self.missing_terms)
            .field("pieces", &self.pieces)
            .finish()
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Translation {
    /// A translation in one piece.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), missing_terms: Vec::new(), pieces: 1 }
    }
}

/// Terms and their translations.
#[derive(Clone, Default)]
pub(super) struct Glossary(Vec<MissingTerm>);

impl Glossary {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, term: MissingTerm) {
        self.0.push(term);
    }

    fn used<'a>(&'a self, text: &str) -> impl Iterator<Item = &'a MissingTerm> {
        let text = if self.0.is_empty() { String::new() } else { text.to_lowercase() };
        self.0.iter().filter(move |entry| has_word(&text, &entry.term.to_lowercase()))
    }

    /// The terms of a text, for the prompt.
    pub(super) fn rules(&self, text: &str) -> String {
        let lines: Vec<String> =
            self.used(text).map(|entry| format!("- {}: {}\n", entry.term, entry.translation)).collect();
        if lines.is_empty() {
            String::new()
        } else {
            format!("Translate these terms so:\n{}", lines.concat())
        }
    }

    pub(super) fn missing(&self, source: &str, translation: &str) -> Vec<MissingTerm> {
        let translation = if self.0.is_empty() { String::new() } else { translation.to_lowercase() };
        let is_missing = |entry: &&MissingTerm| !translation.contains(&entry.translation.to_lowercase());
        self.used(source).filter(is_missing).cloned().collect()
    }
}

/// True if `word` stands in `text` and is not the beginning, middle or end of another word.
fn has_word(text: &str, word: &str) -> bool {
    let word = word.trim();
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            // Scripts without spaces have no word borders to look for.
            let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && !is_unspaced(c));
            let own = |c: Option<char>| c.is_some_and(|c| !is_unspaced(c));
            !(joins(before) && own(word.chars().next()) || joins(after) && own(word.chars().next_back()))
        })
}

/// Han, kana, Thai and their like.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_words() {
        assert!(has_word("the art of start", "art"));
        assert!(!has_word("the start of parts", "art"));
        assert!(has_word("図書館へ行く", "図書館"));
        assert!(!has_word("anything", " "));
    }

    #[test]
    fn only_terms_of_the_text_go_out() {
        let mut glossary = Glossary::default();
        glossary.add(MissingTerm::new("Chain", "Kette"));
        glossary.add(MissingTerm::new("link", "Glied"));
        assert_eq!(glossary.rules("A chain."), "Translate these terms so:\n- Chain: Kette\n");
        assert_eq!(glossary.rules("Nothing."), "");
        assert_eq!(
            glossary.missing("A chain with a link.", "Ketten mit Ösen"),
            [MissingTerm::new("link", "Glied")]
        );
    }
}
