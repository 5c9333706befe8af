//! BERT models: embedders and cross-encoder rerankers in GGUF, and embedders as sentence-transformers stores them.

use std::path::{Path, PathBuf};

use katena_gguf::{TensorPlan, TensorType, Value, Writer};
use serde_json::json;

use super::{bytes_seeded, numbers, safetensors, save};

/// How a [`TinyBert`] makes one vector of a text's tokens, as its file states it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TinyPooling {
    /// The mean.
    #[default]
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// The file does not say.
    Unsaid,
}

/// What stands after the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Embed(TinyPooling),
    /// A dense layer and one number.
    Rank,
}

/// A tiny BERT with made-up weights: an embedder, or a cross-encoder.
///
/// Its words are letters, digits, punctuation and pieces of each, so that any ASCII text has tokens of its own; anything
/// else is unknown. The defaults take about 60 KiB.
///
/// ```
/// use katena_testkit::tiny::TinyBert;
/// let folder = katena_testkit::fixtures::temp_dir();
/// let embedder = TinyBert::new().with_layers(2).write(folder.path().join("embedder.gguf"));
/// let reranker = TinyBert::reranker().with_seed(3).write(folder.path().join("reranker.gguf"));
/// assert!(embedder.exists() && reranker.exists());
/// ```
#[derive(Debug, Clone)]
pub struct TinyBert {
    name: String,
    context: u64,
    layers: u64,
    width: u64,
    heads: u64,
    words: Vec<String>,
    seed: u64,
    head: Head,
}

impl Default for TinyBert {
    fn default() -> Self {
        Self {
            name: "tiny-bert".into(),
            context: 512,
            layers: 1,
            width: 16,
            heads: 2,
            words: default_words(),
            seed: 0,
            head: Head::Embed(TinyPooling::Mean),
        }
    }
}

/// Marks, letters, digits and punctuation, and the first two inside words.
fn default_words() -> Vec<String> {
    let mut words: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    let letters = || ('a'..='z').chain('0'..='9');
    words.extend(letters().map(String::from));
    words.extend(letters().map(|c| format!("##{c}")));
    words.extend(('!'..='~').filter(char::is_ascii_punctuation).map(String::from));
    words.extend(["the", "ferry", "harbour", "word", "text", "##ing", "##er"].map(str::to_owned));
    words
}

impl TinyBert {
    /// An embedder: one layer, 16 wide, a context of 512 tokens, mean pooling, seed 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// A cross-encoder: rank pooling and a head of a dense layer and one number (`cls.weight`, `cls.bias`,
    /// `cls.output.weight`, `cls.output.bias`).
    pub fn reranker() -> Self {
        Self { head: Head::Rank, name: "tiny-reranker".into(), ..Self::default() }
    }

    /// Sets `general.name`.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many tokens the model was "trained" for.
    pub fn with_context(mut self, tokens: u64) -> Self {
        self.context = tokens;
        self
    }

    /// Sets the layers.
    pub fn with_layers(mut self, layers: u64) -> Self {
        self.layers = layers;
        self
    }

    /// Sets the width, a multiple of 2; the feed-forward part is twice as wide.
    pub fn with_width(mut self, width: u64) -> Self {
        self.width = width;
        self
    }

    /// Sets the words as in `vocab.txt`; `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]` come before them.
    pub fn with_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.truncate(5);
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets what the weights are made from: another seed, another model.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Makes it an embedder with this pooling.
    pub fn with_pooling(mut self, pooling: TinyPooling) -> Self {
        self.head = Head::Embed(pooling);
        self
    }

    /// What the file will say; may be changed before it is written.
    pub fn writer(&self) -> Writer {
        let mut w = Writer::default();
        w.set("general.architecture", Value::Text("bert".into()));
        w.set("general.name", Value::Text(self.name.clone()));
        for (key, number) in [
            ("block_count", self.layers),
            ("context_length", self.context),
            ("embedding_length", self.width),
            ("feed_forward_length", self.width * 2),
            ("attention.head_count", self.heads),
        ] {
            w.set(format!("bert.{key}"), Value::Unsigned(number));
        }
        w.set("bert.attention.layer_norm_epsilon", Value::Float(1e-12));
        w.set("bert.attention.causal", Value::Bool(false));
        let pooling = match self.head {
            Head::Embed(TinyPooling::Unsaid) => None,
            Head::Embed(TinyPooling::Mean) => Some(1),
            Head::Embed(TinyPooling::Cls) => Some(2),
            Head::Embed(TinyPooling::Last) => Some(3),
            Head::Rank => Some(4),
        };
        if let Some(pooling) = pooling {
            w.set("bert.pooling_type", Value::Unsigned(pooling));
        }
        self.vocabulary(&mut w);
        for (name, dims) in self.tensors() {
            w.tensor(TensorPlan { name, dims, kind: TensorType::F32 });
        }
        w
    }

    fn vocabulary(&self, w: &mut Writer) {
        let texts = self.words.iter().enumerate().map(|(n, word)| match word.strip_prefix("##") {
            _ if n < 5 => word.clone(),
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => format!("\u{2581}{word}"),
        });
        w.set("tokenizer.ggml.model", Value::Text("bert".into()));
        w.set("tokenizer.ggml.pre", Value::Text("jina-v2-en".into()));
        w.set("tokenizer.ggml.tokens", Value::Texts(texts.collect()));
        let types = (0..self.words.len()).map(|n| if n < 5 { 3 } else { 1 }).collect();
        w.set("tokenizer.ggml.token_type", Value::Numbers(types));
        w.set("tokenizer.ggml.token_type_count", Value::Unsigned(2));
        for (key, id) in
            [("padding", 0), ("unknown", 1), ("bos", 2), ("eos", 3), ("seperator", 3), ("mask", 4)]
        {
            w.set(format!("tokenizer.ggml.{key}_token_id"), Value::Unsigned(id));
        }
        w.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
        w.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
        w.set("tokenizer.ggml.add_sep_token", Value::Bool(false));
    }

    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let (width, inner) = (self.width, self.width * 2);
        let mut all = vec![
            ("token_embd.weight".to_owned(), vec![width, self.words.len() as u64]),
            ("position_embd.weight".to_owned(), vec![width, self.context]),
            ("token_types.weight".to_owned(), vec![width, 2]),
            ("token_embd_norm.weight".to_owned(), vec![width]),
            ("token_embd_norm.bias".to_owned(), vec![width]),
        ];
        let mut pair = |name: String, input: u64, output: u64| {
            let dims = if name.ends_with("norm") { vec![output] } else { vec![input, output] };
            all.push((format!("{name}.weight"), dims));
            all.push((format!("{name}.bias"), vec![output]));
        };
        for n in 0..self.layers {
            for name in ["attn_q", "attn_k", "attn_v", "attn_output", "attn_output_norm"] {
                pair(format!("blk.{n}.{name}"), width, width);
            }
            pair(format!("blk.{n}.ffn_up"), width, inner);
            pair(format!("blk.{n}.ffn_down"), inner, width);
            pair(format!("blk.{n}.layer_output_norm"), width, width);
        }
        if self.head == Head::Rank {
            pair("cls".to_owned(), width, width);
            pair("cls.output".to_owned(), width, 1);
        }
        all
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        bytes_seeded(&self.writer(), self.seed)
    }

    /// Writes the file and gives its path back.
    pub fn write(&self, path: impl AsRef<Path>) -> PathBuf {
        save(path.as_ref(), &self.bytes())
    }
}

/// Words of [`bert_folder`]'s embedder.
pub const BERT_WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##ing", "sing", "##s", ",", "日"];

/// The tensors of [`bert_folder`]'s embedder: name, shape, numbers.
pub fn bert_tensors() -> Vec<(String, Vec<u64>, Vec<f32>)> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: Vec<u64>| {
        let count = shape.iter().product::<u64>() as usize;
        let seed = all.len() as u64 + 7;
        let values =
            if name.contains("LayerNorm.weight") { vec![1.0; count] } else { numbers(seed, count, 0.5) };
        all.push((name, shape, values));
    };
    add("embeddings.word_embeddings.weight".into(), vec![BERT_WORDS.len() as u64, 8]);
    add("embeddings.position_embeddings.weight".into(), vec![64, 8]);
    add("embeddings.token_type_embeddings.weight".into(), vec![2, 8]);
    for end in ["weight", "bias"] {
        add(format!("embeddings.LayerNorm.{end}"), vec![8]);
        let layer = "encoder.layer.0";
        for (name, out, input) in [
            ("attention.self.query", 8, 8),
            ("attention.self.key", 8, 8),
            ("attention.self.value", 8, 8),
            ("attention.output.dense", 8, 8),
            ("intermediate.dense", 16, 8),
            ("output.dense", 8, 16),
        ] {
            let shape = if end == "weight" { vec![out, input] } else { vec![out] };
            add(format!("{layer}.{name}.{end}"), shape);
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("{layer}.{name}.{end}"), vec![8]);
        }
        add(format!("pooler.dense.{end}"), if end == "weight" { vec![8, 8] } else { vec![8] });
    }
    all
}

/// A folder with a tiny BERT embedder as sentence-transformers stores one: safetensors, `config.json`, `vocab.txt`.
pub fn bert_folder(folder: &Path) {
    let config = json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,
        "intermediate_size": 16, "vocab_size": BERT_WORDS.len(), "max_position_embeddings": 64, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("vocab.txt"), BERT_WORDS.join("\n") + "\n").unwrap();
    std::fs::write(folder.join("sentence_bert_config.json"), r#"{"max_seq_length": 16}"#).unwrap();
    std::fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    std::fs::write(
        folder.join("1_Pooling/config.json"),
        r#"{"word_embedding_dimension": 8, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}"#,
    )
    .unwrap();
    std::fs::write(folder.join("model.safetensors"), safetensors(&bert_tensors())).unwrap();
}
