//! Tiny models with made-up weights, so that tests of the engine need no download.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "helpers of tests, which stop at once")]

use std::path::{Path, PathBuf};

use serde_json::json;

use katena_gguf::{TensorPlan, TensorType, Value, Writer};

/// Words of the tiny chat model: 256 bytes and three marks.
pub const WORDS: usize = 259;
const WIDTH: u64 = 32;
const INNER: u64 = 64;
/// What the tiny chat model was "trained" for.
pub const CONTEXT: u64 = 512;

/// ChatML, as many models have it, with the call format of Qwen and Hermes.
pub const TEMPLATE: &str = "{% if tools %}<tool_call>{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Repeatable numbers around 0.
pub fn numbers(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u32 << 24) as f32 - 0.5) * scale
        })
        .collect()
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

/// The head of a tiny llama model; `change` may spoil it.
pub fn tiny_llama_writer() -> Writer {
    let mut w = Writer::default();
    let n = Value::Unsigned;
    w.set("general.architecture", Value::Text("llama".into()));
    w.set("general.name", Value::Text("tiny".into()));
    w.set("llama.block_count", n(1));
    w.set("llama.context_length", n(CONTEXT));
    w.set("llama.embedding_length", n(WIDTH));
    w.set("llama.feed_forward_length", n(INNER));
    w.set("llama.attention.head_count", n(2));
    w.set("llama.attention.head_count_kv", n(2));
    w.set("llama.attention.layer_norm_rms_epsilon", Value::Float(1e-5));
    w.set("llama.rope.dimension_count", n(16));
    w.set("llama.vocab_size", n(WORDS as u64));
    let mut words = byte_words();
    words.extend(["<|end|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    let types = (0..WORDS as i64).map(|i| if i < 256 { 1 } else { 3 }).collect();
    w.set("tokenizer.ggml.model", Value::Text("gpt2".into()));
    w.set("tokenizer.ggml.pre", Value::Text("default".into()));
    w.set("tokenizer.ggml.tokens", Value::Texts(words));
    w.set("tokenizer.ggml.token_type", Value::Numbers(types));
    w.set("tokenizer.ggml.merges", Value::Texts(vec!["t h".into()]));
    w.set("tokenizer.ggml.bos_token_id", n(257));
    w.set("tokenizer.ggml.eos_token_id", n(258));
    w.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    w.set("tokenizer.chat_template", Value::Text(TEMPLATE.into()));
    for (name, dims) in [
        ("token_embd.weight", vec![WIDTH, WORDS as u64]),
        ("output_norm.weight", vec![WIDTH]),
        ("output.weight", vec![WIDTH, WORDS as u64]),
        ("blk.0.attn_norm.weight", vec![WIDTH]),
        ("blk.0.attn_q.weight", vec![WIDTH, WIDTH]),
        ("blk.0.attn_k.weight", vec![WIDTH, WIDTH]),
        ("blk.0.attn_v.weight", vec![WIDTH, WIDTH]),
        ("blk.0.attn_output.weight", vec![WIDTH, WIDTH]),
        ("blk.0.ffn_norm.weight", vec![WIDTH]),
        ("blk.0.ffn_gate.weight", vec![WIDTH, INNER]),
        ("blk.0.ffn_up.weight", vec![WIDTH, INNER]),
        ("blk.0.ffn_down.weight", vec![INNER, WIDTH]),
    ] {
        w.tensor(TensorPlan { name: name.into(), dims, kind: TensorType::F32 });
    }
    w
}

/// The bytes of a file.
pub fn bytes(writer: &Writer) -> Vec<u8> {
    let mut out = Vec::new();
    writer
        .write::<std::io::Error>(&mut out, |n, plan| {
            let count = plan.dims.iter().product::<u64>() as usize;
            let norm = plan.name.contains("norm");
            let values = if norm { vec![1.0; count] } else { numbers(n as u64 + 1, count, 1.0) };
            Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .unwrap();
    out
}

/// A tiny chat model in `folder`.
pub fn tiny_llama(folder: &Path) -> PathBuf {
    let path = folder.join("tiny-llama.gguf");
    std::fs::write(&path, bytes(&tiny_llama_writer())).unwrap();
    path
}

/// Words of the tiny embedder.
pub const BERT_WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##ing", "sing", "##s", ",", "日"];

/// The tensors of a tiny BERT: name, shape, numbers.
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

/// A safetensors file of these tensors.
pub fn safetensors(tensors: &[(String, Vec<u64>, Vec<f32>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    for (name, shape, values) in tensors {
        let start = data.len();
        for x in values {
            data.extend(x.to_le_bytes());
        }
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// A folder with a tiny BERT embedder.
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

/// The real embedder, if it is there; panics without it if `KATENA_REQUIRE_MODELS=1`.
pub fn embed_model() -> Option<PathBuf> {
    let cache = std::env::var_os("KATENA_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/katena")))?;
    let path = std::env::var_os("KATENA_TEST_EMBED_MODEL")
        .map_or_else(|| cache.join("models/all-minilm-l6-v2-f16.gguf"), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("KATENA_REQUIRE_MODELS").is_none_or(|v| v != "1"), "no test embedder");
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: no test embedder; set KATENA_TEST_EMBED_MODEL, or put it at {}", path.display());
    }
    None
}
