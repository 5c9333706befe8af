//! Projectors: encoders of images for [`TinyLlama`](super::TinyLlama).

use std::path::{Path, PathBuf};

use katena_gguf::{TensorPlan, TensorType, Value, Writer};

use super::{bytes_seeded, save};

/// A tiny projector as LLaVA 1.5 has one, with made-up weights: a vision transformer (CLIP) and two layers (`mlp`).
///
/// An image of 28 × 28 pixels is cut into 4 patches, each of which becomes one token of the model.
///
/// ```
/// use katena_testkit::tiny::TinyClip;
/// let folder = katena_testkit::fixtures::temp_dir();
/// let path = TinyClip::new().with_output(64).write(folder.path().join("mmproj.gguf"));
/// assert!(std::fs::metadata(path).unwrap().len() < 1 << 20);
/// ```
#[derive(Debug, Clone)]
pub struct TinyClip {
    output: u64,
    seed: u64,
}

impl Default for TinyClip {
    fn default() -> Self {
        Self { output: 32, seed: 0 }
    }
}

impl TinyClip {
    /// For a model that is 32 wide, seed 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the width of the model that it is for.
    pub fn with_output(mut self, width: u64) -> Self {
        self.output = width;
        self
    }

    /// Sets what the weights are made from.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What the file will say; may be changed before it is written.
    pub fn writer(&self) -> Writer {
        let (width, inner, layers) = (32, 64, 2);
        let mut w = Writer::default();
        w.set("general.architecture", Value::Text("clip".into()));
        w.set("clip.has_vision_encoder", Value::Bool(true));
        w.set("clip.projector_type", Value::Text("mlp".into()));
        w.set("clip.use_gelu", Value::Bool(false));
        for (key, number) in [
            ("embedding_length", width),
            ("feed_forward_length", inner),
            ("block_count", layers),
            ("projection_dim", self.output),
            ("attention.head_count", 2),
            ("image_size", 28),
            ("patch_size", 14),
        ] {
            w.set(format!("clip.vision.{key}"), Value::Unsigned(number));
        }
        w.set("clip.vision.attention.layer_norm_epsilon", Value::Float(1e-5));
        w.set("clip.vision.image_mean", Value::Floats(vec![0.48, 0.46, 0.41]));
        w.set("clip.vision.image_std", Value::Floats(vec![0.27, 0.26, 0.28]));
        let mut add = |name: &str, dims: &[u64]| {
            w.tensor(TensorPlan { name: name.into(), dims: dims.to_vec(), kind: TensorType::F32 });
        };
        add("v.class_embd", &[width]);
        add("v.patch_embd.weight", &[14, 14, 3, width]);
        add("v.position_embd.weight", &[width, 5]);
        add("v.pre_ln.weight", &[width]);
        add("v.pre_ln.bias", &[width]);
        for n in 0..layers {
            for (part, from, to) in [
                ("attn_q", width, width),
                ("attn_k", width, width),
                ("attn_v", width, width),
                ("attn_out", width, width),
                ("ffn_up", width, inner),
                ("ffn_down", inner, width),
            ] {
                add(&format!("v.blk.{n}.{part}.weight"), &[from, to]);
                add(&format!("v.blk.{n}.{part}.bias"), &[to]);
            }
            for part in ["ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias"] {
                add(&format!("v.blk.{n}.{part}"), &[width]);
            }
        }
        for (name, from, to) in [("mm.0", width, self.output), ("mm.2", self.output, self.output)] {
            add(&format!("{name}.weight"), &[from, to]);
            add(&format!("{name}.bias"), &[to]);
        }
        w
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
