//! BERT embedders in safetensors to GGUF, so that no other tool is needed.
//!
//! Tensor names and keys are those that llama.cpp's BERT loader reads (`llama-arch.cpp`); the vocabulary is written as it
//! expects WordPiece: `##x` as `x`, others after U+2581, special tokens unchanged.

mod config;
pub(crate) mod half;
mod names;
pub(crate) mod safetensors;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use katena_core::{Error, Result};

use crate::{TensorPlan, TensorType, Writer};
use config::Config;
use safetensors::SafeTensors;

/// Converts a sentence-transformers folder with a BERT model to a GGUF file with 16-bit weights.
///
/// Reads `model.safetensors`, `config.json`, `vocab.txt` (or `tokenizer.json`), `1_Pooling/config.json`, and where they are
/// there `sentence_bert_config.json` (most tokens of a text), `tokenizer_config.json` (case), `modules.json`. The same
/// input always gives the same bytes. The file appears whole or not at all.
///
/// ```no_run
/// katena_gguf::convert::bert_to_gguf("all-MiniLM-L6-v2", "all-minilm-l6-v2-f16.gguf")?;
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// `NotFound` if a file is missing, `InvalidInput` if one is broken or they don't fit together, `Unsupported` for models
/// that are not BERT or have further layers; each names the file or tensor.
pub fn bert_to_gguf(folder: impl AsRef<Path>, out: impl AsRef<Path>) -> Result<()> {
    let (folder, out) = (folder.as_ref(), out.as_ref());
    let config = Config::read(folder)?;
    let path = folder.join("model.safetensors");
    let mut source = SafeTensors::open(&path)?;
    let plans = plan(&source, &config).map_err(|e| e.with_context("file", path.display().to_string()))?;

    let mut writer = Writer::default();
    config.keys(&mut writer, folder)?;
    for (_, plan) in &plans {
        writer.tensor(plan.clone());
    }
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".convert-").suffix(".gguf");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file, not private as temporary ones are.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temp = builder.tempfile_in(parent)?;
    write(&writer, &plans, &mut source, temp.as_file())
        .map_err(|e| e.with_context("file", path.display().to_string()))?;
    temp.as_file().sync_all()?;
    temp.persist(out).map_err(|e| Error::from(e.error).with_context("file", out.display().to_string()))?;
    Ok(())
}

fn write(
    writer: &Writer,
    plans: &[(String, TensorPlan)],
    source: &mut SafeTensors,
    file: &File,
) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    writer.write::<Error>(&mut out, |n, plan| {
        let numbers = source.numbers(&plans[n].0)?;
        Ok(match plan.kind {
            TensorType::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorType::F16 => numbers.iter().flat_map(|x| half::to_f16(*x).to_le_bytes()).collect(),
        })
    })?;
    out.flush()?;
    Ok(())
}

/// Each tensor's name in the source and its plan, in the order of names in the file. All that the model needs is there,
/// in the right shape; what is not needed is left out; anything else is an error.
fn plan(source: &SafeTensors, config: &Config) -> Result<Vec<(String, TensorPlan)>> {
    let wanted = names::expected(config);
    let mut plans = Vec::new();
    for name in source.names() {
        let bare = name.strip_prefix("bert.").unwrap_or(name);
        if names::unneeded(bare) {
            continue;
        }
        let Some((target, shape)) = wanted.get(bare) else {
            return Err(Error::unsupported("the model has a tensor that BERT embedders don't have")
                .with_context("tensor", name.to_owned()));
        };
        if source.shape(name) != Some(shape.as_slice()) {
            return Err(Error::invalid_input("a tensor's shape doesn't fit the model's config.json")
                .with_context("tensor", name.to_owned())
                .with_context("expected", format!("{shape:?}")));
        }
        // 16 bits for the large matrices; llama.cpp wants the small embeddings and all vectors in 32.
        let small =
            shape.len() < 2 || target.starts_with("position_embd") || target.starts_with("token_types");
        let kind = if small { TensorType::F32 } else { TensorType::F16 };
        let dims = shape.iter().rev().copied().collect();
        plans.push((name.to_owned(), TensorPlan { name: target.clone(), dims, kind }));
    }
    if plans.len() != wanted.len() {
        let there: std::collections::HashSet<&str> = plans.iter().map(|(_, p)| p.name.as_str()).collect();
        let missing = wanted.iter().find(|(_, (target, _))| !there.contains(target.as_str()));
        let missing = missing.map_or_else(String::new, |(name, _)| name.clone());
        return Err(Error::invalid_input("the model lacks a tensor, or has one twice")
            .with_context("tensor", missing));
    }
    plans.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    Ok(plans)
}

#[cfg(test)]
mod tests;
