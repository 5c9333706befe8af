//! `WordPiece` from the files beside safetensors weights: a list of words, or `tokenizer.json`.

use katena_core::{Error, Result};
use serde_json::Value;

use super::table::{Place, Table};
use super::{MAX_WORD_CHARS, WordPiece};

/// Longest `tokenizer.json`; real ones with WordPiece have some MiB.
const MAX_FILE: usize = 64 << 20;
/// Most words.
const MAX_WORDS: usize = 4 << 20;
/// Words that no text contains.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// What begins a piece inside a word.
const INSIDE: &str = "##";

/// What happens to upper case and accents before words are looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Casing {
    /// Both go, as in BERT's uncased models.
    #[default]
    Lower,
    /// Case goes, accents stay.
    LowerWithAccents,
    /// Both stay, as in cased models.
    Kept,
    /// Case stays, accents go.
    KeptWithoutAccents,
}

impl Casing {
    /// From `lowercase` and `strip_accents` of a `BertNormalizer`; unset accents go with the case.
    fn of(normalizer: &Value) -> Self {
        let flag = |key: &str| normalizer.get(key).and_then(Value::as_bool);
        let lower = flag("lowercase").unwrap_or(true);
        match (lower, flag("strip_accents").unwrap_or(lower)) {
            (true, true) => Self::Lower,
            (true, false) => Self::LowerWithAccents,
            (false, false) => Self::Kept,
            (false, true) => Self::KeptWithoutAccents,
        }
    }
}

fn bad(message: &'static str) -> Error {
    Error::invalid_input(message)
}

impl WordPiece {
    /// A vocabulary as in BERT's `vocab.txt`: the place of a word is its id, `##` begins pieces inside a word.
    ///
    /// ```
    /// use katena_core::Tokenizer;
    /// use katena_gguf::{Casing, WordPiece};
    /// let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "sing", "##ing"].map(str::to_owned);
    /// let pieces = WordPiece::from_words(&words, "tiny", Casing::Lower)?;
    /// assert_eq!(pieces.ids("Singing, sing"), [4, 5, 1, 4]);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if there are no words, too many, or one of `[UNK]`, `[CLS]`, `[SEP]` is missing.
    pub fn from_words(words: &[String], name: impl Into<String>, casing: Casing) -> Result<Self> {
        let id = |word: &str| {
            words.iter().position(|w| w == word).and_then(|id| i32::try_from(id).ok()).ok_or_else(|| {
                bad("the vocabulary lacks a special token").with_context("token", word.to_owned())
            })
        };
        Self::build(words, name.into(), casing, id("[UNK]")?, id("[CLS]")?, id("[SEP]")?)
    }

    /// The vocabulary and rules of a `tokenizer.json` with BERT's normaliser, pre-tokeniser and a `WordPiece` model.
    ///
    /// Where the file has no `[CLS]` or `[SEP]`, as static embedding models don't, [`marks`](WordPiece::marks) gives the
    /// unknown token in their place. Special tokens written in a text are text here.
    ///
    /// # Errors
    /// `InvalidInput` if it is no such file or its ids have gaps; `Unsupported`, saying what, if it asks for another kind
    /// of tokeniser.
    pub fn from_tokenizer_json(bytes: &[u8], name: impl Into<String>) -> Result<Self> {
        if bytes.len() > MAX_FILE {
            return Err(bad("tokenizer.json is too large"));
        }
        let file: Value =
            serde_json::from_slice(bytes).map_err(|e| bad("tokenizer.json is not JSON").with_source(e))?;
        let model = file.get("model").ok_or_else(|| bad("tokenizer.json has no model"))?;
        let casing = check(&file, model)?;
        let words = words(model)?;
        let id = |word: &str| words.iter().position(|w| w == word).and_then(|id| i32::try_from(id).ok());
        let unknown = model.get("unk_token").and_then(Value::as_str).unwrap_or("[UNK]");
        let unknown = id(unknown).ok_or_else(|| bad("tokenizer.json has no unknown token"))?;
        let (begin, end) = (id("[CLS]").unwrap_or(unknown), id("[SEP]").unwrap_or(unknown));
        Self::build(&words, name.into(), casing, unknown, begin, end)
    }

    fn build(
        words: &[String],
        name: String,
        casing: Casing,
        unknown: i32,
        begin: i32,
        end: i32,
    ) -> Result<Self> {
        if words.is_empty() || words.len() > MAX_WORDS {
            return Err(bad("the vocabulary is empty or too large"));
        }
        let pieces = words.iter().enumerate().filter_map(|(id, word)| {
            let id = i32::try_from(id).ok()?;
            let never = [unknown, begin, end].contains(&id) || SPECIAL.contains(&word.as_str());
            match word.strip_prefix(INSIDE) {
                _ if never => None,
                Some(rest) if !rest.is_empty() => Some((id, Place::Inside, rest)),
                _ => Some((id, Place::Start, word.as_str())),
            }
        });
        let table = Table::new(pieces);
        let lowercase = matches!(casing, Casing::Lower | Casing::LowerWithAccents);
        let strip_accents = matches!(casing, Casing::Lower | Casing::KeptWithoutAccents);
        let words = words.len();
        Ok(Self { table, name, words, unknown, begin, end, lowercase, strip_accents })
    }
}

/// The casing, if all else is as BERT has it.
fn check(file: &Value, model: &Value) -> Result<Casing> {
    let other = |part: &'static str, found: &Value| {
        let found = found.get("type").and_then(Value::as_str).unwrap_or("none").to_owned();
        Error::unsupported("only BERT's WordPiece tokenizers can be read from tokenizer.json")
            .with_context("part", part)
            .with_context("found", found)
    };
    let typed = |value: &Value, kind: &str| value.get("type").and_then(Value::as_str) == Some(kind);
    if !typed(model, "WordPiece") {
        return Err(other("model", model));
    }
    if model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or(INSIDE) != INSIDE
        || model.get("max_input_chars_per_word").and_then(Value::as_u64).unwrap_or(100)
            != MAX_WORD_CHARS as u64
    {
        return Err(other("continuing_subword_prefix or max_input_chars_per_word", model));
    }
    let normalizer = file.get("normalizer").unwrap_or(&Value::Null);
    let on = |key: &str| normalizer.get(key).and_then(Value::as_bool).unwrap_or(true);
    if !typed(normalizer, "BertNormalizer") || !on("clean_text") || !on("handle_chinese_chars") {
        return Err(other("normalizer", normalizer));
    }
    let splitter = file.get("pre_tokenizer").unwrap_or(&Value::Null);
    if !typed(splitter, "BertPreTokenizer") {
        return Err(other("pre_tokenizer", splitter));
    }
    let added = file.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    for token in added {
        if token.get("special").and_then(Value::as_bool) != Some(true) {
            return Err(Error::unsupported("tokenizer.json adds a token that is not special"));
        }
    }
    Ok(Casing::of(normalizer))
}

/// The words in the order of their ids.
fn words(model: &Value) -> Result<Vec<String>> {
    let map = model.get("vocab").and_then(Value::as_object);
    let map = map.ok_or_else(|| bad("tokenizer.json has no vocabulary"))?;
    if map.len() > MAX_WORDS {
        return Err(bad("the vocabulary is empty or too large"));
    }
    let mut words: Vec<Option<String>> = vec![None; map.len()];
    for (word, id) in map {
        let place = id.as_u64().and_then(|id| words.get_mut(usize::try_from(id).ok()?));
        *place.ok_or_else(|| bad("the vocabulary's numbers have gaps"))? = Some(word.clone());
    }
    let all: Option<Vec<String>> = words.into_iter().collect();
    all.ok_or_else(|| bad("the vocabulary's numbers have gaps"))
}

#[cfg(test)]
#[path = "vocabulary_tests.rs"]
mod tests;
