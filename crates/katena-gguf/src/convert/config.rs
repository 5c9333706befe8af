//! The JSON files and the vocabulary beside the weights.

use std::collections::HashSet;
use std::path::Path;

use katena_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::{MAX_TOKENS_KEY, Value as Gguf, Writer};

/// Longest JSON or vocabulary file.
const MAX_FILE: u64 = 64 << 20;
/// Most layers, positions, words; real models have 48, 8192 and some 250,000.
const MAX_LAYERS: u64 = 512;
const MAX_WIDTH: u64 = 65_536;
const MAX_WORDS: u64 = 4 << 20;

/// What begins a word in the written vocabulary.
const WORD_MARK: char = '\u{2581}';
/// GGUF's token types.
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const UNUSED: i64 = 5;

/// What the files say.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) layers: u64,
    pub(super) width: u64,
    pub(super) inner: u64,
    pub(super) words: u64,
    pub(super) positions: u64,
    pub(super) types: u64,
    heads: u64,
    epsilon: f64,
    pooling: u64,
    max_tokens: Option<u64>,
    lowercase: bool,
    strip_accents: Option<bool>,
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let named = |e: Error| e.with_context("file", path.display().to_string());
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            named(Error::new(ErrorKind::NotFound, "a file of the model is missing"))
        }
        _ => named(e.into()),
    })?;
    if meta.len() > MAX_FILE {
        return Err(named(Error::invalid_input("a file of the model is too large")));
    }
    std::fs::read(path).map_err(|e| named(e.into()))
}

fn json(path: &Path) -> Result<Value> {
    serde_json::from_slice(&read(path)?).map_err(|e| {
        Error::invalid_input("a file of the model is not JSON")
            .with_context("file", path.display().to_string())
            .with_source(e)
    })
}

fn optional(path: &Path) -> Result<Option<Value>> {
    match json(path) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Config {
    /// Reads and checks the files.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let config = json(&path)?;
        let named = |e: Error| e.with_context("file", path.display().to_string());
        let number = |key: &'static str, most: u64| {
            config.get(key).and_then(Value::as_u64).filter(|n| (1..=most).contains(n)).ok_or_else(|| {
                named(
                    Error::invalid_input("config.json lacks a number or it is out of range")
                        .with_context("key", key),
                )
            })
        };
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        if text("model_type") != Some("bert") {
            return Err(named(
                Error::unsupported("only BERT models can be converted")
                    .with_context("model_type", text("model_type").unwrap_or("?").to_owned()),
            ));
        }
        for (key, wanted) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
            if text(key).is_some_and(|v| v != wanted) {
                return Err(named(
                    Error::unsupported("this kind of BERT is not known").with_context("key", key),
                ));
            }
        }
        let (width, heads) = (number("hidden_size", MAX_WIDTH)?, number("num_attention_heads", 4096)?);
        if width % heads != 0 {
            return Err(named(Error::invalid_input("the model's width is no multiple of its heads")));
        }
        let tokenizer = optional(&folder.join("tokenizer_config.json"))?;
        let flag = |key: &str| tokenizer.as_ref().and_then(|t| t.get(key)?.as_bool());
        let sentence = optional(&folder.join("sentence_bert_config.json"))?;
        let positions = number("max_position_embeddings", 1 << 20)?;
        let max_tokens = sentence.and_then(|s| s.get("max_seq_length")?.as_u64());
        Ok(Self {
            layers: number("num_hidden_layers", MAX_LAYERS)?,
            width,
            inner: number("intermediate_size", MAX_WIDTH * 8)?,
            words: number("vocab_size", MAX_WORDS)?,
            positions,
            types: number("type_vocab_size", 64)?,
            heads,
            epsilon: config.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(1e-12),
            pooling: pooling(folder)?,
            max_tokens: max_tokens.filter(|n| (4..=positions).contains(n)),
            lowercase: flag("do_lower_case").unwrap_or(true),
            strip_accents: flag("strip_accents"),
        })
    }

    /// Writes everything but the tensors.
    pub(super) fn keys(&self, writer: &mut Writer, folder: &Path) -> Result<()> {
        let number = Gguf::Unsigned;
        let text = |t: &str| Gguf::Text(t.to_owned());
        writer.set("general.architecture", text("bert"));
        let name = folder.file_name().map_or_else(|| "bert".to_owned(), |n| n.to_string_lossy().into_owned());
        writer.set("general.name", Gguf::Text(name));
        writer.set("general.file_type", number(1));
        writer.set("bert.block_count", number(self.layers));
        writer.set("bert.context_length", number(self.positions));
        writer.set("bert.embedding_length", number(self.width));
        writer.set("bert.feed_forward_length", number(self.inner));
        writer.set("bert.attention.head_count", number(self.heads));
        writer.set("bert.attention.layer_norm_epsilon", Gguf::Float(self.epsilon));
        writer.set("bert.attention.causal", Gguf::Bool(false));
        writer.set("bert.pooling_type", number(self.pooling));
        if let Some(tokens) = self.max_tokens {
            writer.set(MAX_TOKENS_KEY, number(tokens));
        }
        self.vocabulary(writer, folder)
    }

    fn vocabulary(&self, writer: &mut Writer, folder: &Path) -> Result<()> {
        let words = words(folder)?;
        let count = words.len() as u64;
        if count > self.words {
            return Err(Error::invalid_input("the vocabulary has more words than the model")
                .with_context("words", count.to_string())
                .with_context("vocab_size", self.words.to_string()));
        }
        let mut texts = Vec::with_capacity(self.words as usize);
        let mut types = Vec::with_capacity(self.words as usize);
        for word in &words {
            let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].contains(&word.as_str());
            types.push(if special { CONTROL } else { NORMAL });
            texts.push(match word.strip_prefix("##") {
                _ if special => word.clone(),
                Some(rest) if !rest.is_empty() => rest.to_owned(),
                _ => format!("{WORD_MARK}{word}"),
            });
        }
        for n in count..self.words {
            types.push(UNUSED);
            texts.push(format!("[unnamed{n}]"));
        }
        writer.set("tokenizer.ggml.model", Gguf::Text("bert".into()));
        writer.set("tokenizer.ggml.pre", Gguf::Text("jina-v2-en".into()));
        writer.set("tokenizer.ggml.tokens", Gguf::Texts(texts));
        writer.set("tokenizer.ggml.token_type", Gguf::Numbers(types));
        writer.set("tokenizer.ggml.token_type_count", Gguf::Unsigned(self.types));
        for (key, word) in [
            ("bos", "[CLS]"),
            ("eos", "[SEP]"),
            ("unknown", "[UNK]"),
            ("seperator", "[SEP]"),
            ("padding", "[PAD]"),
            ("mask", "[MASK]"),
        ] {
            let id = words.iter().position(|w| w == word).ok_or_else(|| {
                Error::invalid_input("the vocabulary lacks a special token").with_context("token", word)
            })?;
            writer.set(format!("tokenizer.ggml.{key}_token_id"), Gguf::Unsigned(id as u64));
        }
        writer.set("tokenizer.ggml.add_bos_token", Gguf::Bool(true));
        writer.set("tokenizer.ggml.add_eos_token", Gguf::Bool(true));
        writer.set("tokenizer.ggml.add_sep_token", Gguf::Bool(false));
        writer.set("tokenizer.ggml.normalizer.lowercase", Gguf::Bool(self.lowercase));
        if let Some(strip) = self.strip_accents {
            writer.set("tokenizer.ggml.normalizer.strip_accents", Gguf::Bool(strip));
        }
        Ok(())
    }
}

/// GGUF's number of the one pooling that is on.
fn pooling(folder: &Path) -> Result<u64> {
    if let Some(modules) = optional(&folder.join("modules.json"))? {
        let kinds = modules.as_array().into_iter().flatten().filter_map(|m| m.get("type")?.as_str());
        for kind in kinds {
            let last = kind.rsplit('.').next().unwrap_or(kind);
            if !["Transformer", "Pooling", "Normalize"].contains(&last) {
                return Err(Error::unsupported("the embedder has a further layer")
                    .with_context("layer", kind.to_owned()));
            }
        }
    }
    let path = folder.join("1_Pooling").join("config.json");
    let config = json(&path)?;
    let on: Vec<&str> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| key.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(key, _)| key.as_str())
        .collect();
    match on.as_slice() {
        ["pooling_mode_mean_tokens"] => Ok(1),
        ["pooling_mode_cls_token"] => Ok(2),
        ["pooling_mode_lasttoken"] => Ok(3),
        _ => Err(Error::unsupported("this pooling is not known")
            .with_context("file", path.display().to_string())
            .with_context("pooling", on.join(", "))),
    }
}

/// The words in the order of their numbers.
fn words(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join("vocab.txt");
    let bad = |what: &'static str, path: &Path| {
        Error::invalid_input(what).with_context("file", path.display().to_string())
    };
    let words: Vec<String> = match read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| bad("the vocabulary is not UTF-8", &path))?;
            text.strip_suffix('\n')
                .unwrap_or(&text)
                .split('\n')
                .map(|l| l.trim_end_matches('\r').to_owned())
                .collect()
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let path = folder.join("tokenizer.json");
            let value = json(&path)?;
            let map = value.pointer("/model/vocab").and_then(Value::as_object);
            let map = map.ok_or_else(|| bad("tokenizer.json has no vocabulary", &path))?;
            let mut words = vec![None; map.len()];
            for (word, id) in map {
                let place = id.as_u64().and_then(|id| words.get_mut(usize::try_from(id).ok()?));
                *place.ok_or_else(|| bad("the vocabulary's numbers have gaps", &path))? = Some(word.clone());
            }
            words
                .into_iter()
                .collect::<Option<_>>()
                .ok_or_else(|| bad("the vocabulary's numbers have gaps", &path))?
        }
        Err(e) => return Err(e),
    };
    let mut seen = HashSet::new();
    if words.iter().any(|w| w.is_empty() || w.contains('\0') || !seen.insert(w)) {
        return Err(bad("the vocabulary has an empty word or one twice", &path));
    }
    Ok(words)
}
