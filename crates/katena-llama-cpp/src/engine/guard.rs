//! Files that llama.cpp would abort on, found before it sees them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use katena_core::{Error, Result};
use katena_gguf::{Header, Keep};

const TOKENS: &str = "tokenizer.ggml.tokens";

/// Checks the vocabulary. llama.cpp counts on two things: each word is there once (`GGML_ASSERT` when it is loaded), and
/// a SentencePiece vocabulary has a word for each byte (a C++ exception at the first text that needs it).
///
/// # Errors
/// `InvalidInput` if a word is there twice or there are none; `Unsupported` for a SentencePiece vocabulary without bytes.
pub(super) fn check(path: &Path, header: &Header) -> Result<()> {
    let whole;
    let words = match header.texts(TOKENS) {
        Some(words) => words,
        None => {
            whole = Header::read(path, Keep::Vocabulary)?;
            whole.texts(TOKENS).unwrap_or_default()
        }
    };
    words_are_usable(words, header.text("tokenizer.ggml.model").unwrap_or_default())
}

fn words_are_usable(words: &[String], kind: &str) -> Result<()> {
    if words.is_empty() {
        return Err(Error::invalid_input("the model file has no vocabulary"));
    }
    let mut seen = HashSet::with_capacity(words.len());
    for (n, word) in words.iter().enumerate() {
        // llama.cpp reads a word up to a NUL, and names those without a text.
        let word = word.split('\0').next().unwrap_or_default();
        let word = if word.is_empty() { Cow::Owned(format!("[EMPTY_{n}]")) } else { Cow::Borrowed(word) };
        if !seen.insert(word) {
            return Err(Error::invalid_input("a word is twice in the model's vocabulary")
                .with_context("token", n.to_string()));
        }
    }
    let has = |byte: u8| {
        seen.contains(format!("<0x{byte:02X}>").as_str())
            || (byte.is_ascii() && seen.contains(char::from(byte).to_string().as_str()))
    };
    if kind == "llama" && !(0..=255).all(has) {
        return Err(Error::unsupported("the model's vocabulary has no words for single bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::ErrorKind;

    fn kind(words: &[&str], model: &str) -> Option<ErrorKind> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        words_are_usable(&words, model).err().map(|e| e.kind())
    }

    #[test]
    fn words_are_there_once() {
        assert_eq!(kind(&["a", "b", "", ""], "gpt2"), None);
        assert_eq!(kind(&["a", "b", "a"], "gpt2"), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(&["[EMPTY_1]", ""], "gpt2"), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(&["a\0b", "a\0c"], "gpt2"), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(&["[EMPTY_1]", "\0c"], "gpt2"), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(&[], "gpt2"), Some(ErrorKind::InvalidInput));
    }

    #[test]
    fn sentence_pieces_have_bytes() {
        let bytes: Vec<String> = (0..=255).map(|b| format!("<0x{b:02X}>")).collect();
        let mut words: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(kind(&words, "llama"), None);
        words[65] = "A";
        assert_eq!(kind(&words, "llama"), None);
        words[200] = "È";
        assert_eq!(kind(&words, "llama"), Some(ErrorKind::Unsupported));
        assert_eq!(kind(&words, "gpt2"), None);
    }
}
