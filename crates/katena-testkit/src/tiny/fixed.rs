//! Static embedding models, as model2vec stores them.

use std::path::Path;

use serde_json::{Map, json};

use super::numbers;

/// Words of a [`TinyStatic`].
pub const STATIC_WORDS: [&str; 10] =
    ["[PAD]", "[UNK]", "sing", "##ing", "song", "the", "ferry", "harbour", "late", "."];

/// How a [`TinyStatic`] stores its matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TinyNumbers {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
    /// Whole numbers from -127 to 127.
    I8,
}

/// A tiny static embedding model with made-up vectors: `model.safetensors`, `tokenizer.json`, `config.json`.
///
/// ```
/// use katena_testkit::tiny::TinyStatic;
/// let folder = katena_testkit::fixtures::temp_dir();
/// let model = TinyStatic::new().weighted();
/// model.write(folder.path());
/// assert_eq!(model.row(2).len(), 8);
/// ```
#[derive(Debug, Clone)]
pub struct TinyStatic {
    words: Vec<String>,
    width: usize,
    seed: u64,
    numbers: TinyNumbers,
    normalize: bool,
    weighted: bool,
    mapped: bool,
}

impl Default for TinyStatic {
    fn default() -> Self {
        Self {
            words: STATIC_WORDS.map(str::to_owned).to_vec(),
            width: 8,
            seed: 0,
            numbers: TinyNumbers::F32,
            normalize: true,
            weighted: false,
            mapped: false,
        }
    }
}

impl TinyStatic {
    /// 8 dimensions, 32-bit floats, normalised, [`STATIC_WORDS`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the words; `[PAD]` and `[UNK]` come before them.
    pub fn with_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.truncate(2);
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Adds letters and digits, and pieces of them, so that most texts have tokens.
    pub fn with_letters(mut self) -> Self {
        let letters = || ('a'..='z').chain('0'..='9');
        self.words.extend(letters().map(String::from));
        self.words.extend(letters().map(|c| format!("##{c}")));
        self
    }

    /// Sets the length of the vectors.
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// Sets what the vectors are made from.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets how the matrix is stored.
    pub fn with_numbers(mut self, numbers: TinyNumbers) -> Self {
        self.numbers = numbers;
        self
    }

    /// `config.json` says that vectors are not normalised.
    pub fn raw(mut self) -> Self {
        self.normalize = false;
        self
    }

    /// Adds the tensor `weights`: token n counts (n + 1) / 4.
    pub fn weighted(mut self) -> Self {
        self.weighted = true;
        self
    }

    /// Adds the tensor `mapping`: half as many rows as tokens, token n has row n / 2.
    pub fn mapped(mut self) -> Self {
        self.mapped = true;
        self
    }

    fn rows(&self) -> usize {
        if self.mapped { self.words.len().div_ceil(2) } else { self.words.len() }
    }

    /// A token's vector as stored, before its weight.
    pub fn row(&self, token: usize) -> Vec<f32> {
        let row = if self.mapped { token / 2 } else { token };
        let all = numbers(self.seed + 1, self.rows() * self.width, 2.0);
        let stored = |x: f32| match self.numbers {
            TinyNumbers::I8 => (x * 127.0).round(),
            // Eighths, which 16 bits hold exactly.
            _ => (x * 8.0).round() / 8.0,
        };
        all[row * self.width..][..self.width].iter().map(|x| stored(*x)).collect()
    }

    /// A token's weight.
    pub fn weight(&self, token: usize) -> f32 {
        if self.weighted { (token + 1) as f32 / 4.0 } else { 1.0 }
    }

    /// Writes the three files.
    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join("model.safetensors"), self.safetensors()).unwrap();
        std::fs::write(folder.join("tokenizer.json"), self.tokenizer()).unwrap();
        let config =
            json!({"model_type": "model2vec", "hidden_dim": self.width, "normalize": self.normalize});
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    }

    fn tokenizer(&self) -> String {
        let vocab: Map<_, _> = self.words.iter().enumerate().map(|(n, w)| (w.clone(), json!(n))).collect();
        json!({
            "version": "1.0",
            "added_tokens": [
                {"id": 0, "content": "[PAD]", "special": true}, {"id": 1, "content": "[UNK]", "special": true}
            ],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab}
        })
        .to_string()
    }

    fn safetensors(&self) -> Vec<u8> {
        let (mut header, mut data) = (Map::new(), Vec::new());
        let mut add = |name: &str, kind: &str, shape: &[usize], bytes: Vec<u8>| {
            let start = data.len();
            data.extend(bytes);
            let entry = json!({"dtype": kind, "shape": shape, "data_offsets": [start, data.len()]});
            header.insert(name.to_owned(), entry);
        };
        let step = if self.mapped { 2 } else { 1 };
        let all: Vec<f32> = (0..self.rows()).flat_map(|n| self.row(n * step)).collect();
        let (kind, bytes) = match self.numbers {
            TinyNumbers::F32 => ("F32", all.iter().flat_map(|x| x.to_le_bytes()).collect()),
            TinyNumbers::F16 => ("F16", all.iter().flat_map(|x| half(*x).to_le_bytes()).collect()),
            TinyNumbers::I8 => ("I8", all.iter().map(|x| (*x as i8).to_le_bytes()[0]).collect()),
        };
        add("embeddings", kind, &[self.rows(), self.width], bytes);
        let words = self.words.len();
        if self.weighted {
            let weights = (0..words).flat_map(|n| f64::from(self.weight(n)).to_le_bytes()).collect();
            add("weights", "F64", &[words], weights);
        }
        if self.mapped {
            add("mapping", "I64", &[words], (0..words as i64).flat_map(|n| (n / 2).to_le_bytes()).collect());
        }
        let header = serde_json::to_vec(&header).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }
}

/// A multiple of 1/8 from -1 to 1 in 16 bits.
fn half(x: f32) -> u16 {
    if x == 0.0 {
        return 0;
    }
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 0xff) + 15 - 127;
    ((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3ff)) as u16
}
