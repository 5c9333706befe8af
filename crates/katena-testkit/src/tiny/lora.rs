//! A tiny LoRA adapter.

use std::path::{Path, PathBuf};

use katena_gguf::{TensorPlan, TensorType, Value, Writer};

use super::{bytes_seeded, save};

/// A LoRA adapter with made-up weights for the default [`TinyLlama`](super::TinyLlama): the queries and the feed-forward
/// part of its one layer. With the keys and tensors of llama.cpp's `convert_lora_to_gguf.py`.
///
/// ```
/// use katena_testkit::tiny::TinyLora;
/// let folder = katena_testkit::fixtures::temp_dir();
/// let path = TinyLora::new().with_rank(2).write(folder.path().join("lora.gguf"));
/// assert!(path.exists());
/// ```
#[derive(Debug, Clone)]
pub struct TinyLora {
    architecture: String,
    width: u64,
    rank: u64,
    alpha: f64,
    seed: u64,
}

impl Default for TinyLora {
    fn default() -> Self {
        Self { architecture: "llama".into(), width: 32, rank: 4, alpha: 8.0, seed: 1 }
    }
}

impl TinyLora {
    /// For a Llama of width 32, of rank 4, alpha 8.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the architecture of the model that it is for.
    pub fn with_architecture(mut self, name: impl Into<String>) -> Self {
        self.architecture = name.into();
        self
    }

    /// Sets the width of the model that it is for.
    pub fn with_width(mut self, width: u64) -> Self {
        self.width = width;
        self
    }

    /// Sets the rank.
    pub fn with_rank(mut self, rank: u64) -> Self {
        self.rank = rank;
        self
    }

    /// Sets what the weights are made from.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What the file says; may be spoiled before it is written.
    pub fn writer(&self) -> Writer {
        let mut writer = Writer::default();
        writer.set("general.architecture", Value::Text(self.architecture.clone()));
        writer.set("general.type", Value::Text("adapter".into()));
        writer.set("adapter.type", Value::Text("lora".into()));
        writer.set("adapter.lora.alpha", Value::Float(self.alpha));
        let (width, inner) = (self.width, 2 * self.width);
        for (name, input, output) in [
            ("attn_q", width, width),
            ("attn_output", width, width),
            ("ffn_up", width, inner),
            ("ffn_down", inner, width),
        ] {
            for (half, dims) in [("a", vec![input, self.rank]), ("b", vec![self.rank, output])] {
                let name = format!("blk.0.{name}.weight.lora_{half}");
                writer.tensor(TensorPlan { name, dims, kind: TensorType::F32 });
            }
        }
        writer
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        bytes_seeded(&self.writer(), self.seed)
    }

    /// Writes the file.
    pub fn write(&self, path: impl AsRef<Path>) -> PathBuf {
        save(path.as_ref(), &self.bytes())
    }
}
