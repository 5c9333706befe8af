//! BERT's tensors: their names there and in GGUF, and their shapes.

use std::collections::BTreeMap;

use super::config::Config;

/// Tensors that an embedder does not use.
pub(super) fn unneeded(name: &str) -> bool {
    name.starts_with("pooler.") || name == "embeddings.position_ids" || name.starts_with("cls.")
}

/// Source name → name in GGUF and shape, for a model of this configuration.
pub(super) fn expected(c: &Config) -> BTreeMap<String, (String, Vec<u64>)> {
    let (width, inner) = (c.width, c.inner);
    let mut all = BTreeMap::new();
    let mut add = |from: String, to: String, shape: Vec<u64>| {
        all.insert(from, (to, shape));
    };
    add("embeddings.word_embeddings.weight".into(), "token_embd.weight".into(), vec![c.words, width]);
    add(
        "embeddings.position_embeddings.weight".into(),
        "position_embd.weight".into(),
        vec![c.positions, width],
    );
    add("embeddings.token_type_embeddings.weight".into(), "token_types.weight".into(), vec![c.types, width]);
    for end in ["weight", "bias"] {
        add(format!("embeddings.LayerNorm.{end}"), format!("token_embd_norm.{end}"), vec![width]);
    }
    for n in 0..c.layers {
        for (from, to, out, input) in [
            ("attention.self.query", "attn_q", width, width),
            ("attention.self.key", "attn_k", width, width),
            ("attention.self.value", "attn_v", width, width),
            ("attention.output.dense", "attn_output", width, width),
            ("intermediate.dense", "ffn_up", inner, width),
            ("output.dense", "ffn_down", width, inner),
        ] {
            add(format!("encoder.layer.{n}.{from}.weight"), format!("blk.{n}.{to}.weight"), vec![out, input]);
            add(format!("encoder.layer.{n}.{from}.bias"), format!("blk.{n}.{to}.bias"), vec![out]);
        }
        for (from, to) in
            [("attention.output.LayerNorm", "attn_output_norm"), ("output.LayerNorm", "layer_output_norm")]
        {
            for end in ["weight", "bias"] {
                add(format!("encoder.layer.{n}.{from}.{end}"), format!("blk.{n}.{to}.{end}"), vec![width]);
            }
        }
    }
    all
}
