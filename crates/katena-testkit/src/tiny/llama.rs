//! Decoders: chat models, and rerankers made of them.

use std::path::{Path, PathBuf};

use katena_gguf::{TensorPlan, TensorType, Value, Writer};

use super::{CONTEXT, TEMPLATE, WORDS, bytes_seeded, save};

/// Architectures that [`TinyLlama`] can be of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TinyArchitecture {
    /// Llama.
    #[default]
    Llama,
    /// Qwen 2: biases on queries, keys and values.
    Qwen2,
    /// Qwen 3: norms on queries and keys.
    Qwen3,
}

impl TinyArchitecture {
    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// The template that [`TinyLlama::reranker`] puts a query and a document into, as llama.cpp's converter writes it for
/// Qwen 3 rerankers: `{query}` and `{document}` are replaced.
pub const RERANK_TEMPLATE: &str =
    "<|im_start|>user\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n";

/// A tiny decoder with made-up weights: words are the 256 bytes, three marks, and what is asked for beside.
///
/// What it says makes no sense, but it is a model like any other to an engine: it has a vocabulary, a ChatML template,
/// attention over its context, and the same answer to the same prompt. The defaults take about 150 KiB.
///
/// ```
/// use katena_testkit::tiny::{TinyArchitecture, TinyLlama};
/// let folder = katena_testkit::fixtures::temp_dir();
/// let path = TinyLlama::new()
///     .with_architecture(TinyArchitecture::Qwen2)
///     .with_context(4096)
///     .with_layers(2)
///     .with_seed(7)
///     .write(folder.path().join("tiny.gguf"));
/// assert!(std::fs::metadata(path).unwrap().len() < 1 << 20);
/// ```
#[derive(Debug, Clone)]
pub struct TinyLlama {
    architecture: TinyArchitecture,
    name: String,
    context: u64,
    layers: u64,
    width: u64,
    heads: u64,
    kv_heads: u64,
    words: usize,
    seed: u64,
    template: Option<String>,
    labels: Vec<String>,
}

impl Default for TinyLlama {
    fn default() -> Self {
        Self {
            architecture: TinyArchitecture::Llama,
            name: "tiny".into(),
            context: CONTEXT,
            layers: 1,
            width: 32,
            heads: 2,
            kv_heads: 2,
            words: WORDS,
            seed: 0,
            template: Some(TEMPLATE.into()),
            labels: Vec::new(),
        }
    }
}

impl TinyLlama {
    /// One layer, 32 wide, a context of 512 tokens, 259 words, seed 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// A reranker as Qwen 3 is one: two labels, `yes` and `no`, the first one's probability is the score; queries and
    /// documents go into [`RERANK_TEMPLATE`].
    pub fn reranker() -> Self {
        Self::new().with_architecture(TinyArchitecture::Qwen3).with_labels(["yes", "no"])
    }

    /// Sets the architecture.
    pub fn with_architecture(mut self, architecture: TinyArchitecture) -> Self {
        self.architecture = architecture;
        self
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

    /// Sets the width, a multiple of twice the heads; the feed-forward part is twice as wide.
    pub fn with_width(mut self, width: u64) -> Self {
        self.width = width;
        self
    }

    /// Sets the heads of queries, and those of keys and values, which divide them.
    pub fn with_heads(mut self, heads: u64, key_heads: u64) -> Self {
        (self.heads, self.kv_heads) = (heads, key_heads);
        self
    }

    /// Sets the words, at least [`WORDS`]; those beyond are ` w259`, ` w260`, …, which no text becomes, but which the model
    /// may say.
    pub fn with_words(mut self, words: usize) -> Self {
        self.words = words.max(WORDS);
        self
    }

    /// Sets what the weights are made from: another seed, another model.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the chat template, in Jinja.
    pub fn with_template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Leaves the chat template out.
    pub fn without_template(mut self) -> Self {
        self.template = None;
        self
    }

    /// Makes a classifier with these labels: a head, rank pooling, [`RERANK_TEMPLATE`]. llama.cpp has heads on Qwen 3.
    pub fn with_labels<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// What the file will say; may be changed before it is written.
    pub fn writer(&self) -> Writer {
        let mut w = Writer::default();
        self.keys(&mut w);
        self.vocabulary(&mut w);
        for (name, dims) in self.tensors() {
            w.tensor(TensorPlan { name, dims, kind: TensorType::F32 });
        }
        w
    }

    fn keys(&self, w: &mut Writer) {
        let arch = self.architecture.name();
        w.set("general.architecture", Value::Text(arch.into()));
        w.set("general.name", Value::Text(self.name.clone()));
        for (key, number) in [
            ("block_count", self.layers),
            ("context_length", self.context),
            ("embedding_length", self.width),
            ("feed_forward_length", self.width * 2),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("rope.dimension_count", self.width / self.heads),
            ("vocab_size", self.words as u64),
        ] {
            w.set(format!("{arch}.{key}"), Value::Unsigned(number));
        }
        w.set(format!("{arch}.attention.layer_norm_rms_epsilon"), Value::Float(1e-5));
        if !self.labels.is_empty() {
            w.set(format!("{arch}.pooling_type"), Value::Unsigned(4));
            w.set(format!("{arch}.classifier.output_labels"), Value::Texts(self.labels.clone()));
            w.set("tokenizer.chat_template.rerank", Value::Text(RERANK_TEMPLATE.into()));
        }
    }

    fn vocabulary(&self, w: &mut Writer) {
        let mut words = byte_words();
        words.extend(["<|end|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
        words.extend((WORDS..self.words).map(|n| format!("\u{120}w{n}")));
        let types = (0..words.len()).map(|n| if (256..WORDS).contains(&n) { 3 } else { 1 }).collect();
        w.set("tokenizer.ggml.model", Value::Text("gpt2".into()));
        w.set("tokenizer.ggml.pre", Value::Text("default".into()));
        w.set("tokenizer.ggml.tokens", Value::Texts(words));
        w.set("tokenizer.ggml.token_type", Value::Numbers(types));
        w.set("tokenizer.ggml.merges", Value::Texts(vec!["t h".into()]));
        w.set("tokenizer.ggml.bos_token_id", Value::Unsigned(257));
        w.set("tokenizer.ggml.eos_token_id", Value::Unsigned(258));
        w.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
        if let Some(template) = &self.template {
            w.set("tokenizer.chat_template", Value::Text(template.clone()));
        }
    }

    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let (width, inner, words) = (self.width, self.width * 2, self.words as u64);
        let head = width / self.heads;
        let keys = head * self.kv_heads;
        let mut all = vec![
            ("token_embd.weight".to_owned(), vec![width, words]),
            ("output_norm.weight".to_owned(), vec![width]),
            ("output.weight".to_owned(), vec![width, words]),
        ];
        for n in 0..self.layers {
            let mut add = |name: &str, dims: &[u64]| all.push((format!("blk.{n}.{name}"), dims.to_vec()));
            add("attn_norm.weight", &[width]);
            add("attn_q.weight", &[width, width]);
            add("attn_k.weight", &[width, keys]);
            add("attn_v.weight", &[width, keys]);
            add("attn_output.weight", &[width, width]);
            add("ffn_norm.weight", &[width]);
            add("ffn_gate.weight", &[width, inner]);
            add("ffn_up.weight", &[width, inner]);
            add("ffn_down.weight", &[inner, width]);
            match self.architecture {
                TinyArchitecture::Llama => {}
                TinyArchitecture::Qwen2 => {
                    add("attn_q.bias", &[width]);
                    add("attn_k.bias", &[keys]);
                    add("attn_v.bias", &[keys]);
                }
                TinyArchitecture::Qwen3 => {
                    add("attn_q_norm.weight", &[head]);
                    add("attn_k_norm.weight", &[head]);
                }
            }
        }
        if !self.labels.is_empty() {
            all.push(("cls.output.weight".to_owned(), vec![width, self.labels.len() as u64]));
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

fn byte_words() -> Vec<String> {
    // Byte-level BPE shows printable bytes as themselves and the others from U+0100 on.
    let mut next = 0x100;
    (0..=255u8)
        .map(|b| {
            let shown = matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if shown { u32::from(b) } else { next + u32::from(!shown) - 1 };
            next += u32::from(!shown);
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}
